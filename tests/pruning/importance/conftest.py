"""A model with every coupling, and the scores of one of its layers."""

from __future__ import annotations

import pytest

from adasap_det.pruning import find_channel_groups
from adasap_det.pruning.graph.tracing import example_image

from ...helpers.toy import ToyDetector, randomize


class ScoredToy:
    """ToyDetector with its groups; calling it gives a layer's scores by a criterion."""

    def __init__(self):
        self.model = randomize(ToyDetector())
        self.groups = find_channel_groups(self.model, example_image((6, 6))).groups

    def __call__(self, importance, layer):
        scores = importance.scores(self.groups, self.model)
        (place,) = (i for i, group in enumerate(self.groups) if layer in group.layers)
        return scores[place]


@pytest.fixture
def toy():
    return ScoredToy()
