"""The study of classifiers: its table, what it recorded, and where its configs are."""

import pytest
from rich.console import Console

from .conftest import BENCHMARKS

RESULTS = BENCHMARKS / 'results/cifar10.json'


@pytest.fixture
def cifar10(script):
    return script('cifar10')


def record(cifar10, arm, seed, mpc, *, keep=0.5, network='net'):
    return cifar10.Record(
        dense='a', network=network, keep=keep, arm=arm, seed=seed, params=88_000 + 100 * seed,
        macs=2e6, clean=80.0, p=80.0, mpc=mpc, severities=(50.0, 45.0, 40.0, 35.0, 30.0),
        loss=0.1 * (seed + 1),
    )  # fmt: skip


def test_table_has_mean_and_spread_of_an_arm_by_network_and_size(cifar10):
    console = Console(width=140, record=True)
    console.print(
        cifar10.table(
            [
                record(cifar10, 'AdaSAP', 0, 40.0),
                record(cifar10, 'AdaSAP', 2, 48.0),
                record(cifar10, 'plain', 0, 44.0, keep=0.3),
                record(cifar10, 'plain', 0, 44.0),
                record(cifar10, 'dense', 0, 36.0, keep=1),
                record(cifar10, 'plain', 0, 20.0, network='another'),
            ]
        )
    )
    rows = [line.split('│')[1:-1] for line in console.export_text().splitlines() if '│' in line]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert [(row[0], row[1], row[2]) for row in cells] == [
        ('another', '0.5', 'plain'),
        ('net', '1', 'dense'),
        ('net', '0.5', 'plain'),
        ('net', '0.5', 'AdaSAP'),
        ('net', '0.3', 'plain'),
    ]
    # mean 44, deviation of the sample 4 * sqrt(2); of the ratios 50 and 60 %: 55, 5 * sqrt(2)
    assert cells[3][3:5] == ['2', '88.1 ± 0.1 k']
    assert cells[3][-3:] == ['44.0 ± 5.7', '55.0 ± 7.1', '0.20 ± 0.14']


@pytest.mark.parametrize('twin', ['dense', 'pruned', 'adasap'])
def test_configs_are_found_among_the_studies_and_the_shipped(cifar10, twin):
    shipped = f'configs/cifar10/mobilenetv2_cifar10_{twin}.py'
    assert cifar10.config('mobilenetv2_cifar10', twin) == shipped
    own = f'benchmarks/configs/mobilenetv2_cifar10_5k_{twin}.py'
    assert cifar10.config('mobilenetv2_cifar10_5k', twin) == own
    with pytest.raises(SystemExit, match=f'no lenet_{twin}.py'):
        cifar10.config('lenet', twin)


def test_what_is_recorded_adds_up(cifar10):
    found = cifar10.records.read(RESULTS, cifar10.Record)
    by_arm = {(r.network, r.keep, r.arm) for r in found}
    assert {('mobilenetv2_cifar10_5k', 0.3, arm) for arm in cifar10.MAIN} <= by_arm
    dense = {r.dense for r in found if r.arm == 'dense'}
    for one in found:
        assert one.dense in dense
        # 15 corruptions at each severity: the mean of the severities is the mean of all cells.
        assert sum(one.severities) / 5 == pytest.approx(one.mpc, abs=0.02)
