"""What the entry points share: reading the config, telling users what is wrong."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from adasap_det.checkpoint.resume import checkpoint_problem
from adasap_det.compat import config_path
from adasap_det.datasets.missing_data import MissingDataError
from adasap_det.utils.config_tree import iter_hooks, type_name

_SCOPE = 'adasap_det::'


class UsageError(ValueError):
    """The command or the config is wrong, and the message says what to do."""


def report_usage_errors(program: str, command: Callable[[], None]) -> int:
    """Run a command; turn what the user got wrong into one line on stderr.

    A process group that the command joined ends with it.

    Returns:
        Exit status: 0, or 2 for a usage error. Anything else is a fault and keeps its traceback.
    """
    try:
        command()
    except (UsageError, MissingDataError) as error:
        print(f'{program}: error: {error}', file=sys.stderr)
        return 2
    leave_process_group()
    return 0


def leave_process_group() -> None:
    """End the process group, if there is one, while the interpreter is whole.

    The threads of gloo hold Python objects: now and then one of them aborts the process, or waits
    for ever, if it is left to the interpreter's end. Not to be called after a failure, when the
    other ranks may never get here.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    # A runner and its DDP are parts of cycles; as long as they live they hold the group too.
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Options that training and testing have in common, named as MMDetection names them."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config. Lists are written key="[a,b]" or key=a,b, nested '
        'ones key="[(a,b),(c,d)]"; the quotation marks are needed and white space is not allowed',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of a distributed job are started',
    )
    # torch.distributed.launch passes one spelling or the other, depending on its version.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """The config of ``args.config`` with the overrides of the command line.

    Args:
        args: With ``config``, a path or ``adasap_det::name.py``, and what
            :func:`add_common_options` adds; ``work_dir`` too.

    Raises:
        UsageError: If the config does not exist or cannot be read.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        path = (
            config_path(args.config.removeprefix(_SCOPE))
            if args.config.startswith(_SCOPE)
            else args.config
        )
    except ValueError as error:
        raise UsageError(error) from None
    if not Path(path).is_file():
        raise UsageError(
            f'config {args.config!r} does not exist; give the path of a file, or '
            f"'{_SCOPE}<name>.py' for a config of this package"
        )
    try:
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(args.cfg_options or {})
    except Exception as error:
        raise UsageError(
            f'config {args.config!r} cannot be read: {type(error).__name__}: {error}'
        ) from error
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('./work_dirs', Path(path).stem)
    return cfg


def require_checkpoint(path: str) -> None:
    """Check a checkpoint given by name before a run is set up around it.

    Raises:
        UsageError: If the file does not exist or cannot be read. Addresses are not looked at.
    """
    if '://' in path:
        return
    problem = checkpoint_problem(path)
    if problem is not None:
        raise UsageError(f'checkpoint {path!r} {problem}; give the path of a *.pth file')


def add_structure_hook(cfg: Config) -> None:
    """Add ``default_hooks.structure``, to load pruned checkpoints, unless a hook does that."""
    if not any(type_name(hook) in ('PruningHook', 'StructureHook') for hook in iter_hooks(cfg)):
        cfg.default_hooks = {
            **(cfg.get('default_hooks') or {}),
            'structure': dict(type='StructureHook'),
        }


def build_runner(cfg: Config) -> Runner:
    """The runner that the config asks for."""
    if cfg.get('default_scope') == 'mmdet':
        # Imports MMDetection, so not before the config was found good.
        from adasap_det.compat.annotation_errors import name_broken_annotations

        name_broken_annotations()
    if cfg.launcher == 'pytorch' and get_device() == 'cpu' and not dist.is_initialized():
        _start_on_cpu(cfg)
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def _start_on_cpu(cfg: Config) -> None:
    """Join torchrun's processes on a machine without accelerator.

    MMEngine would choose a CUDA device for the process and for DDP; it leaves a process group
    that is there as it is.
    """
    dist.init_process_group('gloo')
    if not cfg.get('model_wrapper_cfg'):
        # As MMEngine's own, but for the device.
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
