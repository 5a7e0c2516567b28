"""Tests do not see what others left behind in MMEngine."""

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer


@pytest.mark.parametrize('turn', ['first', 'second'])
def test_runs_of_one_name_log_where_they_are_told(turn, tmp_path):
    log = tmp_path / 'run.log'
    MMLogger.get_instance('mine_20261129_032015', log_file=str(log)).info('resumed')
    assert 'resumed' in log.read_text()
    hub = MessageHub.get_instance('mine_20261129_032015')
    assert hub.runtime_info == {}
    hub.update_info('turn', turn)
    visualizer = Visualizer.get_instance(
        'mine_20261129_032015',
        vis_backends=[dict(type='LocalVisBackend')],
        save_dir=str(tmp_path),
    )
    visualizer.add_scalar('loss', 1.0)
    assert list(tmp_path.glob('vis_data/*'))
