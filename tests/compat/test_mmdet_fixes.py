"""An SSD head predicts, with the added attribute and with that of a subclass."""

import subprocess
import sys

import torch
from mmdet.models import SSDHead
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import nn


def small_head(cls: type[SSDHead] = SSDHead) -> SSDHead:
    with DefaultScope.overwrite_default_scope('mmdet'):
        return cls(
            num_classes=3,
            in_channels=(4,),
            anchor_generator=dict(
                type='SSDAnchorGenerator',
                scale_major=False,
                strides=[16],
                ratios=[[2]],
                min_sizes=[16],
                max_sizes=[32],
                input_size=32,
            ),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            test_cfg=ConfigDict(
                nms=dict(type='nms', iou_threshold=0.45),
                nms_pre=100,
                min_bbox_size=0,
                score_thr=0.02,
                max_per_img=10,
            ),
        )


def test_ssd_head_predicts():
    head = small_head()
    meta = dict(img_shape=(32, 32), scale_factor=(1.0, 1.0))
    with torch.no_grad():
        scores, deltas = head((torch.zeros(1, 4, 2, 2),))
        scores = [torch.zeros_like(s) for s in scores]
        scores[0][:, 1] = 5.0  # class 1 of the first anchor at each of the four places
        (found,) = head.predict_by_feat(
            scores, deltas, batch_img_metas=[meta], cfg=head.test_cfg, rescale=False
        )
    assert isinstance(found, InstanceData)
    # softmax over 3 classes and background: e^5 / (e^5 + 3)
    best = torch.tensor(5.0).exp() / (torch.tensor(5.0).exp() + 3)
    assert (found.labels == 1).sum() >= 1
    torch.testing.assert_close(found.scores[0], best)


class HeadWithLoss(SSDHead):
    """Subclass with its own loss, as in some downstream projects."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.loss_cls = nn.CrossEntropyLoss()


def test_subclass_keeps_its_own_loss():
    head = small_head(HeadWithLoss)
    assert isinstance(head.loss_cls, nn.CrossEntropyLoss)
    assert 'loss_cls' in dict(head.named_children())


def test_the_fix_adds_nothing_to_the_state_dict():
    assert not [k for k in small_head().state_dict() if 'loss' in k]


def test_the_fix_works_in_either_order_of_import():
    early = 'import adasap_det; from mmdet.models import SSDHead'
    late = (
        'from adasap_det.compat.mmcv_ops import install_mmcv_ops; install_mmcv_ops();'
        'from mmdet.models import SSDHead; import adasap_det'
    )
    for imports in (early, late):
        code = f'{imports}; assert SSDHead.__init__._adasap_det; adasap_det.compat.apply()'
        done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
