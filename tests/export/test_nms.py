import torch

from adasap_det.export.nms import NonMaxSuppression

BOXES = torch.tensor(
    [[[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 10], [21, 20, 30, 30]]]
)


def test_boxes_are_sorted_by_class_and_score():
    """Boxes 0 and 1 overlap by 0.9, 2 and 4 too; box 3, of the other class, stays."""
    scores = torch.tensor([[[0.6, 0.7, 0.5, 0.0, 0.9], [0.0, 0.0, 0.0, 0.2, 0.0]]])
    found = NonMaxSuppression.apply(BOXES, scores, 0.5, 10)
    assert found.tolist() == [[0, 0, 4], [0, 0, 1], [0, 1, 3]]


def test_boxes_per_class_are_limited():
    scores = torch.tensor([[[0.6, 0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.3, 0.2, 0.0]]])
    assert NonMaxSuppression.apply(BOXES, scores, 0.5, 1).tolist() == [[0, 0, 0], [0, 1, 2]]


def test_nothing_to_suppress():
    found = NonMaxSuppression.apply(BOXES, torch.zeros(1, 2, 5), 0.5, 10)
    assert found.shape == (0, 3)
