"""MMEngine's log histories load with ``weights_only=True``, other objects do not."""

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
    not loads_weights_only(), reason='PyTorch before 2.6 does not restrict pickle'
)


def stored(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return file


def reloaded(value):
    # Not safe_globals(), which on exit also removes what was allowed before.
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(globals_of_log_histories())
    try:
        return torch.load(stored(value), weights_only=True)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)


def test_log_history_is_restored():
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
    """Object that is pickled as a call of getattr."""

    def __init__(self, owner, name):
        self.call = (getattr, (owner, name))

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('name', ['__init__', 'update', '__dict__'])
def test_other_attributes_are_rejected(name):
    with pytest.raises(pickle.UnpicklingError, match='is not allowed'):
        reloaded(Attribute(HistoryBuffer, name))


def test_attributes_of_other_classes_are_rejected():
    with pytest.raises(pickle.UnpicklingError, match='is not allowed'):
        reloaded(Attribute(np.ndarray, 'min'))


def test_mmengine_loads_its_checkpoint_after_our_import(tmp_path):
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
