"""Other test sets of the same classes: ImageNet-V2, ObjectNet, images of another country.

What is kept of the clean performance there is the paper's R_V2 = acc_V2 / acc_val (AdaSAP, arXiv
2306.14306), as rPC, its R_C, is of what is kept under corruption.
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


def evaluate_shifted(
    sweep: Sweep, configs: Mapping[str, tuple[str, Config]], *, num_classes: int
) -> tuple[ShiftedSet, ...]:
    """Evaluate the sweep's model on the test sets of other configs, each once.

    Returns them, and those of earlier runs.

    Args:
        sweep: Loaded.
        configs: By name: path, as it is to be recorded, and whole config, of which only
            ``test_dataloader`` and the task count.
        num_classes: Of the model's own test set.

    Raises:
        ValueError: If a config is of another task, or its test set has other classes in number
            than the model's own.
    """
    found = _there(sweep)
    for name, (path, cfg) in configs.items():
        task = task_of(cfg)
        if task.name != sweep.task.name:
            raise ValueError(
                f'{path} is a config of {task.name}, the model one of {sweep.task.name}'
            )
        fingerprint = sweep.fingerprint_on(cfg.test_dataloader.dataset, task)
        if name in found and found[name].fingerprint == fingerprint:
            sweep.say(f'{name} is there already')
            continue
        loader = build_loader(cfg.test_dataloader, cfg.test_dataloader.dataset)
        own = len(loader.dataset.metainfo.get('classes') or ())
        if own != num_classes:
            raise ValueError(
                f'the test set of {path} has {own} classes and that of the model {num_classes}; '
                f'map them, as configs/resnet/resnet50_test_objectnet.py does'
            )
        metrics, _ = measure(sweep.runner, loader, task)
        images = len(loader.dataset)
        found[name] = ShiftedSet(name, path, images, metrics, sweep.sha256, fingerprint)
        values = '  '.join(f'{m} {percent(v)}' for m, v in metrics.items())
        sweep.say(f'{name}: {values}, {images} images')
        if is_main_process():
            save_shifted(sweep.out, list(found.values()))
    return tuple(found.values())


def _there(sweep: Sweep) -> dict[str, ShiftedSet]:
    """What earlier runs found of this checkpoint; the main process looks."""
    known = broadcast_from_rank0(lambda: load_shifted(sweep.out, checkpoint_sha256=sweep.sha256))
    return {one.name: one for one in known}
