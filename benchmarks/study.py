"""What the studies share: resumable training, evaluation under corruption, mean and spread.

Every run has a folder of its own under the study's; what is there already is not made again, and
a training that was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from adasap_det.robustness.evaluation.cell_data import Built
from adasap_det.robustness.results import load_results

ROOT = Path(__file__).resolve().parents[1]
#: Folder of an evaluation under corruption, beside its checkpoint.
RESULTS = 'robustness'


@dataclass(frozen=True)
class Arm:
    """A way to prune: a twin of the config, how many times its epochs, and what differs from it."""

    config: str
    times: int = 1
    options: tuple[str, ...] = ()


def stages(hook: str, before: str, after: str, *wrapper: str) -> Arm:
    """AdaSAP with other stages before and after the cut, and options of the optimizer wrapper."""
    own = (
        f'{hook}.perturbation_before_pruning={before}',
        f'{hook}.perturbation_after_pruning={after}',
    )
    return Arm('adasap', options=own + tuple(f'optim_wrapper.{option}' for option in wrapper))


@dataclass(frozen=True)
class Run:
    """One pruned network."""

    network: str
    keep: float
    arm: str
    seed: int

    @property
    def folder(self) -> str:
        """Of its own, under the study's."""
        arm = re.sub(r'\W+', '_', self.arm)
        return f'{self.network}/keep{round(100 * self.keep)}/{arm}/seed{self.seed}'


def call(tool: str, *arguments: str, log: Path) -> None:
    """Run one of ``tools/`` with one thread.

    Raises:
        SystemExit: If it fails; names the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    with open(log, 'ab') as file:
        code = subprocess.run(
            [sys.executable, str(ROOT / 'tools' / f'{tool}.py'), *arguments],
            stdout=file, stderr=subprocess.STDOUT, env=environment, check=False,
        ).returncode  # fmt: skip
    if code:
        raise SystemExit(f'{tool} failed, exit status {code}; see {log}')


def train(config: str, folder: Path, *, times: int = 1, options: Sequence[str] = ()) -> Path:
    """Train to the end, for ``times`` the epochs of the config; the last checkpoint."""
    epochs = Config.fromfile(ROOT / config).max_epochs * times
    final = folder / f'epoch_{epochs}.pth'
    if final.is_file():
        return final
    longer = (
        f'train_cfg.max_epochs={epochs}',
        f'param_scheduler.1.end={epochs}',
        f'param_scheduler.1.T_max={epochs}',
    )
    call(
        'train', str(ROOT / config), '--work-dir', str(folder), '--resume', '--cfg-options',
        # A checkpoint an epoch: what is stopped goes on.
        *options, *(longer if times != 1 else ()), 'default_hooks.checkpoint.interval=1',
        log=folder.with_suffix('.log'),
    )  # fmt: skip
    return final


def evaluate(
    config: str,
    checkpoint: Path,
    benchmark: Path,
    *,
    results: str = RESULTS,
    options: Sequence[str] = (),
) -> None:
    """Clean and corrupted performance, in the folder ``results`` beside the checkpoint.

    Raises:
        SystemExit: If that folder holds the evaluation on another benchmark.
    """
    folder = checkpoint.parent / results
    if (folder / 'model.json').is_file():
        _check_benchmark(folder, Built(benchmark).title)
        return
    call(
        'test_robustness', str(ROOT / config), str(checkpoint), '--benchmark', str(benchmark),
        '--out', str(folder), '--images', '0',
        *(('--cfg-options', *options) if options else ()),
        log=checkpoint.parent / f'{results}.log',
    )  # fmt: skip


def _check_benchmark(folder: Path, title: str) -> None:
    for cell in load_results(folder).cells.values():
        if cell.corruption and cell.source != title:
            raise SystemExit(
                f'{folder} holds the evaluation on {cell.source}, not on {title}; '
                f'give another folder (--results) or move this one away'
            )


def in_parallel(work: Callable[[Any], object], items: Iterable[Any], *, jobs: int) -> None:
    """Do all, ``jobs`` at a time; the first failure is raised once the others have ended."""
    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(work, item) for item in items]:
            future.result()


def logged(checkpoint: Path, key: str, *, last: int = 1) -> float:
    """Mean of the ``last`` values of a scalar that the training of this checkpoint logged."""
    logs = sorted(checkpoint.parent.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for log in logs for line in log.read_text('utf-8').splitlines()]
    return statistics.mean([line[key] for line in lines if key in line][-last:])


def checksum(checkpoint: Path) -> str:
    """Which network it is: the beginning of its SHA-256."""
    return hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:8]


def last_checkpoint(folder: Path, *, results: str = RESULTS) -> Path | None:
    """The evaluated checkpoint of a run, if it has got there."""
    if not (folder / results / 'model.json').is_file():
        return None
    return max(folder.glob('epoch_*.pth'), key=lambda p: int(p.stem.rpartition('_')[2]))


def percent(value: float) -> float:
    """Of a share, to two decimals."""
    return round(100 * value, 2)


def spread(values: Sequence[float], *, digits: int = 1, sign: str = '') -> str:
    """Mean and standard deviation of the sample, to one decimal or as many as asked for.

    ``sign='+'`` shows that of the mean where it is positive too.
    """
    mean = f'{statistics.mean(values):{sign}.{digits}f}'
    return mean if len(values) < 2 else f'{mean} ± {statistics.stdev(values):.{digits}f}'
