"""Results of the studies: kept from one run of a script to the next, and their table."""

import json

import pytest
from rich.console import Console


@pytest.fixture
def records(script):
    return script('records')


def record(records, arm, seed, mpc, *, keep=0.5, network='net', loss=None):
    return records.Record(
        dense='a', network=network, keep=keep, arm=arm, seed=seed, params=1_200_000 + 1000 * seed,
        macs=2e8, clean=80.0, p=80.0, mpc=mpc, severities=(50.0, 45.0, 40.0, 35.0, 30.0),
        loss=loss,
    )  # fmt: skip


def test_results_are_added_to_those_of_earlier_runs(records, tmp_path):
    path = tmp_path / 'results' / 'found.json'
    first = [record(records, 'plain', 0, 20.0, loss=0.5), record(records, 'AdaSAP', 0, 19.0)]
    assert records.merge(path, first) == first
    again, other = record(records, 'AdaSAP', 0, 21.0), record(records, 'AdaSAP', 1, 23.0)
    assert records.merge(path, [again, other]) == [first[0], again, other]
    assert len(json.loads(path.read_text())) == 3
    assert records.merge(path, []) == [first[0], again, other]
    assert records.read(path) == [first[0], again, other]


def test_table_has_mean_and_spread_of_an_arm_by_network_and_size(records):
    console = Console(width=160, record=True)
    console.print(
        records.table(
            [
                record(records, 'AdaSAP', 0, 40.0, loss=0.1),
                record(records, 'AdaSAP', 2, 48.0, loss=0.3),
                record(records, 'plain', 0, 44.0, keep=0.3),
                record(records, 'plain', 0, 44.0),
                record(records, 'dense', 0, 36.0, keep=1),
                record(records, 'plain', 0, 20.0, network='another'),
            ],
            ['plain', 'AdaSAP'],
            title='top-1',
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
    assert cells[3][3:6] == ['2', '1.201 ± 0.001 M', '200 ± 0 M']
    assert cells[3][-3:] == ['44.0 ± 5.7', '55.0 ± 7.1', '0.20 ± 0.14']
    assert cells[2][-3:] == ['44.0', '55.0', '']
