from __future__ import annotations

import pytest

from adasap_det.robustness.corruptions.names import BENCHMARK
from adasap_det.robustness.report.comparison import compare
from adasap_det.robustness.results import load_results

from ...helpers.result_folders import make_results

EXAMPLE_KEYS = ((None, 0), *((corruption, 3) for corruption in BENCHMARK))


@pytest.fixture(scope='session')
def folders(tmp_path_factory):
    """Three models on the whole benchmark: dense, pruned, and AdaSAP."""
    root = tmp_path_factory.mktemp('results')
    return [
        make_results(root / 'dense', 'Dense SSD300', seed=1, examples=EXAMPLE_KEYS),
        make_results(
            root / 'pruned', 'Pruned 50 %', seed=2, clean=0.668, robustness=0.93, kept=0.5,
            examples=EXAMPLE_KEYS,
        ),
        make_results(
            root / 'adasap', 'AdaSAP 50 %', seed=3, clean=0.681, robustness=1.22, kept=0.49,
            examples=EXAMPLE_KEYS,
        ),
    ]  # fmt: skip


@pytest.fixture(scope='session')
def results(folders):
    return [load_results(folder) for folder in folders]


@pytest.fixture(scope='session')
def comparison(results):
    return compare(results)


@pytest.fixture
def model(tmp_path):
    """Makes one model with whatever is special about it."""
    numbers = iter(range(100))

    def make(name='model', **options):
        return load_results(make_results(tmp_path / f'model{next(numbers)}', name, **options))

    return make
