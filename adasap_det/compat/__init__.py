"""Patches of other packages: missing compiled operators and bugs of the OpenMMLab stack.

Each module names the versions it is for and changes nothing where the problem is absent.
"""

from __future__ import annotations

from .config_scope import register_config_scope
from .log_histories import let_log_histories_load
from .mmcv_ops import install_mmcv_ops
from .mmdet_fixes import apply_mmdet_fixes

__all__ = ['apply']


def apply() -> None:
    """Apply the patches; call it before anything of mmdet is imported.

    May be called more than once, and where MMCV or MMDetection is not installed.
    """
    install_mmcv_ops()
    apply_mmdet_fixes()
    let_log_histories_load()
    register_config_scope()
