import time

import torch

from adasap_det.utils.timing import time_calls

CPU = torch.device('cpu')


def test_calls_are_interleaved_after_the_warm_up():
    order = []
    times = time_calls(
        {'a': lambda: order.append('a'), 'b': lambda: order.append('b')},
        device=CPU, warm_up=2, rounds=3, seconds=0,
    )  # fmt: skip
    assert ''.join(order) == 'aabb' + 'ab' * 3
    assert set(times) == {'a', 'b'}


def test_unit_is_milliseconds():
    assert time_calls({'nap': lambda: time.sleep(0.02)}, device=CPU, rounds=2)['nap'] >= 20


def test_gradients_are_disabled():
    seen = []
    weight = torch.ones(1, requires_grad=True)
    time_calls({'x': lambda: seen.append((weight * 2).requires_grad)}, device=CPU)
    assert not any(seen)
