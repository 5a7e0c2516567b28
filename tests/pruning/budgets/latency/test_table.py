import json

import pytest
import torch
from torch import nn

from adasap_det.pruning.budgets.latency.grid import Grid
from adasap_det.pruning.budgets.latency.latency_cost import LayerTotals, Measured
from adasap_det.pruning.budgets.latency.layers import describe_call
from adasap_det.pruning.budgets.latency.table import (
    PASSES,
    LatencyTable,
    LayerRequest,
    default_path,
    open_table,
)
from adasap_det.utils.device import device_identity

CPU = torch.device('cpu')
HERE = {'device': 'abacus', 'threads': '2', 'torch': '2'}


def kind_of(layer, size=6):
    inputs = torch.rand(1, layer.in_channels, size, size)
    return describe_call(layer, inputs, layer(inputs), batch_size=1, dtype=torch.float32)[0]


@pytest.fixture
def kind():
    return kind_of(nn.Conv2d(4, 4, 3, padding=1, bias=False))


def test_measures_what_is_missing_and_nothing_else(known_times, kind):
    table = LatencyTable(HERE)
    request = LayerRequest(kind, (2, 4), (4, 8))
    assert table.measure([request, request], device=CPU, quiet=True) == 4
    assert len(known_times) == 4 * PASSES
    assert table.measure([request], device=CPU, quiet=True) == 0
    smaller = LayerRequest(kind, (1, 3), (5, 6))
    assert table.measure([smaller], device=CPU, quiet=True) == 0
    grid = table.find(kind, (1, 3), (5, 6))
    # 36 positions, 9 weights a filter; linear in each side, so interpolation is exact
    assert grid.at(3, 6) == pytest.approx(0.01 + 1e-6 * 36 * 9 * 3 * 6)
    assert table.measure([LayerRequest(kind, (2, 5), (4, 8))], device=CPU, quiet=True) == 4


def test_minimum_over_visits_is_used(monkeypatch, kind):
    """A burst of other work in one pass leaves no trace."""
    from adasap_det.pruning.budgets.latency import table as table_file

    times = iter([9.0, 2.0, 1.0, 8.0, 7.0, 3.0])
    monkeypatch.setattr(table_file, '_time', lambda *_: next(times))
    table = LatencyTable(HERE)
    table.measure([LayerRequest(kind, (4,), (2, 4))], device=CPU, quiet=True)
    assert table.find(kind, (4,), (2, 4)).ms == ((1.0, 2.0),)


def test_real_layers_take_time(kind):
    table = LatencyTable(HERE)
    depthwise = kind_of(nn.Conv2d(8, 8, 3, groups=8))
    requests = [LayerRequest(kind, (4,), (4,)), LayerRequest(depthwise, (4, 8), (1,))]
    assert table.measure(requests, device=CPU, quiet=True) == 3
    assert table.find(kind, (4,), (4,)).at(4, 4) > 0


def test_saved_and_loaded(tmp_path, kind):
    table = LatencyTable(HERE, {kind.key: [Grid((2, 4), (8,), ((1.5,), (2.25,)))]})
    table.networks['net'] = [Measured(1.0, LayerTotals(0.5, 2e6, 3e6), 0.9)]
    table.save(tmp_path / 'deep' / 'table.json')
    assert LatencyTable.load(tmp_path / 'deep' / 'table.json', device=HERE) == table
    assert not list(tmp_path.rglob('*.tmp'))


def test_saving_keeps_what_another_process_has_added(tmp_path, kind):
    path = tmp_path / 'table.json'
    ours = LatencyTable(HERE, {'a': [Grid((1,), (1,), ((1.0,),))]})
    theirs = LatencyTable(HERE, {'b': [Grid((1,), (1,), ((2.0,),))]}, {'net': []})
    theirs.save(path)
    ours.save(path)
    both = LatencyTable.load(path, device=HERE)
    assert set(both.grids) == {'a', 'b'}
    assert set(both.networks) == {'net'}


def test_table_of_another_device_is_an_error(tmp_path):
    path = tmp_path / 'table.json'
    LatencyTable(HERE).save(path)
    with pytest.raises(ValueError) as error:
        open_table(path, device=CPU)
    for word in (str(path), 'another device', "device 'abacus' there", 'any_device=True'):
        assert word in str(error.value)
    table, _ = open_table(path, device=CPU, any_device=True)
    assert table.device == HERE


def test_the_threads_are_part_of_the_device(tmp_path):
    path = tmp_path / 'table.json'
    identity = device_identity(CPU)
    LatencyTable({**identity, 'threads': '77'}).save(path)
    with pytest.raises(ValueError, match=rf"\(threads '77' there, '{identity['threads']}' here\)"):
        open_table(path, device=CPU)


@pytest.mark.parametrize('text', ['no json', '[]', '{"format": 3}'])
def test_a_file_that_is_no_table_is_named(tmp_path, text):
    path = tmp_path / 'table.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=r'table\.json is no latency table .* delete it'):
        open_table(path, device=CPU)


def test_newer_table_format_is_an_error(tmp_path):
    path = tmp_path / 'table.json'
    LatencyTable(HERE).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), 'format': 9}))
    with pytest.raises(ValueError, match='format 9'):
        LatencyTable.load(path, device=None)


def test_another_devices_table_must_exist(tmp_path):
    with pytest.raises(ValueError, match='does not exist, and any_device=True needs it'):
        open_table(tmp_path / 'table.json', device=CPU, any_device=True)


def test_each_device_has_its_own_file(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    _, path = open_table(None, device=CPU)
    assert path == default_path(device_identity(CPU))
    assert path.parent == tmp_path / 'adasap_det' / 'latency'
    assert default_path({**HERE, 'threads': '4'}) != default_path(HERE)
