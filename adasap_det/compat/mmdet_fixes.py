"""Fixes of bugs in MMDetection (mmdet 3.3.0, onedl-mmdetection 3.5.1)."""

from __future__ import annotations

import functools
import sys
from typing import Any

SSD_HEAD = 'mmdet.models.dense_heads.ssd_head'


def let_ssd_head_predict() -> None:
    """Give every ``SSDHead`` the attribute ``loss_cls``.

    ``BaseDenseHead`` reads ``self.loss_cls`` to predict, and ``SSDHead``, which computes its own
    loss, has none: predicting raises AttributeError.
    """
    head = sys.modules[SSD_HEAD].SSDHead
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
