"""Shared by the commands: read the config, check the checkpoint, build the runner."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from adasap_det.checkpoint.resume import checkpoint_problem
from adasap_det.cli.usage import UsageError
from adasap_det.utils.config_tree import iter_hooks, type_name
from adasap_det.utils.shipped_configs import config_path

_SCOPE = 'adasap_det::'
_MMENGINE_HOOKS = (
    'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint',
)  # fmt: skip


def load_config(args: argparse.Namespace) -> Config:
    """Read the config of ``args.config`` and apply the overrides of the command line.

    Args:
        args: Parsed arguments: ``config`` (a path or ``adasap_det::name.py``), ``work_dir`` and
            the options of :func:`~adasap_det.cli.usage.add_common_options`.

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
    _drop_disabled_hooks(cfg)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('./work_dirs', Path(path).stem)
    return cfg


def _drop_disabled_hooks(cfg: Config) -> None:
    """Let ``default_hooks.<name>=None`` switch off any hook.

    MMEngine takes None only for its own default hooks and fails an assertion for others.
    """
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None]:
        if name not in _MMENGINE_HOOKS:
            del hooks[name]


def require_checkpoint(path: str) -> None:
    """Check that a checkpoint file can be read, before the run is built.

    Raises:
        UsageError: If the file does not exist or cannot be read. URLs are not checked.
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
    """Build the runner of the config."""
    if cfg.get('default_scope') == 'mmdet':
        # Imports MMDetection, which takes seconds: only after the config was checked.
        from adasap_det.compat.annotation_errors import name_broken_annotations

        name_broken_annotations()
    if cfg.launcher == 'pytorch' and get_device() == 'cpu' and not dist.is_initialized():
        _start_on_cpu(cfg)
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def _start_on_cpu(cfg: Config) -> None:
    """Initialise torchrun's process group on a machine without accelerator.

    MMEngine would choose a CUDA device for the process and for DDP; it keeps a process group that
    is already initialised.
    """
    dist.init_process_group('gloo')
    if not cfg.get('model_wrapper_cfg'):
        # MMEngine's default, without the device.
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
