"""The study of classifiers: what it recorded, and where its configs are."""

import pytest

from .conftest import BENCHMARKS

RESULTS = BENCHMARKS / 'results/cifar10.json'


@pytest.fixture
def cifar10(script):
    return script('cifar10')


@pytest.mark.parametrize('twin', ['dense', 'pruned', 'adasap'])
def test_configs_are_found_among_the_studies_and_the_shipped(cifar10, twin):
    shipped = f'configs/cifar10/mobilenetv2_cifar10_{twin}.py'
    assert cifar10.config('mobilenetv2_cifar10', twin) == shipped
    own = f'benchmarks/configs/mobilenetv2_cifar10_5k_{twin}.py'
    assert cifar10.config('mobilenetv2_cifar10_5k', twin) == own
    with pytest.raises(SystemExit, match=f'no lenet_{twin}.py'):
        cifar10.config('lenet', twin)


def test_what_is_recorded_adds_up(cifar10):
    found = cifar10.records.read(RESULTS)
    by_arm = {(r.network, r.keep, r.arm) for r in found}
    assert {('mobilenetv2_cifar10_5k', 0.3, arm) for arm in cifar10.MAIN} <= by_arm
    dense = {r.dense for r in found if r.arm == 'dense'}
    for one in found:
        assert one.dense in dense
        # 15 corruptions at each severity: the mean of the severities is the mean of all cells.
        assert sum(one.severities) / 5 == pytest.approx(one.mpc, abs=0.02)
