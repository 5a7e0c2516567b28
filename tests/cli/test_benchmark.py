"""adasap-benchmark: dense beside pruned."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from adasap_det.cli import benchmark


@pytest.fixture
def checkpoint(config, tmp_path):
    init_default_scope('mmdet')
    path = tmp_path / 'random.pth'
    state = MODELS.build(Config.fromfile(config).model).state_dict()
    torch.save({'state_dict': state, 'meta': {}}, path)
    return str(path)


def test_rows_relate_to_the_first_checkpoint(config, checkpoint, tmp_path, capsys):
    out = tmp_path / 'rows.json'
    options = ['--input-size', '64', '64', '--seconds', '0', '--batch-sizes', '1', '2']
    assert benchmark.main([str(config), checkpoint, checkpoint, *options, '--variants', 'eager',
                           '--out', str(out)]) == 0  # fmt: skip
    found = json.loads(out.read_text())
    rows = found['rows']
    # One checkpoint given twice is one row.
    assert [(row['batch_size'], row['variant']) for row in rows] == [(1, 'eager'), (2, 'eager')]
    for row in rows:
        assert row['speedup'] == 1.0
        assert row['pictures_per_second'] == pytest.approx(1000 * row['batch_size'] / row['ms'])
        assert row['params'] > 0 and row['macs'] > 0
    assert found['threads'] == str(torch.get_num_threads())
    assert 'speed-up' in capsys.readouterr().out


def test_a_way_that_does_not_work_says_why(config, checkpoint, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError('no compiler\nat all')

    monkeypatch.setattr(benchmark, 'runnable', fail)
    out = tmp_path / 'rows.json'
    assert benchmark.main([str(config), checkpoint, '--input-size', '64', '64', '--variants',
                           'compile', '--out', str(out)]) == 0  # fmt: skip
    (row,) = json.loads(out.read_text())['rows']
    assert row['problem'] == 'no compiler'
    assert 'ms' not in row


@pytest.mark.parametrize(
    ('options', 'word'),
    [
        (['--batch-sizes', '0'], '--batch-sizes'),
        ([], '--input-size H W'),
    ],
)
def test_usage_errors(config, checkpoint, capsys, options, word):
    assert benchmark.main([str(config), checkpoint, *options]) == 2
    assert word in capsys.readouterr().err.splitlines()[-1]
