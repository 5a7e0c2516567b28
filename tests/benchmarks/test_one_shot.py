import json

import pytest


@pytest.fixture
def one_shot(script):
    return script('one_shot')


def run(arm, *, rise=None, clean=70.0):
    logged = {'loss': [0.5, 0.25]} | ({} if rise is None else {'train/rise': [0.1, rise]})
    ratios = ('1.0', '0.8', '0.6', '0.5', '0.4', '0.3', '0.2')
    return {
        'network': 'net', 'arm': arm, 'seed': 0, 'rise': rise, 'epochs': 8, 'logged': logged,
        'clean': dict.fromkeys(ratios, clean), 'mpc': {'1.0': 30.0, '0.4': 20.0, '0.2': 10.0},
    }  # fmt: skip


def test_runs_are_added_to_the_record(one_shot, tmp_path):
    path = tmp_path / 'record.json'
    assert one_shot.recorded(path) == []
    one_shot.add_record(path, run('plain'))
    one_shot.add_record(path, run('rank', rise=0.4))
    assert json.loads(path.read_text()) == [run('plain'), run('rank', rise=0.4)]


def test_table_has_a_row_a_run_with_the_last_epochs_rise_and_loss(one_shot):
    text = one_shot.table([run('plain'), run('rank', rise=0.4, clean=71.25)])
    head, rule, plain, rank = (line.strip('| ').split(' | ') for line in text.splitlines())
    assert len(head) == len(rule) == len(plain) == len(rank)
    assert head[4:6] == ['100%', '80%'] and head[-1] == 'mPC at 20%'
    assert plain == ['plain', '0', '', '0.25', *['70.0'] * 7, '30.0', '20.0', '10.0']
    assert rank[:5] == ['rank', '0', '0.40', '0.25', '71.2']
