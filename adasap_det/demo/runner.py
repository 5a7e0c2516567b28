"""Train and evaluate in the demo: brief console output, full log file, resumable."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from adasap_det.cli.common import add_structure_hook

_SHOWN = (
    'Iter(', 'AdaSAP stage', 'Start:', 'Prune step ', 'Evaluation ', 'Model shrunk',
    'train data',
)  # fmt: skip
_OBSOLETE = 'will be deprecated in future'
_numbers = itertools.count()


class DemoRunner(Runner):
    """Runner that writes config, environment and the like to the log file only."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(_worth_showing)
        return logger


def _worth_showing(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    if record.levelno > logging.INFO:
        return _OBSOLETE not in message
    return message.startswith(_SHOWN)


def train(cfg: Config, *, say: Callable[[str], None]) -> Path:
    """Train a config; resume an interrupted run, and skip a complete one.

    Args:
        cfg: Full config of an iteration-based run.
        say: Called with a message if an earlier run is reused.

    Returns:
        Last checkpoint.
    """
    folder = Path(cfg.work_dir)
    final = folder / f'iter_{cfg.train_cfg.max_iters}.pth'
    started, complete = folder / 'started.json', folder / 'complete.json'
    wanted = _fingerprint(cfg)
    if _read(complete) == wanted and final.is_file():
        say(f'{final} exists already: not trained again')
        return final
    if _read(started) != wanted:
        # An earlier run with another seed, size or starting point cannot be resumed.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        started.write_text(json.dumps(wanted))
    elif (folder / 'last_checkpoint').is_file():
        say(f'resuming from {(folder / "last_checkpoint").read_text().strip()}')
        cfg.resume, cfg.load_from = True, None
    build_runner(cfg).train()
    complete.write_text(json.dumps(wanted))
    return final


def evaluate(cfg: Config, checkpoint: Path, *, name: str) -> float:
    """Return the AP50 of a checkpoint on the test split, loaded into a newly built model.

    Args:
        cfg: Config of the dense model; loading a pruned checkpoint shrinks the model.
        checkpoint: Dense or pruned checkpoint.
        name: Folder for the log, below ``evaluation``.

    Returns:
        Mean over the classes of the area under the precision-recall curve, 0 to 1.
    """
    cfg = cfg.copy()
    cfg.work_dir = str(Path(cfg.work_dir).parent / 'evaluation' / name)
    cfg.load_from, cfg.resume = str(checkpoint), False
    add_structure_hook(cfg)
    metrics = build_runner(cfg).test()
    return float(metrics['pascal_voc/mAP'])


def build_runner(cfg: Config) -> DemoRunner:
    """Build a runner with brief console output."""
    # MMEngine caches visualizers by name: a second run with the same name would write its curves to
    # the folder of the first.
    cfg.visualizer.name = f'demo_visualizer_{next(_numbers)}'
    return DemoRunner.from_cfg(cfg)


def _fingerprint(cfg: Config) -> dict[str, str]:
    """Hashes of the config and of the weights that a run starts from."""
    text = hashlib.sha256(cfg.pretty_text.encode()).hexdigest()
    start = Path(cfg.load_from) if cfg.get('load_from') else None
    return {
        'config': text,
        'load_from': hashlib.sha256(start.read_bytes()).hexdigest() if start else '',
    }


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else None
