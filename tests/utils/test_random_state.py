import random

import numpy as np
import torch

from adasap_det.utils.random_state import RandomState, same_randomness


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_seeded_state_is_that_of_seeding_the_generators():
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    expected = draw()
    random.seed(4)
    np.random.seed(4)
    torch.manual_seed(4)
    before = draw()
    random.seed(4)
    np.random.seed(4)
    torch.manual_seed(4)
    with same_randomness(RandomState.seeded(3)):
        assert draw() == expected
    assert draw() == before
