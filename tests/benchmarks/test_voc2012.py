"""The detection study: its table, and what it recorded."""

import pytest
from rich.console import Console

from .conftest import BENCHMARKS


@pytest.fixture
def voc2012(script):
    return script('voc2012')


def record(voc2012, arm, seed, mpc, *, dense='a', keep=0.4):
    return voc2012.Record(
        dense=dense, keep=keep, arm=arm, seed=seed, params=1_200_000 + 1000 * seed, macs=2e8,
        clean=50.0, p=40.0, mpc=mpc, severities=(30.0, 25.0, 20.0, 15.0, 10.0),
    )  # fmt: skip


def test_table_has_mean_and_spread_of_an_arm_and_the_ratio_run_by_run(voc2012):
    console = Console(width=140, record=True)
    console.print(
        voc2012.table(
            [
                record(voc2012, 'AdaSAP', 0, 20.0),
                record(voc2012, 'AdaSAP', 2, 24.0),
                record(voc2012, 'plain', 0, 22.0),
                record(voc2012, 'dense', 0, 18.0, keep=1),
            ]
        )
    )
    rows = [line.split('│')[1:-1] for line in console.export_text().splitlines() if '│' in line]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert [row[1] for row in cells] == ['dense', 'plain', 'AdaSAP']
    # mean 22, deviation of the sample 2 * sqrt(2); of the ratios 50 and 60 %: 55, 5 * sqrt(2)
    assert cells[2][-2:] == ['22.0 ± 2.8', '55.0 ± 7.1']
    assert cells[2][2:4] == ['2', '1.201 ± 0.001 M']
    assert cells[1][-2:] == ['22.0', '55.0']


def test_what_is_recorded_adds_up(voc2012):
    found = voc2012.records.read(BENCHMARKS / 'results/voc2012.json', voc2012.Record)
    assert {(r.keep, r.arm) for r in found} >= {(1, 'dense'), (0.4, 'plain'), (0.4, 'AdaSAP')}
    for one in found:
        # 15 corruptions at each severity: the mean of the severities is the mean of all cells.
        assert sum(one.severities) / 5 == pytest.approx(one.mpc, abs=0.02)
