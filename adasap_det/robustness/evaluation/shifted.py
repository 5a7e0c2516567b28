"""Evaluation on shifted test sets of the same classes, such as ImageNet-V2 and ObjectNet.

The ratio to the clean accuracy is the paper's R_V2 = acc_V2 / acc_val (AdaSAP, arXiv 2306.14306),
just as rPC, its R_C, is the ratio of corrupted to clean accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.config import Config
from mmengine.dist import is_main_process

from adasap_det.robustness.evaluation.measure import build_loader, measure
from adasap_det.robustness.evaluation.sweep import Sweep
from adasap_det.robustness.evaluation.task import task_of
from adasap_det.robustness.metrics import percent
from adasap_det.robustness.results import ShiftedSet, load_shifted, save_shifted
from adasap_det.utils.dist import broadcast_from_rank0
from adasap_det.utils.plural import counted


def evaluate_shifted(
    sweep: Sweep, configs: Mapping[str, tuple[str, Config]], *, num_classes: int
) -> tuple[ShiftedSet, ...]:
    """Evaluate the sweep's model on the test sets of other configs.

    Args:
        sweep: With the checkpoint loaded.
        configs: Path to record and full config, by name. Only ``test_dataloader`` and the task of
            the config are used.
        num_classes: Number of classes of the model's own test set.

    Returns:
        The results, including those of earlier runs, which are not evaluated again.

    Raises:
        ValueError: If a config has another task, or its test set another number of classes.
    """
    found = _load_existing(sweep)
    for name, (path, cfg) in configs.items():
        task = task_of(cfg)
        if task.name != sweep.task.name:
            raise ValueError(
                f'{path} is a {task.name} config, but the model is for {sweep.task.name}'
            )
        fingerprint = sweep.fingerprint_on(cfg.test_dataloader.dataset, task)
        if name in found and found[name].fingerprint == fingerprint:
            sweep.say(f'{name} is already evaluated')
            continue
        loader = build_loader(cfg.test_dataloader, cfg.test_dataloader.dataset)
        own = len(loader.dataset.metainfo.get('classes') or ())
        if own != num_classes:
            raise ValueError(
                f'the test set of {path} has {own} classes, that of the model has {num_classes}; '
                f'map them, as configs/resnet/resnet50_test_objectnet.py does'
            )
        metrics = measure(sweep.runner, loader, task).metrics
        images = len(loader.dataset)
        found[name] = ShiftedSet(name, path, images, metrics, sweep.sha256, fingerprint)
        values = '  '.join(f'{m} {percent(v)}' for m, v in metrics.items())
        sweep.say(f'{name}: {values}, {counted(images, "image")}')
        if is_main_process():
            save_shifted(sweep.out, list(found.values()))
    return tuple(found.values())


def _load_existing(sweep: Sweep) -> dict[str, ShiftedSet]:
    """Read the results of earlier runs of this checkpoint, in the main process."""
    existing = broadcast_from_rank0(lambda: load_shifted(sweep.out, checkpoint_sha256=sweep.sha256))
    return {one.name: one for one in existing}
