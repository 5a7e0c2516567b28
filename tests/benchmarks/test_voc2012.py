"""The detection study's results: kept from one run of the script to the next, and its table."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture
def voc2012(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location('voc2012', BENCHMARKS / 'voc2012.py')
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'voc2012', module)  # where dataclasses look for it
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop('study', None)


def record(voc2012, arm, seed, mpc, *, dense='a', keep=0.4):
    return voc2012.Record(
        dense=dense, keep=keep, arm=arm, seed=seed, params=1_200_000 + 1000 * seed, macs=2e8,
        clean=50.0, p=40.0, mpc=mpc, severities=(30.0, 25.0, 20.0, 15.0, 10.0),
    )  # fmt: skip


def test_results_are_added_to_those_of_earlier_runs(voc2012, tmp_path):
    path = tmp_path / 'results' / 'voc2012.json'
    first = [record(voc2012, 'plain', 0, 20.0), record(voc2012, 'AdaSAP', 0, 19.0)]
    assert voc2012.merge(path, first) == first
    again = record(voc2012, 'AdaSAP', 0, 21.0)  # the same run, evaluated anew
    other = record(voc2012, 'AdaSAP', 0, 23.0, dense='b')  # from another dense detector
    assert voc2012.merge(path, [again, other]) == [first[0], again, other]
    assert len(json.loads(path.read_text())) == 3
    assert voc2012.merge(path, []) == [first[0], again, other]


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
    records = voc2012.read(BENCHMARKS / 'results/voc2012.json')
    assert {(r.keep, r.arm) for r in records} >= {(1, 'dense'), (0.4, 'plain'), (0.4, 'AdaSAP')}
    for one in records:
        # 15 corruptions at each severity: the mean of the severities is the mean of all cells.
        assert sum(one.severities) / 5 == pytest.approx(one.mpc, abs=0.02)
