"""Compare the demo's two networks at every size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from adasap_det.demo.evaluation import summary
from adasap_det.demo.settings import IMAGE_SIZE, TWINS, Settings, load_config
from adasap_det.demo.side_by_side import save_side_by_side
from adasap_det.demo.summary import Difference, Results, SizeResult
from adasap_det.demo.twin import load_outcomes, load_size, outcomes_file, size_name
from adasap_det.pruning import count_params
from adasap_det.robustness.bootstrap import Run, paired_interval
from adasap_det.robustness.per_image import DetectionOutcomes
from adasap_det.robustness.results import CellKey
from adasap_det.utils.timing import measure_latency

_METRICS = {'AP50': 'P', 'mPC': 'mPC'}


def compare(work_dir: Path, settings: Settings, *, seed: int) -> Results:
    """Collect what both trainings left.

    Args:
        work_dir: Folder of the demo.
        settings: Size of the demo.
        seed: Of data and training.
    """
    models = _models(work_dir, settings, settings.sizes, seed=seed)
    latency = measure_latency(models, input_size=(IMAGE_SIZE, IMAGE_SIZE), rounds=settings.rounds)
    found = []
    for size in settings.sizes:
        names = {name: size_name(name, size) for name in TWINS}
        runs = {name: load_outcomes(outcomes_file(work_dir, name, size)) for name in TWINS}
        scores = {name: _percent(run) for name, run in runs.items()}
        found.append(
            SizeResult(
                keep_ratio=size,
                ap50={name: scores[name]['AP50'] for name in TWINS},
                mpc={name: scores[name]['mPC'] for name in TWINS},
                parameters={name: count_params(models[names[name]]) for name in TWINS},
                latency_ms={name: latency[names[name]] for name in TWINS},
                difference=_differences(runs['elastic'], runs['plain']),
            )
        )
    tuned = load_outcomes(outcomes_file(work_dir, 'plain', settings.sizes[-1], fine_tuned=True))
    return Results(
        seed=seed,
        iterations=settings.iterations,
        sizes=found,
        fine_tuned=_percent(tuned),
        against_fine_tuned=_differences(runs['elastic'], tuned),
    )


def draw_detections(
    work_dir: Path, settings: Settings, images: Sequence[Path], *, seed: int
) -> list[Path]:
    """Draw what both networks detect at the smallest size; returns the image files."""
    models: dict[str, Any] = _models(work_dir, settings, settings.keep_ratios[-1:], seed=seed)
    cfg = load_config('plain', settings, work_dir=work_dir, seed=seed)
    for model in models.values():
        model.cfg, model.dataset_meta = cfg, cfg.metainfo  # as inference_detector wants
    return save_side_by_side(models, images, work_dir / 'images')


def _models(
    work_dir: Path, settings: Settings, sizes: Sequence[float], *, seed: int
) -> dict[str, nn.Module]:
    cfg = load_config('plain', settings, work_dir=work_dir, seed=seed)
    return {
        size_name(name, size): load_size(cfg, work_dir, name, size)
        for size in sizes
        for name in TWINS
    }


def _percent(run: Mapping[CellKey, DetectionOutcomes]) -> dict[str, float]:
    values = summary(run)
    return {name: 100 * values[key] for name, key in _METRICS.items()}


def _differences(a: Run, b: Run) -> Mapping[str, Difference]:
    intervals = paired_interval([a], [b])
    return {
        name: Difference(*(100 * value for value in (each.estimate, each.low, each.high)))
        for name, each in ((name, intervals[key]) for name, key in _METRICS.items())
    }
