"""The work of ``adasap-test``: evaluate a dense or a pruned checkpoint with any config."""

from __future__ import annotations

import argparse
from copy import deepcopy
from typing import Any

from mmengine.config import Config

from adasap_det.cli.common import add_structure_hook, build_runner, load_config, require_checkpoint
from adasap_det.cli.usage import UsageError
from adasap_det.datasets.missing_data import check_data
from adasap_det.utils.config_tree import iter_datasets, type_name


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        raise UsageError(f'--out {args.out!r}: the file must end in .pkl or .pickle')
    cfg = load_config(args)
    require_checkpoint(args.checkpoint)
    cfg.load_from = args.checkpoint
    cfg.resume = False
    if args.show or args.show_dir:
        draw_predictions(cfg, show=args.show, show_dir=args.show_dir, wait_time=args.wait_time)
    if args.tta:
        use_tta(cfg)
    add_structure_hook(cfg)
    if not cfg.get('test_dataloader'):
        raise UsageError(f'config {args.config!r} has no test_dataloader; add one to test with')
    check_data(cfg, stages=('test',))
    runner = build_runner(cfg)
    if args.out is not None:
        runner.test_evaluator.metrics.append(_dump_results(cfg, args.out))
    runner.test()


def draw_predictions(cfg: Config, *, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Let MMDetection's or mmpretrain's visualization hook draw predictions.

    Args:
        cfg: Full config, changed in place.
        show: Draw in a window.
        show_dir: Folder to draw into files; None for no files.
        wait_time: Seconds to show each image in the window.

    Raises:
        UsageError: If the config has no such hook.
    """
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise UsageError(
            '--show and --show-dir need the visualization hook: set default_hooks = '
            "dict(visualization=dict(type='DetVisualizationHook')) in the config"
        )
    # MMDetection and mmpretrain name the same options differently.
    classifier = type_name(hook) == 'VisualizationHook'
    hook.update(dict(enable=True, interval=1) if classifier else dict(draw=True))
    if show:
        hook.update(show=True, wait_time=wait_time)
    if show_dir is not None:
        hook['out_dir' if classifier else 'test_out_dir'] = show_dir


def use_tta(cfg: Config) -> None:
    """Wrap the model for test-time augmentation: the config's, else horizontal flips."""
    tta_model = cfg.get('tta_model') or dict(
        type='DetTTAModel',
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
    )
    dataset = next(iter_datasets(cfg.test_dataloader.dataset))
    pipeline = cfg.get('tta_pipeline')
    if pipeline is None:
        keys = 'img_id img_path ori_shape img_shape scale_factor flip flip_direction'
        flips = dict(
            type='TestTimeAug',
            transforms=[
                [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)],
                [dict(type='PackDetInputs', meta_keys=tuple(keys.split()))],
            ],
        )
        # Without the last step, which packs the sample: each branch of the augmentation does it.
        pipeline = [*deepcopy(dataset.pipeline)[:-1], flips]
    dataset.pipeline = pipeline
    # A hook wraps the model after loading, as the checkpoint is that of the unwrapped model.
    hook = dict(type='PrepareTTAHook', tta_cfg=tta_model)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]


def _dump_results(cfg: Config, path: str) -> Any:
    if cfg.get('default_scope') == 'mmdet':
        from mmdet.evaluation import DumpDetResults

        return DumpDetResults(out_file_path=path)
    from mmengine.evaluator import DumpResults

    return DumpResults(out_file_path=path)
