import pytest

from adasap_det.robustness.evaluation.subset import kept_indices

NAMES = ('a', 'b', 'c', 'd')


@pytest.mark.parametrize(
    ('kept', 'own', 'expected'),
    [
        (('d', 'a', 'c', 'b'), None, None),
        (('d', 'b'), None, [1, 3]),
        # What the config leaves out counts among the benchmark's images, as in its cells.
        (('d', 'b', 'a'), 2, [0, 1]),
        (('d', 'b', 'a'), [2, 0], [3, 0]),
        (NAMES, 2, None),
    ],
)
def test_the_benchmarks_images_in_the_order_of_the_data_set(kept, own, expected):
    assert kept_indices(NAMES, kept, own=own) == expected


def test_images_that_the_data_set_lacks():
    with pytest.raises(ValueError, match=r"lack 2 of the 3 .* such as 'x'; they have 4, such as"):
        kept_indices(NAMES, ('a', 'x', 'y'))
    with pytest.raises(ValueError, match=r'they have 0; take a config'):
        kept_indices((), ('a',))
