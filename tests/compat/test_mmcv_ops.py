"""Replacement operators against plain loops, torchvision and autograd."""

import subprocess
import sys
import types

import pytest
import torch
import torchvision
from mmcv.ops import RoIAlign, batched_nms, sigmoid_focal_loss, soft_nms
from torch.autograd import gradcheck

from adasap_det.compat import mmcv_ops

REPLACED = isinstance(sys.modules['mmcv._ext'], mmcv_ops._Replacement)


def random_boxes(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=rng) * 40
    size = torch.rand(n, 2, generator=rng) * 30 + 1
    return torch.cat([corner, corner + size], 1), torch.rand(n, generator=rng)


def iou(a: list[float], b: list[float], offset: int) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    return width * height / (area_a + area_b - width * height)


def nms_by_loop(boxes, scores, threshold, offset):
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        if all(iou(boxes[i].tolist(), boxes[j].tolist(), offset) <= threshold for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.2, 0.5])
def test_nms_equals_a_plain_loop(threshold, offset):
    boxes, scores = random_boxes(60, seed=3)
    kept = mmcv_ops.nms(boxes, scores, iou_threshold=threshold, offset=offset)
    assert kept.tolist() == nms_by_loop(boxes, scores, threshold, offset)
    assert 1 < len(kept) < 60


def test_nms_respects_the_offset():
    # 10 wide boxes, 4 apart: IoU 6/14 = 0.43 without offset, 7/15 = 0.47 with.
    boxes = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10]])
    scores = torch.tensor([0.9, 0.8])
    assert mmcv_ops.nms(boxes, scores, iou_threshold=0.45, offset=0).tolist() == [0, 1]
    assert mmcv_ops.nms(boxes, scores, iou_threshold=0.45, offset=1).tolist() == [0]


def test_nms_without_boxes_and_in_half_precision():
    empty = mmcv_ops.nms(torch.empty(0, 4), torch.empty(0), iou_threshold=0.5, offset=0)
    assert empty.shape == (0,) and empty.dtype == torch.int64
    boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 7], [20, 20, 28, 28]])
    scores = torch.tensor([0.25, 0.5, 0.75])
    kept = mmcv_ops.nms(boxes.half(), scores.half(), iou_threshold=0.5, offset=0)
    assert kept.tolist() == [2, 1]


def test_batched_nms_separates_classes():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 9]])
    scores = torch.tensor([0.5, 0.9, 0.7])
    classes = torch.tensor([0, 1, 1])
    dets, keep = batched_nms(boxes, scores, classes, dict(type='nms', iou_threshold=0.5))
    assert keep.tolist() == [1, 0]
    torch.testing.assert_close(dets, torch.cat([boxes[keep], scores[keep, None]], 1))
    dets, keep = batched_nms(boxes, scores, classes, dict(iou_threshold=0.5, max_num=1))
    assert keep.tolist() == [1]


@pytest.mark.parametrize(
    ('method', 'second_score'),
    [('naive', 0.0), ('linear', 0.8 * 0.4), ('gaussian', 0.8 * 2.718281828459045 ** (-0.72))],
)
def test_soft_nms_lowers_the_overlapping_box(method, second_score):
    # IoU of the first two: 60 / 100 = 0.6; gaussian: exp(-0.36 / 0.5).
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [50, 50, 60, 60]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    dets, kept = soft_nms(boxes, scores, 0.5, sigma=0.5, min_score=0.1, method=method)
    expected = [(0, 0.9), (2, 0.7)] + ([(1, second_score)] if second_score else [])
    assert kept.tolist() == [i for i, _ in expected]
    torch.testing.assert_close(dets[:, 4], torch.tensor([s for _, s in expected]))
    torch.testing.assert_close(dets[:, :4], boxes[kept])


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_roi_align_and_its_gradient_equal_torchvisions(aligned, sampling_ratio):
    feats = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    boxes, _ = random_boxes(7, seed=1)
    rois = torch.cat([torch.tensor([0.0, 1, 1, 0, 0, 1, 0])[:, None], boxes], 1)
    layer = RoIAlign((5, 3), 0.25, sampling_ratio, aligned=aligned)
    ours = feats.clone().requires_grad_()
    theirs = feats.clone().requires_grad_()
    out = layer(ours, rois)
    reference = torchvision.ops.roi_align(
        theirs, rois, (5, 3), 0.25, sampling_ratio or -1, aligned=aligned
    )
    torch.testing.assert_close(out, reference)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    (out * weights).sum().backward()
    (reference * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert ours.grad.abs().sum() > 0


def test_roi_align_of_a_linear_ramp_is_its_value_at_the_bin_centres():
    # f(x, y) = x at pixel centres. Bins of [2, 6) are [2, 4), [4, 6): x = 3 and 5, minus the half
    # pixel that `aligned` shifts.
    feats = torch.arange(8.0).repeat(1, 1, 8, 1)  # MMCV's operator reads it as contiguous
    out = RoIAlign((1, 2), 1.0, 2, aligned=True)(feats, torch.tensor([[0.0, 2, 2, 6, 6]]))
    torch.testing.assert_close(out.flatten(), torch.tensor([2.5, 4.5]))


@pytest.mark.skipif(not REPLACED, reason='a compiled MMCV does max pooling')
def test_roi_align_max_error_names_the_alternative():
    layer = RoIAlign(2, pool_mode='max')
    with pytest.raises(NotImplementedError, match="pool_mode='avg'"):
        layer(torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]]))


