"""Resuming in spite of half-written files."""

import logging
import os

import pytest
import torch
from mmengine.logging import MMLogger

from adasap_det.checkpoint.resume import checkpoint_problem, find_resumable_checkpoint


@pytest.fixture
def log(monkeypatch) -> list[str]:
    """Warnings that the function logs."""
    lines: list[str] = []
    logger = MMLogger.get_current_instance()
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def save(path, *, age: int, optimizer: bool = True) -> str:
    """A checkpoint written ``age`` seconds ago."""
    checkpoint = {'meta': {'iter': 1}, 'state_dict': {'w': torch.ones(500)}}
    if optimizer:
        checkpoint['optimizer'] = {}
    torch.save(checkpoint, path)
    os.utime(path, (1e9 - age, 1e9 - age))
    return str(path)


def truncate(path: str) -> None:
    stat = os.stat(path)
    with open(path, 'r+b') as file:
        file.truncate(stat.st_size // 2)
    os.utime(path, (stat.st_atime, stat.st_mtime))


def test_last_checkpoint_file_takes_precedence_over_newer(tmp_path, log):
    noted = save(tmp_path / 'epoch_1.pth', age=50)
    save(tmp_path / 'epoch_2.pth', age=10)
    (tmp_path / 'last_checkpoint').write_text(noted)
    assert find_resumable_checkpoint(tmp_path) == noted
    assert log == []


@pytest.mark.parametrize('note', ['', '\n', None])
def test_empty_last_checkpoint_file_falls_back_to_newest(tmp_path, log, note):
    save(tmp_path / 'epoch_1.pth', age=50)
    newest = save(tmp_path / 'epoch_2.pth', age=10)
    if note is not None:
        (tmp_path / 'last_checkpoint').write_text(note)
    assert find_resumable_checkpoint(tmp_path) == newest
    # Without a last_checkpoint file there is no warning.
    assert len(log) == (note is not None)
    if log:
        assert 'last_checkpoint is empty; resuming from' in log[0] and newest in log[0]


def test_missing_last_checkpoint_falls_back(tmp_path, log):
    newest = save(tmp_path / 'epoch_2.pth', age=10)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    assert find_resumable_checkpoint(tmp_path) == newest
    assert 'epoch_3.pth does not exist; resuming from' in log[0]


def test_moved_work_dir_still_resolves_last_checkpoint(tmp_path):
    save(tmp_path / 'epoch_3.pth', age=1)
    noted = save(tmp_path / 'epoch_2.pth', age=10)
    (tmp_path / 'last_checkpoint').write_text('/before/the/move/epoch_2.pth')
    assert find_resumable_checkpoint(tmp_path) == noted


def test_truncated_checkpoints_are_skipped(tmp_path, log):
    good = save(tmp_path / 'epoch_1.pth', age=50)
    for name, age in (('epoch_2.pth', 30), ('epoch_3.pth', 10)):
        truncate(save(tmp_path / name, age=age))
    (tmp_path / 'epoch_4.pth').touch()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    assert find_resumable_checkpoint(tmp_path) == good
    assert 'epoch_4.pth: it cannot be read' in log[0]
    assert 'epoch_2.pth: it cannot be read' in log[1]
    assert 'epoch_3.pth cannot be read' in log[2] and good in log[2]


def test_checkpoints_without_optimizer_are_skipped(tmp_path, log):
    good = save(tmp_path / 'epoch_1.pth', age=50)
    save(tmp_path / 'best_mAP_epoch_2.pth', age=1, optimizer=False)
    assert find_resumable_checkpoint(tmp_path) == good
    assert 'has no optimizer' in log[0]


def test_equal_times_are_ordered_by_number(tmp_path):
    for number in (9, 10):
        save(tmp_path / f'iter_{number}.pth', age=7)
    assert find_resumable_checkpoint(tmp_path) == str(tmp_path / 'iter_10.pth')


def test_nothing_to_resume_from(tmp_path, log):
    assert find_resumable_checkpoint(tmp_path) is None
    assert find_resumable_checkpoint(tmp_path / 'absent') is None
    assert log == []
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    assert find_resumable_checkpoint(tmp_path) is None
    assert 'no other checkpoint' in log[0]


def test_problem_phrases(tmp_path):
    assert checkpoint_problem(tmp_path / 'none.pth') == 'does not exist'
    path = save(tmp_path / 'a.pth', age=1, optimizer=False)
    assert checkpoint_problem(path) is None
    assert checkpoint_problem(path, needs=('optimizer',)) == 'has no optimizer to resume from'
    (tmp_path / 'text.pth').write_text('a text, no checkpoint')
    assert 'cannot be read' in checkpoint_problem(tmp_path / 'text.pth')
