import pytest

from adasap_det.robustness.evaluation.subset import benchmark_indices

NAMES = ('a', 'b', 'c', 'd')


@pytest.mark.parametrize(
    ('selected', 'own', 'expected'),
    [
        (('d', 'a', 'c', 'b'), None, None),
        (('d', 'b'), None, [1, 3]),
        # The config's own indices select from the benchmark's images, as in its cells.
        (('d', 'b', 'a'), 2, [0, 1]),
        (('d', 'b', 'a'), [2, 0], [3, 0]),
        (NAMES, 2, None),
    ],
)
def test_indices_follow_the_order_of_the_data_set(selected, own, expected):
    assert benchmark_indices(NAMES, selected, own=own) == expected


def test_images_missing_from_the_data_set_are_rejected():
    with pytest.raises(
        ValueError, match=r"2 of the 3 .* missing .* such as 'x'; the test data have 4, such as"
    ):
        benchmark_indices(NAMES, ('a', 'x', 'y'))
    with pytest.raises(ValueError, match=r'the test data have 0; use a config'):
        benchmark_indices((), ('a',))
