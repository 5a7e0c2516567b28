"""The work of ``adasap-train``: train, prune and fine-tune a model according to its config."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from adasap_det.checkpoint.resume import find_resumable_checkpoint
from adasap_det.cli.common import add_structure_hook, build_runner, load_config, require_checkpoint
from adasap_det.cli.usage import UsageError
from adasap_det.datasets.missing_data import check_data
from adasap_det.utils.config_tree import type_name

_AMP_WRAPPERS = {'OptimWrapper': 'AmpOptimWrapper', 'AdaSAPOptimWrapper': 'AmpAdaSAPOptimWrapper'}


def run(args: argparse.Namespace, *, note: str | None = None) -> None:
    """Run the command with its parsed arguments; ``note`` goes into the log of the run."""
    cfg = load_config(args)
    if args.amp:
        use_amp(cfg)
    if args.auto_scale_lr:
        scale_lr(cfg)
    set_resume(cfg, args.resume)
    add_structure_hook(cfg)
    check_finite_epochs(cfg)
    warn_of_a_single_checkpoint(cfg)
    check_data(cfg, stages=('train', 'val'))
    runner = build_runner(cfg)
    if note is not None:
        print_log(note, logger='current')  # the runner's logger: also in its file
    runner.train()


def use_amp(cfg: Config) -> None:
    """Switch to the mixed-precision version of the optimizer wrapper.

    Raises:
        UsageError: If there is no wrapper, or its mixed-precision version is unknown.
    """
    wrapper: Any = cfg.get('optim_wrapper')
    if not wrapper:
        raise UsageError('--amp needs an optim_wrapper in the config')
    name = type_name(wrapper) or 'OptimWrapper'
    if name in _AMP_WRAPPERS:
        wrapper.type = _AMP_WRAPPERS[name]
    elif name not in _AMP_WRAPPERS.values():
        raise UsageError(
            f'--amp knows no mixed-precision version of the optimizer wrapper {name!r} (only of '
            f'{", ".join(_AMP_WRAPPERS)}); set optim_wrapper.type in the config instead'
        )
    wrapper.setdefault('loss_scale', 'dynamic')


def scale_lr(cfg: Config) -> None:
    """Enable MMEngine's scaling of the learning rate.

    Raises:
        UsageError: If the config does not give the batch size of its learning rate.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UsageError(
            '--auto-scale-lr needs the batch size that the learning rate is for: set '
            'auto_scale_lr = dict(base_batch_size=...) in the config'
        )
    cfg.auto_scale_lr.enable = True


def check_finite_epochs(cfg: Config) -> None:
    """Check that a loop by epochs has a finite sampler; else its first epoch never ends.

    Switching an iteration-based config to epochs easily leads there.

    Raises:
        UsageError: If the loop counts epochs and the sampler is infinite.
    """
    loop: Any = cfg.get('train_cfg') or {}
    by_epoch = type_name(loop) == 'EpochBasedTrainLoop' or loop.get('by_epoch', False)
    sampler = (cfg.get('train_dataloader') or {}).get('sampler')
    if by_epoch and sampler and type_name(sampler).endswith('InfiniteSampler'):
        raise UsageError(
            f'train_cfg counts epochs, which never end with {type_name(sampler)}; set '
            "train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True), or train_cfg = "
            "dict(type='IterBasedTrainLoop', max_iters=...)"
        )


def warn_of_a_single_checkpoint(cfg: Config) -> None:
    """Warn that MMEngine deletes the only checkpoint before it writes the next one."""
    hook: Any = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if hook.get('max_keep_ckpts') == 1:
        print_log(
            'default_hooks.checkpoint.max_keep_ckpts=1: the old checkpoint is removed before the '
            'new one is written, so a run that is killed meanwhile or runs out of disk space '
            'cannot be resumed; set it to 2 or more',
            logger='current',
            level=logging.WARNING,
        )


def set_resume(cfg: Config, resume: str | None) -> None:
    """Set the checkpoint to resume from.

    Args:
        cfg: Full config, changed in place.
        resume: Checkpoint; ``auto`` for the newest readable one in the work dir, None to keep the
            config's settings. Where ``auto`` finds none the run starts at the beginning, from the
            config's ``load_from`` if set, so that a job can always be submitted with ``--resume``.

    Raises:
        UsageError: If the checkpoint cannot be read.
    """
    if resume is None and cfg.get('resume') and not cfg.get('load_from'):
        resume = 'auto'
    if resume == 'auto':
        found = find_resumable_checkpoint(cfg.work_dir)
        cfg.resume = found is not None
        if found is not None:
            cfg.load_from = found
    elif resume is not None:
        require_checkpoint(resume)
        cfg.resume = True
        cfg.load_from = resume
    elif cfg.get('load_from'):
        require_checkpoint(cfg.load_from)
