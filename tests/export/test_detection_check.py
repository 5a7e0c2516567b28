import pytest
import torch
from torch import nn

from adasap_det.export import DecodedDetector
from adasap_det.export.detection_check import detections_difference

IMAGES = torch.zeros(1, 3, 100, 80)
A, TWIN, B = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 9.0), (20.0, 20.0, 30.0, 30.0)
HALF = 0.5 - 3e-8  # the float32 below 0.5


class Candidates(DecodedDetector):
    """A, its twin, which overlaps it by 0.9, and B: scores as equal as rounding leaves them."""

    def __init__(self, scores=(0.5, 0.5, HALF)):
        nn.Module.__init__(self)
        self.iou_threshold, self.most = 0.5, 10
        self.found = torch.tensor([A, TWIN, B]), torch.tensor([[score, 0.0] for score in scores])

    def candidates(self, images):
        return self.found


def found(*boxes, scores=None, labels=None):
    return (
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor([0.5, HALF][: len(boxes)] if scores is None else scores),
        torch.tensor([0] * len(boxes) if labels is None else labels, dtype=torch.int64),
    )


@pytest.mark.parametrize('boxes', [(A, B), (B, A), (TWIN, B), (B, TWIN)])
def test_equal_scores_may_be_reordered(boxes):
    assert detections_difference(Candidates(), IMAGES, found(*boxes)) < 1e-7


@pytest.mark.parametrize(
    ('boxes', 'scores', 'difference'),
    [
        ((A, B), [0.75, 0.25], 0),
        ((B, A), [0.25, 0.75], 0.5),  # of scores, best first
        ((B, A), [0.75, 0.25], 0.2),  # A and B are 20 pixels apart
        ((TWIN, B), [0.75, 0.25], 0.01),  # A and its twin 1
    ],
)
def test_different_scores_must_keep_order(boxes, scores, difference):
    actual = detections_difference(
        Candidates(scores=(0.75, 0.5, 0.25)), IMAGES, found(*boxes, scores=scores)
    )
    assert actual == pytest.approx(difference, abs=1e-6)


@pytest.mark.parametrize(
    ('wrong', 'difference'),
    [
        (found(A), float('inf')),
        (found(), float('inf')),
        (found(A, TWIN), float('inf')),  # not suppressed
        (found((0.0, 0.0, 10.0, 12.0), B), 0.02),  # of a side of 100
        (found(A, B, scores=[0.5, 0.25]), 0.25),
        (found(A, B, labels=[1, 0]), 0.5),
        (found((0.0, float('nan'), 10.0, 10.0), B), float('inf')),
    ],
)
def test_wrong_detections_are_detected(wrong, difference):
    actual = detections_difference(Candidates(), IMAGES, wrong)
    assert actual == pytest.approx(difference, abs=1e-6)


def test_empty_detections_match():
    assert detections_difference(Candidates(scores=(0.0, 0.0, 0.0)), IMAGES, found()) == 0
