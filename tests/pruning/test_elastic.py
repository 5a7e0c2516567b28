import numpy as np
import pytest

from adasap_det.pruning.elastic import ElasticSizes


def test_sizes_are_drawn_alike_over_the_range_beside_the_whole_network():
    sizes = ElasticSizes(keep_ratio_range=(0.2, 0.8), whole_share=0.25, smallest_share=0.1)
    drawn = np.array([sizes.draw(step) for step in range(20000)])
    assert np.mean(drawn == 1) == pytest.approx(0.25, abs=0.02)
    assert np.mean(drawn == 0.2) == pytest.approx(0.1, abs=0.02)
    between = drawn[(drawn < 1) & (drawn > 0.2)]
    counts, _ = np.histogram(between, bins=6, range=(0.2, 0.8))
    assert counts / len(drawn) == pytest.approx(np.full(6, 0.65 / 6), abs=0.01)


def test_passes_of_one_step_are_stratified():
    sizes = ElasticSizes(whole_share=0.25)
    for step in range(50):
        drawn = sorted(sizes.draw(step, index=index, count=8) for index in range(8))
        assert drawn.count(1.0) == 2  # a quarter of eight
        assert max(np.diff(drawn[:6])) < 0.8 / 6 + 1e-9


def test_draws_depend_on_seed_and_step_alone():
    sizes = ElasticSizes(seed=3)
    drawn = [sizes.draw(step) for step in range(20)]
    assert drawn == [ElasticSizes(seed=3).draw(step) for step in range(20)]
    assert drawn != [ElasticSizes(seed=4).draw(step) for step in range(20)]
    assert len(set(drawn)) > 10


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'keep_ratio_range': (0.5, 0.2)}, 'keep_ratio_range .* got .0.5, 0.2'),
        ({'keep_ratio_range': (0.0, 1.0)}, 'keep_ratio_range'),
        ({'whole_share': 1.0}, 'whole_share must lie in'),
        ({'whole_share': 0.6, 'smallest_share': 0.4}, 'leave no pass for the sizes between'),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        ElasticSizes(**options)
