"""The demo with several seeds: its record, and the documents that cite it."""

import pytest

from .conftest import BENCHMARKS

ROOT = BENCHMARKS.parent


@pytest.fixture
def demo(script):
    return script('demo')


def _run(seed, plain, elastic, tuned):
    ap50 = {'plain': plain, 'elastic': elastic}
    size = {'keep_ratio': 0.2, 'ap50': ap50, 'mpc': {'plain': 10.0, 'elastic': 20.0}}
    return {'seed': seed, 'sizes': [size], 'fine_tuned': {'AP50': tuned, 'mPC': 15.0}}


def test_table_has_means_differences_and_the_interval_over_seeds(demo):
    text = demo.table([_run(0, 20.0, 40.0, 41.0), _run(1, 22.0, 40.0, 43.0)])
    size, tuned = text.splitlines()[2:]
    # t of one degree of freedom, 12.706, times 2 / sqrt(2) / sqrt(2).
    assert size == '| 20% | 21.0 | 40.0 | +20.0 +18.0 | +19.0 ± 12.7 | 10.0 | 20.0 |'
    assert tuned.startswith('| 20%, plain fine-tuned | 42.0 | 40.0 | -1.0 -3.0 | -2.0 ± 12.7 |')


def test_recorded_runs_are_of_five_seeds_and_of_the_demo_as_it_is(demo):
    runs = demo.recorded(demo.RECORD)
    assert sorted(run['seed'] for run in runs) == [0, 1, 2, 3, 4]
    assert {run['iterations'] for run in runs} == {demo.FULL.iterations}
    for run in runs:
        assert [size['keep_ratio'] for size in run['sizes']] == [1.0, *demo.FULL.keep_ratios]


@pytest.mark.parametrize('page', ['benchmarks/README.md', 'docs/results.md'])
def test_documents_have_the_recorded_table(demo, page):
    assert demo.table(demo.recorded(demo.RECORD)) in (ROOT / page).read_text('utf-8')
