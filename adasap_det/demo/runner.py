"""Train in the demo: resumable, with the log in a file."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from adasap_det.demo.twin_progress import ProgressFile
from adasap_det.utils.io import atomic_write

_numbers = itertools.count()


def train(cfg: Config, progress: ProgressFile, *, units: float) -> Path:
    """Train a config; resume an interrupted run, and skip a complete one.

    Args:
        cfg: Full config of an iteration-based run.
        progress: Is notified of every iteration.
        units: Units of work of an iteration.

    Returns:
        Last checkpoint.

    Raises:
        ValueError: If the folder of the run exists and holds something else.
    """
    folder = Path(cfg.work_dir)
    iterations = cfg.train_cfg.max_iters
    final = folder / f'iter_{iterations}.pth'
    started, complete = folder / 'started.json', folder / 'complete.json'
    wanted = _fingerprint(cfg)
    if _read(complete) == wanted and final.is_file():
        progress.advance(units * iterations)
        return final
    if not started.is_file() and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f'{folder} is not of the demo; give another --work-dir')
    if _read(started) != wanted:
        # An earlier run with another seed, size or starting point cannot be resumed.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        _write(started, wanted)
    elif (folder / 'last_checkpoint').is_file():
        cfg.resume, cfg.load_from = True, None
    # MMEngine caches visualizers by name: a second run with the same name would write its curves to
    # the folder of the first.
    cfg.visualizer.name = f'demo_visualizer_{next(_numbers)}'
    runner = Runner.from_cfg(cfg)
    runner.register_hook(_ProgressHook(progress, units), priority='VERY_LOW')
    runner.train()
    _write(complete, wanted)
    return final


class _ProgressHook(Hook):
    """Reports every iteration, and those before a resumed run began."""

    def __init__(self, progress: ProgressFile, units: float) -> None:
        self._progress, self._units = progress, units

    def before_train(self, runner: Runner) -> None:
        self._progress.advance(self._units * runner.iter)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self._progress.advance(self._units)


def _fingerprint(cfg: Config) -> dict[str, str]:
    """Hashes of the config and of the weights that a run starts from."""
    text = hashlib.sha256(cfg.pretty_text.encode()).hexdigest()
    start = Path(cfg.load_from) if cfg.get('load_from') else None
    return {
        'config': text,
        'load_from': hashlib.sha256(start.read_bytes()).hexdigest() if start else '',
    }


def _read(path: Path) -> Any:
    return json.loads(path.read_text('utf-8')) if path.is_file() else None


def _write(path: Path, content: Any) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content), 'utf-8')
