"""Tables of the studies, against means and deviations computed by hand."""

import pytest
from rich.console import Console


@pytest.fixture
def cells(script):
    """Return a function that renders both tables and returns their rows of cells."""

    def show(results, arms=('plain', 'AdaSAP'), baselines=('plain',)):
        console, found = Console(width=200, record=True), []
        for table in script('tables').tables(results, arms, title='top-1', baselines=baselines):
            console.print(table)
            lines = [line.strip() for line in console.export_text().splitlines() if '|' in line]
            found.append([[cell.strip() for cell in line[1:-1].split('|')] for line in lines[2:]])
        return found

    return show


def test_mean_and_spread_of_an_arm_by_network_and_keep_ratio(cells, record):
    arms, _ = cells(
        [
            record('AdaSAP', 0, 40.0, loss=0.1),
            record('AdaSAP', 2, 48.0, loss=0.3),
            record('plain', 0, 44.0, keep_ratio=0.3),
            record('plain', 0, 44.0),
            record('dense', 0, 36.0, keep_ratio=1),
            record('plain', 0, 20.0, network='another'),
        ]
    )
    assert [(row[0], row[1], row[2]) for row in arms] == [
        ('another', '0.5', 'plain'),
        ('net', '1', 'dense'),
        ('net', '0.5', 'plain'),
        ('net', '0.5', 'AdaSAP'),
        ('net', '0.3', 'plain'),
    ]
    # mean 44, deviation of the sample 4 * sqrt(2); of the ratios 50 and 60 %: 55, 5 * sqrt(2)
    assert arms[3][3:6] == ['2', '1.201 ± 0.001 M', '200 ± 0 M']
    assert arms[3][-3:] == ['44.0 ± 5.7', '55.0 ± 7.1', '0.20 ± 0.14']
    assert arms[2][-3:] == ['44.0', '55.0', '']


def test_adasap_is_compared_at_the_same_seed_and_dense_network(cells, record):
    _, differences = cells(
        [
            record('AdaSAP', 2, 48.0),
            record('AdaSAP', 0, 40.0),
            record('AdaSAP', 1, 99.0),  # no plain run of this seed
            record('plain', 0, 36.0),
            record('plain', 2, 46.0),
            record('plain', 1, 10.0, dense='another'),
            record('plain', 0, 10.0, keep_ratio=0.3),
        ]
    )
    # +4 and +2: mean 3, deviation sqrt(2); of the ratios +5 and +2.5: 3.75, 2.5 / sqrt(2).
    assert differences == [
        ['net', '0.5', 'plain', '2', '+0.0 ± 0.0', '+0.0 ± 0.0', '+3.0 ± 1.4', '+3.8 ± 1.8',
         '+4.0, +2.0'],
    ]  # fmt: skip
