"""``adasap-train``: train, prune and fine-tune a model as its config says."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from adasap_det.checkpoint.resume import find_resumable_checkpoint
from adasap_det.cli.common import (
    UsageError,
    add_common_options,
    add_structure_hook,
    build_runner,
    load_config,
    report_usage_errors,
    require_checkpoint,
)
from adasap_det.datasets.missing_data import check_data
from adasap_det.utils.config_tree import type_name

_AMP_TWINS = {'OptimWrapper': 'AmpOptimWrapper', 'AdaSAPOptimWrapper': 'AmpAdaSAPOptimWrapper'}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    return report_usage_errors('adasap-train', lambda: _train(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='adasap-train', description='Train, prune and fine-tune a model as its config says.'
    )
    parser.add_argument('config', help="path of a config, or 'adasap_det::<name>.py'")
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints (default: work_dirs/<config>)'
    )
    parser.add_argument('--amp', action='store_true', help='train in automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate from the config's batch size to the one in use",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without one, from the newest readable one in the work dir',
    )
    add_common_options(parser)
    return parser


def _train(args: argparse.Namespace) -> None:
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
    build_runner(cfg).train()


def use_amp(cfg: Config) -> None:
    """Switch to the mixed-precision twin of the optimizer wrapper.

    Raises:
        UsageError: If there is no wrapper, or none whose twin we know.
    """
    wrapper: Any = cfg.get('optim_wrapper')
    if not wrapper:
        raise UsageError('--amp needs an optim_wrapper in the config')
    name = type_name(wrapper) or 'OptimWrapper'
    if name in _AMP_TWINS:
        wrapper.type = _AMP_TWINS[name]
    elif name not in _AMP_TWINS.values():
        raise UsageError(
            f'--amp knows no mixed-precision twin of the optimizer wrapper {name!r} (only of '
            f'{", ".join(_AMP_TWINS)}); set optim_wrapper.type in the config instead'
        )
    wrapper.setdefault('loss_scale', 'dynamic')


def scale_lr(cfg: Config) -> None:
    """Switch on MMEngine's scaling of the learning rate.

    Raises:
        UsageError: If the config does not say for which batch size its learning rate is.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UsageError(
            '--auto-scale-lr needs the batch size that the learning rate is for: set '
            'auto_scale_lr = dict(base_batch_size=...) in the config'
        )
    cfg.auto_scale_lr.enable = True


def check_finite_epochs(cfg: Config) -> None:
    """Refuse epochs over an infinite sampler: the first would never end, without a word.

    Easily had by switching an iteration-based config to epochs.

    Raises:
        UsageError: If the loop counts epochs and the sampler has no end.
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
    """Say that MMEngine makes room for a checkpoint before it has written it."""
    hook: Any = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if hook.get('max_keep_ckpts') == 1:
        print_log(
            'default_hooks.checkpoint.max_keep_ckpts=1: the old checkpoint is removed before the '
            'new one is written, and a run that is killed meanwhile or finds the disk full has '
            'none to go on from; set it to 2 or more',
            logger='current',
            level=logging.WARNING,
        )


def set_resume(cfg: Config, resume: str | None) -> None:
    """Say where to go on: ``auto`` looks in the work dir, None leaves it to the config.

    Where ``auto`` finds nothing the run starts anew, from the config's ``load_from`` if it has
    one, so that a job can be submitted with ``--resume`` from the first time on.

    Raises:
        UsageError: If a checkpoint given by name cannot be read.
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


if __name__ == '__main__':
    sys.exit(main())
