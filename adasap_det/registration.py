"""Registration of all classes that configs name, with nothing imported before one is looked up.

``import adasap_det`` has to be quick and must not need OpenMMLab, and yet all that a config with
``custom_imports=['adasap_det']`` names must be found, whichever of the packages came first: Python
imports a package once, so the line in the config does nothing where it was imported before.
Importing our modules as soon as MMEngine is would not do either: it may be one of them that
imports MMEngine, and is half executed. The first look-up in any registry is late enough, as no
module of OpenMMLab looks anything up while it is imported.
"""

from __future__ import annotations

from importlib import import_module

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
        except ImportError as error:
            if (error.name or '').partition('.')[0] != 'mmcv':
                raise


def register_on_first_lookup() -> None:
    """Let the first ``Registry.get`` of MMEngine, which every look-up calls, register all."""
    from mmengine.registry import Registry

    original = Registry.get

    def get(self: Registry, key: str) -> type | None:
        Registry.get = original  # type: ignore[method-assign]
        register_all()
        return original(self, key)

    Registry.get = get  # type: ignore[method-assign]
