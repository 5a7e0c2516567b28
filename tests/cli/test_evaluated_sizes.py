import json

import pytest
import torch
from rich.console import Console

from adasap_det.cli import evaluated_sizes
from adasap_det.cli.evaluated_sizes import EvaluatedSize, evaluate_sizes, write_sizes
from adasap_det.pruning import count_macs, count_params

from ..helpers.training_runs import TinyNet

CPU = torch.device('cpu')
ROWS = [
    EvaluatedSize('whole', 2_000_000, 300_000_000, 12.5, {'top1': 75.0, 'top5': 95.25}),
    EvaluatedSize('0.4', 800_000, 150_000_000, 9.0, {'top1': 72.5, 'top5': 92.0}),
]


def test_every_network_is_counted_timed_and_measured(monkeypatch):
    monkeypatch.setattr(
        evaluated_sizes,
        'measure_latency',
        lambda models, **options: {name: 10.0 + i for i, name in enumerate(models)},
    )
    models = {'whole': TinyNet(), '0.4': TinyNet(width=8)}
    rows = evaluate_sizes(
        models, lambda model: {'width': model.stem.out_channels}, input_size=(6, 6), device=CPU
    )
    assert rows == [
        EvaluatedSize(
            name,
            count_params(models[name]),
            count_macs(models[name], input_size=(6, 6)),
            latency,
            {'width': width},
        )
        for name, latency, width in (('whole', 10.0, 16.0), ('0.4', 11.0, 8.0))
    ]


def test_table_and_files(tmp_path):
    table, files = write_sizes(ROWS, tmp_path, metric='top5', input_size=(32, 40), device=CPU)
    assert [path.name for path in files] == ['sizes.json', 'sizes.svg']
    content = json.loads(files[0].read_text())
    assert (content['metric'], content['input_size']) == ('top5', [32, 40])
    assert content['sizes'][1] == {
        'name': '0.4',
        'parameters': 800_000,
        'macs': 150_000_000,
        'latency_ms': 9.0,
        'metrics': {'top1': 72.5, 'top5': 92.0},
    }
    assert '<svg' in files[1].read_text()
    console = Console(width=100, record=True, quiet=True)
    console.quiet = False
    with console.capture() as printed:
        console.print(table)
    lines = [line.split() for line in printed.get().splitlines()]
    assert lines[0] == ['size', 'top5', 'parameters', 'MACs', 'measured', 'latency']
    assert lines[1] == ['whole', '95.25', '2', 'M', '300', 'M', '12.5', 'ms']
    assert lines[2] == ['0.4', '92', '800', 'k', '150', 'M', '9', 'ms']


def test_the_first_metric_is_the_default(tmp_path):
    write_sizes(ROWS, tmp_path, metric=None, input_size=(32, 32), device=CPU)
    assert json.loads((tmp_path / 'sizes.json').read_text())['metric'] == 'top1'


def test_an_unknown_metric_names_those_that_there_are(tmp_path):
    with pytest.raises(ValueError, match="no metric 'AP'; there are top1, top5"):
        write_sizes(ROWS, tmp_path, metric='AP', input_size=(32, 32), device=CPU)
    assert not list(tmp_path.iterdir())
