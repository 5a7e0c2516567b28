"""Tests do not see what others left behind in MMEngine."""

import time
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from torch import nn

NAME = 'mine_20261129_032015'


@pytest.mark.parametrize('turn', ['first', 'second'])
def test_runs_of_one_name_know_nothing_of_each_other(turn, tmp_path):
    log = tmp_path / 'run.log'
    MMLogger.get_instance(NAME, log_file=str(log)).info('resumed')
    assert 'resumed' in log.read_text()
    hub = MessageHub.get_instance(NAME)
    assert hub.runtime_info == {}
    hub.update_info('turn', turn)
    visualizer = Visualizer.get_instance(
        NAME,
        vis_backends=[dict(type='LocalVisBackend')],
        save_dir=str(tmp_path),
    )
    visualizer.add_scalar('loss', 1.0)
    assert list(tmp_path.glob('vis_data/*'))
    scope = f'scope of the {turn}'
    assert DefaultScope.get_instance(NAME, scope_name=scope).scope_name == scope


def test_runs_of_one_second_log_into_their_own_folders(monkeypatch, tmp_path):
    clock = SimpleNamespace(time=lambda: 1e9, strftime=time.strftime, localtime=time.localtime)
    monkeypatch.setattr('mmengine.runner.runner.time', clock)
    for folder in ('first', 'second'):
        runner = Runner(nn.Identity(), str(tmp_path / folder), experiment_name='mine')
        runner.logger.info(f'the {folder}')
        (log,) = (tmp_path / folder).rglob('*.log')
        assert f'the {folder}' in log.read_text()
