"""mCE and relative mCE of ImageNet-C.

Source: Hendrycks & Dietterich 2019 (arXiv 1903.12261), section 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adasap_det.robustness.corruptions.names import BENCHMARK, SEVERITIES
from adasap_det.robustness.results import CLEAN, Cell, ModelInfo

#: Top-1 error of AlexNet, averaged over the severities, as published with ImageNet-C
#: (github.com/hendrycks/robustness).
ALEXNET_ERROR: Mapping[str, float] = {
    'gaussian_noise': 0.886428,
    'shot_noise': 0.894468,
    'impulse_noise': 0.922640,
    'defocus_blur': 0.819880,
    'glass_blur': 0.826268,
    'motion_blur': 0.785948,
    'zoom_blur': 0.798360,
    'snow': 0.866816,
    'frost': 0.826572,
    'fog': 0.819324,
    'brightness': 0.564592,
    'contrast': 0.853204,
    'elastic_transform': 0.646056,
    'pixelate': 0.717840,
    'jpeg_compression': 0.606500,
}

#: Top-1 error of the same torchvision AlexNet on clean ImageNet, 1 - 0.56522.
ALEXNET_CLEAN_ERROR = 0.43478

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class CorruptionError:
    """Errors relative to AlexNet's; 1 means as many errors as AlexNet.

    Attributes:
        mce: Mean of ``ce``.
        relative_mce: Mean of ``relative_ce``; None without the clean error.
        ce: ``CE_c`` by corruption: the errors summed over the severities, divided by AlexNet's sum.
        relative_ce: The same for the increase over the clean error; empty without the clean error.
    """

    mce: float
    relative_mce: float | None
    ce: dict[str, float]
    relative_ce: dict[str, float]


def corruption_error(
    error: Mapping[str, float],
    *,
    clean_error: float | None = None,
    baseline: Mapping[str, float] = ALEXNET_ERROR,
    baseline_clean_error: float = ALEXNET_CLEAN_ERROR,
) -> CorruptionError:
    """Compute mCE of an ImageNet classifier.

    Args:
        error: Top-1 error by corruption, averaged over the five severities. Must contain every
            corruption of ``baseline``.
        clean_error: Top-1 error on clean images.
        baseline, baseline_clean_error: Errors of the reference network to divide by.

    Raises:
        ValueError: If a corruption is missing or an error is not in [0, 1].
    """
    missing = [name for name in baseline if name not in error]
    if missing:
        raise ValueError(
            f'mCE requires every corruption of the benchmark; {missing[0]!r} is missing'
        )
    for name, value in [*error.items(), ('clean', clean_error or 0.0)]:
        if not 0 <= value <= 1:
            raise ValueError(f'the error of {name} is {value!r}; give a fraction in [0, 1]')
    ce = {name: error[name] / baseline_error for name, baseline_error in baseline.items()}
    relative = {}
    if clean_error is not None:
        relative = {
            name: (error[name] - clean_error) / (baseline_error - baseline_clean_error)
            for name, baseline_error in baseline.items()
        }
    return CorruptionError(
        mce=_mean(ce),
        relative_mce=_mean(relative) if relative else None,
        ce=ce,
        relative_ce=relative,
    )


def corruption_error_of(
    cells: Mapping[tuple[str | None, int], Cell], *, metric: str = 'top1'
) -> CorruptionError:
    """Compute mCE from the cells of a sweep over the full benchmark.

    Raises:
        ValueError: If a cell is missing or has no top-1 accuracy.
    """

    def error(key: tuple[str | None, int]) -> float:
        value = cells[key].metrics.get(metric) if key in cells else None
        if value is None:
            raise ValueError(
                f'mCE requires {metric} of every cell; {key[0] or "clean"} {key[1]} has none'
            )
        return 1 - value

    means = {
        name: sum(error((name, s)) for s in SEVERITIES) / len(SEVERITIES) for name in BENCHMARK
    }
    return corruption_error(means, clean_error=error(CLEAN))


def imagenet_corruption_error(
    cells: Mapping[tuple[str | None, int], Cell], model: ModelInfo
) -> CorruptionError | None:
    """Compute mCE for a complete sweep over ImageNet-C; otherwise return None."""
    if len(model.dataset.classes) != IMAGENET_CLASSES or not model.imagenet_c:
        return None
    try:
        return corruption_error_of(cells)
    except ValueError:
        return None


def why_no_corruption_error(model: ModelInfo) -> str | None:
    """Return why a classifier of ImageNet has no mCE; None if it has, or for other data sets."""
    if len(model.dataset.classes) != IMAGENET_CLASSES or model.imagenet_c:
        return None
    if model.imagenet_c is None:
        return (
            'no mCE: an earlier version did not record whether the images are those of ImageNet-C; '
            'evaluate again with this version'
        )
    return (
        'no mCE: it is relative to errors of AlexNet on ImageNet-C, and these images differ from '
        'it in crops, elastic transform, frost and JPEG quality; evaluate on the published '
        'ImageNet-C, or build it with tools/make_voc_c.py --layout imagenet-c'
    )


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)
