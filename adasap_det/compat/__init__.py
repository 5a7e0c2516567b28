"""Patches of other packages: missing compiled operators and bugs of the OpenMMLab stack.

Each module names the versions it is for and changes nothing where the problem is absent.
"""

from __future__ import annotations

from . import mmdet_fixes
from .config_scope import register_config_scope, register_hub_scope
from .post_import import after_import

__all__ = ['apply']


def apply() -> None:
    """Apply each patch as soon as what it patches is imported, or now if it was.

    Imports nothing of OpenMMLab and no PyTorch. Call it before anything of mmdet is imported: that
    needs MMCV's operators at import time. May be called more than once, and where MMCV or
    MMDetection is not installed.
    """
    after_import('mmcv', _install_mmcv_ops)
    after_import(mmdet_fixes.SSD_HEAD, mmdet_fixes.let_ssd_head_predict)
    after_import('mmengine.runner', _let_log_histories_load)
    after_import('mmengine.config', register_config_scope)
    after_import('mmengine.hub', register_hub_scope)
    after_import('mmengine.model', _install_shrink_on_load)
    after_import('mmengine.fileio', _register_atomic_backend)


def _install_mmcv_ops() -> None:
    from .mmcv_ops import install_mmcv_ops

    install_mmcv_ops()


def _let_log_histories_load() -> None:
    from .log_histories import let_log_histories_load

    let_log_histories_load()


def _install_shrink_on_load() -> None:
    from .shrink_on_load import install_shrink_on_load

    install_shrink_on_load()


def _register_atomic_backend() -> None:
    import adasap_det.checkpoint.atomic_backend  # noqa: F401
