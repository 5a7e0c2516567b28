"""Errors while a cell is evaluated."""

from types import SimpleNamespace

import pytest
from PIL import UnidentifiedImageError

from adasap_det.robustness.evaluation import sweep
from adasap_det.robustness.evaluation.cell_data import Built
from adasap_det.robustness.results import CLEAN


@pytest.fixture
def failing(monkeypatch):
    """Evaluate a cell of a source, with an error."""

    def evaluate(error, *, key=('fog', 3), built=False):
        def measure(*_, **__):
            raise error

        monkeypatch.setattr(sweep, 'measure', measure)
        monkeypatch.setattr(sweep.Sweep, '_loader', lambda self, key: None)
        one = sweep.Sweep.__new__(sweep.Sweep)
        source = Built.__new__(Built) if built else SimpleNamespace()
        vars(one).update(runner=None, task=None, per_image=False, source=source)
        one._evaluate(key)

    return evaluate


@pytest.mark.parametrize(
    'error',
    [
        FileNotFoundError(2, 'No such file or directory', 'a.jpg'),
        PermissionError(13, 'Permission denied', 'a.jpg'),
        UnidentifiedImageError('cannot identify image file'),
        OSError('Caught OSError in a worker\nOSError: image file is truncated (3 bytes left)'),
        OSError('broken data stream when reading image file'),
        AssertionError('failed to load image: a.jpg'),
    ],
)
def test_unreadable_images_are_named(failing, error):
    with pytest.raises(ValueError, match=r'^an image of fog 3 cannot be read: .*; restore it$'):
        failing(error)


@pytest.mark.parametrize(
    'error',
    [
        OSError(24, 'Too many open files'),
        OSError(28, 'No space left on device', '/dev/shm'),
        ConnectionResetError(104, 'Connection reset by peer'),
        AssertionError('another'),
    ],
)
def test_other_errors_are_kept(failing, error):
    with pytest.raises(type(error)) as raised:
        failing(error)
    assert raised.value is error


def test_only_the_images_of_a_benchmark_can_be_built_again(failing):
    missing = FileNotFoundError(2, 'No such file or directory', 'a.jpg')
    with pytest.raises(ValueError, match='or repair the benchmark by running its build again'):
        failing(missing, built=True)
    with pytest.raises(ValueError, match=r'restore it$'):
        failing(missing, built=True, key=CLEAN)
