"""The CIFAR-10 study: its configs and recorded results."""

import pytest

from .conftest import BENCHMARKS

RESULTS = BENCHMARKS / 'results/cifar10.json'


@pytest.fixture
def cifar10(script):
    return script('cifar10')


@pytest.mark.parametrize('variant', ['dense', 'pruned', 'adasap'])
def test_configs_are_found_among_shipped_and_benchmark_configs(cifar10, variant):
    epochs = 8 if variant == 'dense' else 6
    infix = {'dense': '', 'pruned': '_pruned-params50', 'adasap': '_adasap-params50'}[variant]
    shipped = f'configs/mobilenet/mobilenet-v2{infix}_1xb128-{epochs}e_cifar10.py'
    config = cifar10.STUDY.config
    assert config('mobilenetv2_cifar10', variant) == shipped
    for network in cifar10.SHIPPED:
        assert (BENCHMARKS.parent / config(network, variant)).is_file()
    own = f'benchmarks/configs/mobilenetv2_cifar10_5k_{variant}.py'
    assert config('mobilenetv2_cifar10_5k', variant) == own
    with pytest.raises(SystemExit, match=f'no lenet_{variant}.py'):
        config('lenet', variant)


def test_recorded_severities_average_to_mpc(cifar10, script):
    found = script('records').read(RESULTS)
    by_arm = {(r.network, r.keep_ratio, r.arm) for r in found}
    assert {('mobilenetv2_cifar10_5k', 0.3, arm) for arm in cifar10.STUDY.main_arms} <= by_arm
    dense = {r.dense for r in found if r.arm == 'dense'}
    for one in found:
        assert one.dense in dense
        # 15 corruptions at each severity: the mean of the severities is the mean of all cells.
        assert sum(one.severities) / 5 == pytest.approx(one.mpc, abs=0.02)
