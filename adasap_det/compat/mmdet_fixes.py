"""Fixes of bugs in MMDetection (mmdet 3.3.0, onedl-mmdetection 3.5.1)."""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_SSD_HEAD = 'mmdet.models.dense_heads.ssd_head'


def apply_mmdet_fixes() -> None:
    """Fix MMDetection's modules as soon as they are imported.

    Importing all of MMDetection's models here would take seconds, even for users of one function.
    """
    _after_import(_SSD_HEAD, _let_ssd_head_predict)


def _let_ssd_head_predict(module: ModuleType) -> None:
    """Give every ``SSDHead`` the attribute ``loss_cls``.

    ``BaseDenseHead`` reads ``self.loss_cls`` to predict, and ``SSDHead``, which computes its own
    loss, has none: predicting raises AttributeError.
    """
    head = module.SSDHead
    init = head.__init__
    if getattr(init, '_adasap_det', False):
        return

    @functools.wraps(init)
    def with_loss_cls(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        # On the instance: a class attribute would hide a loss module that a subclass sets.
        if not hasattr(self, 'loss_cls'):
            self.loss_cls = None

    with_loss_cls._adasap_det = True  # type: ignore[attr-defined]
    head.__init__ = with_loss_cls


def _after_import(name: str, action: Callable[[ModuleType], None]) -> None:
    """Call ``action`` with the module ``name``, now or right after it is imported."""
    if name in sys.modules:
        action(sys.modules[name])
    elif not any(isinstance(f, _Watcher) and f.name == name for f in sys.meta_path):
        sys.meta_path.insert(0, _Watcher(name, action))


class _Watcher(importlib.abc.MetaPathFinder):
    """Import finder that calls ``action`` on one module after its execution."""

    def __init__(self, name: str, action: Callable[[ModuleType], None]) -> None:
        self.name = name
        self.action = action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_and_call(module: ModuleType) -> None:
            run(module)
            self.action(module)

        spec.loader.exec_module = exec_and_call  # type: ignore[method-assign]
        return spec
