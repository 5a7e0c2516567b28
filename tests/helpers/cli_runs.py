"""Short, reproducible runs of ``tools/train.py`` on the shapes data set.

Sixteen images in batches of four make epochs of four iterations; pruning starts in the third.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adasap_det import config_path
from adasap_det.datasets import make_shapes_voc

from .forks import ENVIRON, ROOT, Forks

SECONDS = 500
TRAIN = (sys.executable, str(ROOT / 'tools/train.py'))

CONFIG = """
_base_ = {base!r}
custom_imports = dict(imports=['adasap_det', 'tests.helpers.run_hooks'], allow_failed_imports=False)
data_root = {data!r}
train_dataloader = dict(
    batch_size=4, num_workers=1, persistent_workers=False, dataset=dict(data_root=data_root),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=4, val_interval=2)
param_scheduler = [dict(type='StepLR', step_size=3)]
log_processor = dict(by_epoch=True)
optim_wrapper = dict(
    _delete_=True, type='AdaSAPOptimWrapper', rho_max=0.2, rho=0.2,
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
pruning = dict(
    type='PruningHook', budget=dict(type='ParamsBudget', keep_ratio=0.5), prune_begin=2,
    prune_steps=2, prune_interval=2, round_to=8, input_size=(160, 160))
default_hooks = dict(
    checkpoint=dict(
        by_epoch=True, interval=1, max_keep_ckpts=2, backend_args=dict(backend='atomic')),
    random_state=dict(type='RandomStateHook'), data_check=None, pruning=pruning)
custom_hooks = [dict(type='KillHook')]
"""


def prepare(folder: Path, *changes: str) -> None:
    """Generate the images and write ``config.py``.

    Args:
        folder: Output folder.
        changes: Lines to append to the config above.
    """
    make_shapes_voc(folder / 'data', num_train=16, num_val=2, num_test=2, seed=1)
    text = CONFIG.format(base=config_path('demo/shapes_dense.py'), data=f'{folder}/data/')
    (folder / 'config.py').write_text('\n'.join([text, *changes]))


def train(
    folder: Path,
    work_dir: Path,
    *options: str,
    program: Sequence[str] = TRAIN,
    forks: Forks | None = None,
    **environ: str,
) -> subprocess.CompletedProcess[str]:
    """Run to the end, successful or not.

    Args:
        folder: Folder of :func:`prepare`.
        work_dir: Folder of the run.
        options: Command line options.
        program: Command that runs the config.
        forks: Run in a fork instead of a new process, which is faster.
        environ: Environment variables for ``run_hooks.py``.
    """
    words = [*program, str(folder / 'config.py'), '--work-dir', str(work_dir), *options]
    if forks is not None:
        return forks.run(words[1:], cwd=Path.cwd(), seconds=SECONDS, **environ)
    return subprocess.run(
        words,
        env={**ENVIRON, **environ},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def load(path: Path) -> dict[str, Any]:
    """Load the reproducible parts of a checkpoint: all but times, logs and paths."""
    checkpoint = torch.load(path, weights_only=True)
    parts = {k: checkpoint[k] for k in ('state_dict', 'optimizer', 'param_schedulers')}
    return parts | {'state': checkpoint['adasap_det'], 'meta': checkpoint['meta']['adasap_det']}


def differences(first: Any, second: Any, name: str = '') -> list[str]:
    """Names of the entries that differ, bitwise, between nested dicts, lists and tensors."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        equal = first.dtype == second.dtype and torch.equal(first, second)
        return [] if equal else [name]
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        if set(first) != set(second):
            return [f'{name}: {sorted(map(str, set(first) ^ set(second)))}']
        return [d for key in first for d in differences(first[key], second[key], f'{name}.{key}')]
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        if len(first) != len(second):
            return [f'{name}: {len(first)} and {len(second)}']
        pairs = enumerate(zip(first, second, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f'{name}.{i}')]
    return [] if first == second else [f'{name}: {first!r} and {second!r}']
