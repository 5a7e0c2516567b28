"""Registration of all classes that configs name, with nothing imported before one is looked up.

``import adasap_det`` has to be quick and must not need OpenMMLab, and yet all that a config with
``custom_imports=['adasap_det']`` names must be found, whichever of the packages came first: Python
imports a package once, so the line in the config does nothing where it was imported before.
Importing our modules as soon as MMEngine is would not do either: it may be one of them that
imports MMEngine, and is half executed. The first look-up in any registry is late enough, as no
module of OpenMMLab looks anything up while it is imported. Until then ``module_dict`` and
``len`` of a registry lack our classes.
"""

from __future__ import annotations

from importlib import import_module
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.registry import Registry

MODULES = (
    'adasap_det.datasets.mapped_folder',
    'adasap_det.hooks',
    'adasap_det.optim',
    'adasap_det.pruning',
    'adasap_det.robustness.transforms',
    'adasap_det.robustness.evaluation.accuracy',
    'adasap_det.robustness.evaluation.average_precision',
)
NEED_MMCV = ('adasap_det.models',)
"""Parts of detectors, without use where MMCV is missing."""


def register_all() -> None:
    """Import all modules that register classes in MMEngine's registries."""
    for name in MODULES:
        import_module(name)
    for name in NEED_MMCV:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name != 'mmcv':
                raise


def register_on_first_lookup() -> None:
    """Let the first ``Registry.get`` of MMEngine, which every look-up calls, register all.

    Other threads wait meanwhile. If it fails, the next look-up tries again. A class of ours does
    not replace one that was registered under its name with ``force=True``.
    """
    from mmengine.registry import Registry

    original_get, original_add = Registry.get, Registry._register_module
    lock = RLock()
    started = False
    overridden: set[tuple[Registry, str]] = set()

    def get(self: Registry, key: str) -> type | None:
        nonlocal started
        with lock:
            if not started:  # modules that are being registered may look up, too
                started = True
                try:
                    register_all()
                except BaseException:
                    started = False
                    raise
                # Another package may have replaced our functions, and call them.
                if Registry.get is get:
                    Registry.get = original_get  # type: ignore[method-assign]
                if Registry._register_module is add:
                    Registry._register_module = original_add  # type: ignore[method-assign]
        return original_get(self, key)

    def add(
        self: Registry, module: Any, module_name: str | list[str] | None = None, force: bool = False
    ) -> None:
        ours = getattr(module, '__module__', '').partition('.')[0] == __package__
        names = [module_name] if isinstance(module_name, str) else module_name or [module.__name__]
        if ours:
            names = [name for name in names if (self, name) not in overridden]
        elif force:
            overridden.update((self, name) for name in names)
        if names:
            original_add(self, module, names, force)

    Registry.get = get  # type: ignore[method-assign]
    Registry._register_module = add  # type: ignore[method-assign]
