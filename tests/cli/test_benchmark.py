"""adasap-benchmark: dense and pruned checkpoints compared."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from adasap_det.cli import benchmark, benchmark_command
from adasap_det.export.runtimes import VARIANTS
from adasap_det.utils.device import device_identity


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
        assert row['images_per_second'] == pytest.approx(1000 * row['batch_size'] / row['ms'])
        assert row['params'] > 0 and row['macs'] > 0
    assert found['threads'] == str(torch.get_num_threads())
    assert 'speed-up' in capsys.readouterr().out


def test_failing_runtime_reports_the_reason(config, checkpoint, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError('no compiler\nat all')

    monkeypatch.setattr(benchmark_command, 'runnable', fail)
    out = tmp_path / 'rows.json'
    assert benchmark.main([str(config), checkpoint, '--input-size', '64', '64', '--variants',
                           'compile', '--out', str(out)]) == 0  # fmt: skip
    (row,) = json.loads(out.read_text())['rows']
    assert row['problem'] == 'no compiler'
    assert 'ms' not in row


def test_each_row_names_its_device(monkeypatch):
    monkeypatch.setattr(benchmark_command, 'runnable', lambda *args, **options: lambda: None)
    found = {
        variant: benchmark_command.measure(
            {'net': torch.nn.Identity()}, variant, 1, (8, 8), device=torch.device('meta'), seconds=0
        )[0]
        for variant in VARIANTS
    }
    assert {variant: row['device'] for variant, row in found.items()} == {
        variant: 'cpu' if variant == 'onnxruntime' else 'meta' for variant in VARIANTS
    }


def test_title_names_every_used_device(config, checkpoint, tmp_path, monkeypatch, capsys):
    gpu = {'device': 'A Graphics Card', 'threads': '-', 'torch': 'with cuda'}
    cpu = device_identity(torch.device('cpu'))
    monkeypatch.setattr(benchmark_command, 'usable_device', torch.device)
    monkeypatch.setattr(
        benchmark_command, 'device_identity', lambda device: gpu if device.type == 'cuda' else cpu
    )
    monkeypatch.setattr(benchmark_command, 'runnable', lambda *args, **options: lambda: None)
    monkeypatch.setattr(
        benchmark_command, 'time_calls', lambda calls, device, **options: dict.fromkeys(calls, 1.0)
    )
    out = tmp_path / 'rows.json'
    assert benchmark.main([str(config), checkpoint, '--input-size', '64', '64', '--device', 'cuda',
                           '--out', str(out)]) == 0  # fmt: skip
    found = json.loads(out.read_text())
    assert found['devices'] == {'cuda': gpu, 'cpu': cpu}
    assert found['device'] == 'A Graphics Card'
    assert [(row['variant'], row['device']) for row in found['rows']] == [
        ('eager', 'cuda'),
        ('onnxruntime', 'cpu'),
    ]
    output = ' '.join(capsys.readouterr().out.split())
    assert 'cuda: A Graphics Card, threads -' in output
    assert f'threads {cpu["threads"]}' in output


@pytest.mark.parametrize(
    ('options', 'word'),
    [
        (['--batch-sizes', '0'], '--batch-sizes'),
        ([], '--input-size H W'),
        (['--device', 'gpu'], "device 'gpu'"),
    ],
)
def test_usage_errors(config, checkpoint, capsys, options, word):
    assert benchmark.main([str(config), checkpoint, *options]) == 2
    assert word in capsys.readouterr().err.splitlines()[-1]
