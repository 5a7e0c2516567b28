"""Log histories of MMEngine load with ``weights_only=True``, and nothing more does."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from adasap_det.compat.log_histories import globals_of_log_histories, loads_weights_only

pytestmark = pytest.mark.skipif(
    not loads_weights_only(), reason='PyTorch before 2.6 loads all that pickle does'
)


def stored(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return file


def reloaded(value):
    # Not safe_globals(), which at its end takes away what was allowed before it, too.
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(globals_of_log_histories())
    try:
        return torch.load(stored(value), weights_only=True)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)


def test_a_log_history_comes_back():
    hub = MessageHub('histories')
    for value in (1.0, np.float64(2.5), 3):
        hub.update_scalar('train/loss', value)
    hub.update_info('best_score', np.float32(0.25))
    state = reloaded(hub.state_dict())
    history = state['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert history.data[0].tolist() == [1.0, 2.5, 3.0] and history.data[1].tolist() == [1, 1, 1]
    assert history.statistics('max') == 3.0
    assert state['runtime_info']['best_score'] == 0.25


class Attribute:
    """Pickles as a call of getattr."""

    def __init__(self, owner, name):
        self.call = (getattr, (owner, name))

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('name', ['__init__', 'update', '__dict__'])
def test_other_attributes_do_not_load(name):
    with pytest.raises(pickle.UnpicklingError, match='is not allowed'):
        reloaded(Attribute(HistoryBuffer, name))


def test_attributes_of_others_do_not_load():
    with pytest.raises(pickle.UnpicklingError, match='is not allowed'):
        reloaded(Attribute(np.ndarray, 'min'))


def test_a_checkpoint_of_mmengine_loads_by_mmengine_once_we_are_imported(tmp_path):
    hub = MessageHub('checkpoint')
    hub.update_scalar('train/loss', 1.0)
    path = tmp_path / 'epoch_1.pth'
    torch.save({'state_dict': {'weight': torch.ones(1)}, 'message_hub': hub.state_dict()}, path)
    code = (
        'import adasap_det, sys\n'
        'from mmengine.runner.checkpoint import _load_checkpoint\n'
        'print(_load_checkpoint(sys.argv[1])["message_hub"]["log_scalars"]["train/loss"].mean())'
    )
    done = subprocess.run([sys.executable, '-c', code, path], capture_output=True, text=True)
    assert done.stdout.split()[-1] == '1.0', done.stderr
