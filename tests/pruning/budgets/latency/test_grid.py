import pytest

from adasap_det.pruning.budgets.latency.grid import Grid, monotone, points

GRID = Grid((8, 16, 32), (4, 8), ((1.0, 2.0), (2.0, 4.0), (6.0, 10.0)))


@pytest.mark.parametrize(
    ('inputs', 'outputs', 'expected'),
    [
        (16, 8, 4.0),
        (12, 4, 1.5),
        (24, 6, (4 + 7) / 2),  # between 2 and 6, 4 and 10
        (2, 4, 1.0),  # below the least as at the least
        (99, 99, 10.0),
    ],
)
def test_bilinear(inputs, outputs, expected):
    assert GRID.at(inputs, outputs) == pytest.approx(expected)


def test_a_grid_serves_what_lies_inside():
    assert GRID.covers((8, 24), (4,))
    assert not GRID.covers((33,), (4,))
    assert not GRID.covers((8,), (9,))


def test_a_side_measured_at_one_number_serves_that_number_only():
    """The three input channels of an image tell nothing of two."""
    fixed = Grid((3,), (8, 16), ((1.0, 2.0),))
    assert fixed.covers((3,), (16,))
    assert not fixed.covers((2,), (16,))


def test_times_are_made_monotone_between_their_envelopes():
    """3, 1, 2 rises to 3, 3, 3 from above and 1, 1, 2 from below."""
    assert monotone([[3.0, 1.0, 2.0]]) == ((2.0, 2.0, 2.5),)
    assert monotone([[3.0], [1.0], [2.0]]) == ((2.0,), (2.0,), (2.5,))
    rising = ((1.0, 2.0), (2.0, 4.0))
    assert monotone(rising) == rising


def test_points_are_multiples_of_what_kernels_take():
    assert points(100, prunable=True) == (16, 32, 56, 80, 100)
    assert points(6, prunable=True) == (1, 2, 3, 5, 6)
    assert points(100, prunable=False) == (100,)
    assert points(96, prunable=True, multiple=32) == (32, 64, 96)
