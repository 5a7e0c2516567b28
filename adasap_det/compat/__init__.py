"""The one place that knows of library versions, missing compiled ops and framework bugs."""

from __future__ import annotations

from .config_scope import register_config_scope
from .log_histories import let_log_histories_load
from .mmcv_ops import install_mmcv_ops
from .mmdet_fixes import apply_mmdet_fixes

__all__ = ['apply']


def apply() -> None:
    """Make the installed OpenMMLab stack usable; call it before anything of mmdet is imported.

    Safe to call more than once, and where MMCV or MMDetection is missing: what is not there is
    left alone.
    """
    install_mmcv_ops()
    apply_mmdet_fixes()
    let_log_histories_load()
    register_config_scope()