def textbook_focal_loss(x, target, gamma, alpha):
    """Equations 4 and 5 of arXiv 1708.02002, one element at a time."""
    loss = torch.zeros_like(x)
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            p = 1 / (1 + torch.exp(-x[n, c]))
            p_t, alpha_t = (p, alpha) if target[n] == c else (1 - p, 1 - alpha)
            loss[n, c] = -alpha_t * (1 - p_t) ** gamma * torch.log(p_t)
    return loss


@pytest.mark.parametrize('gamma', [0.0, 1.5, 2.0])
def test_focal_loss_and_gradient_equal_the_textbook(gamma):
    rng = torch.Generator().manual_seed(5)
    x = torch.randn(6, 4, generator=rng, dtype=torch.float64) * 3
    target = torch.tensor([0, 1, 2, 3, 4, 4])  # 4 is background
    output, grad = torch.zeros_like(x), torch.zeros_like(x)
    none = x.new_empty(0)
    mmcv_ops.sigmoid_focal_loss_forward(x, target, none, output, gamma=gamma, alpha=0.25)
    mmcv_ops.sigmoid_focal_loss_backward(x, target, none, grad, gamma=gamma, alpha=0.25)
    leaf = x.clone().requires_grad_()
    expected = textbook_focal_loss(leaf, target, gamma, 0.25)
    expected.sum().backward()
    torch.testing.assert_close(output, expected.detach())
    torch.testing.assert_close(grad, leaf.grad)


def test_focal_loss_weights_rows_by_their_class_and_background_by_one():
    x = torch.tensor([[0.3, -0.2], [0.1, 0.7], [-1.0, 2.0]], dtype=torch.float64)
    target = torch.tensor([0, 1, 2])
    weight = torch.tensor([2.0, 3.0], dtype=torch.float64)
    plain, weighted = torch.zeros_like(x), torch.zeros_like(x)
    args = dict(gamma=2.0, alpha=0.25)
    mmcv_ops.sigmoid_focal_loss_forward(x, target, x.new_empty(0), plain, **args)
    mmcv_ops.sigmoid_focal_loss_forward(x, target, weight, weighted, **args)
    torch.testing.assert_close(weighted, plain * torch.tensor([[2.0], [3.0], [1.0]]))


@pytest.mark.skipif(not REPLACED, reason="a compiled MMCV has no focal loss for the CPU's doubles")
@pytest.mark.parametrize('reduction', ['none', 'sum'])
def test_focal_loss_of_mmcv_passes_gradcheck(reduction):
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([0, 2, 3, 1, 3])
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)

    def loss(logits):
        return sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, 'sum')

    assert gradcheck(loss, (x.requires_grad_(),))


@pytest.mark.skipif(not REPLACED, reason="a compiled MMCV's focal loss needs a GPU")
def test_focal_loss_survives_extreme_logits():
    x = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = sigmoid_focal_loss(x, torch.tensor([1]), 2.0, 0.25, None, 'none')
    # -0.75 * 1 * log(sigmoid(-200)) = 150; -0.25 * 1 * log(sigmoid(-200)) = 50
    torch.testing.assert_close(loss, torch.tensor([[150.0, 50.0]]))
    loss.sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([[0.75, -0.25]]))


@pytest.mark.skipif(not REPLACED, reason='a compiled MMCV has every operator')
def test_missing_operators_resolve_and_raise_with_their_name_when_called():
    import mmcv._ext

    with pytest.raises(NotImplementedError, match=r"'deform_conv_forward'.*compiled operators"):
        mmcv._ext.deform_conv_forward(1, 2)
    with pytest.raises(AttributeError):
        mmcv._ext.__no_such_thing__  # noqa: B018


def test_compiled_extension_is_not_replaced(monkeypatch):
    compiled = types.ModuleType('mmcv._ext')
    monkeypatch.setitem(sys.modules, 'mmcv._ext', compiled)
    assert mmcv_ops.install_mmcv_ops() is False
    assert sys.modules['mmcv._ext'] is compiled


def test_package_imports_without_mmcv_and_mmdet():
    """The numeric code works where OpenMMLab's vision packages are not installed."""
    code = (
        'import sys\n'
        "sys.modules['mmcv'] = sys.modules['mmdet'] = None\n"
        'from adasap_det.compat import apply\n'
        'apply()\n'
        "assert 'mmcv._ext' not in sys.modules\n"
        'import adasap_det.optim.perturbation\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
