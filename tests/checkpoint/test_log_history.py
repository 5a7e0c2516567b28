import io

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from adasap_det.checkpoint.log_history import restore_history, to_plain_history


def hub(name):
    made = MessageHub(name)
    made.update_scalar('train/loss', 2.0)
    made.update_scalar('train/loss', 1.0, count=3)
    made.update_info('best_score', np.float64(0.5))
    made.update_info('iter', 7)
    return made


def test_round_trip_through_a_weights_only_file():
    buffer = io.BytesIO()
    torch.save(to_plain_history(hub('plain_a').state_dict()), buffer)
    buffer.seek(0)
    state = restore_history(torch.load(buffer, weights_only=True))
    history = state['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert [list(a) for a in history.data] == [[2.0, 1.0], [1, 3]]
    assert state['runtime_info']['best_score'] == 0.5
    resumed = MessageHub('plain_b')
    resumed.load_state_dict(state)
    assert resumed.get_scalar('train/loss').mean() == pytest.approx(3 / 4)  # sum over count
    assert resumed.get_info('iter') == 7


def test_other_states_pass_through():
    state = hub('plain_c').state_dict()
    assert restore_history(state)['log_scalars']['train/loss'] is state['log_scalars']['train/loss']
    assert restore_history('something older') == 'something older'
