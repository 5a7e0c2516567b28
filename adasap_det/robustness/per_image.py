"""What each image contributes to a metric, so that the images can be drawn again."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from adasap_det.robustness.results import Cell, CellKey, cell_file, load_cells
from adasap_det.utils.io import atomic_write

Array = npt.NDArray[Any]
FOLDER = 'per_image'
"""Folder of the files, beside ``cells``."""

_EPS = np.finfo(np.float64).eps
# MATLAB's 0:0.1:1, which counts in steps of 0.1 up from 0, and from the middle on down from 1.
_RECALLS = [0.1 * step for step in range(5)] + [0.5] + [1 - 0.1 * step for step in range(4, -1, -1)]


class Outcomes(Protocol):
    """Outcomes of one cell's images."""

    @property
    def images(self) -> int:
        """Number of images."""

    @property
    def truth(self) -> Array:
        """What is to be found in the images, in their order."""

    def metric(self, weights: Array) -> Array:
        """Metric of weighted images.

        Args:
            weights: How often each image counts, shape ``(draws, images)``.

        Returns:
            Values in [0, 1], shape ``(draws,)``; nan where undefined.
        """


@dataclass(frozen=True)
class ClassificationOutcomes:
    """Rank of the true class in each image; the metric is top-k accuracy.

    Attributes:
        labels: True class, shape ``(images,)``.
        ranks: Classes with a higher score, shape ``(images,)``; 0 if the answer is right.
        depth: k of top-k.
    """

    KIND: ClassVar = 'classification'
    labels: Array
    ranks: Array
    depth: int = 1

    @property
    def images(self) -> int:
        return len(self.labels)

    @property
    def truth(self) -> Array:
        return self.labels

    def metric(self, weights: Array) -> Array:
        """Accuracy; see :class:`Outcomes`."""
        return weights @ (self.ranks < self.depth) / weights.sum(1)


@dataclass(frozen=True)
class DetectionOutcomes:
    """Detections, matched with the objects once; the metric is AP50 as in VOC.

    A detection's match depends on its own image alone, so AP of images drawn with replacement
    follows from these by weights: each detection and each object counts as often as its image.

    Attributes:
        objects: Number of objects, shape ``(images, classes)``.
        image: Index of each detection's image, shape ``(detections,)``, as all that follow.
        label: Its class.
        score: Its score.
        hit: Whether it matches an object.
        miss: Whether it is wrong; if neither, it is ignored.
        eval_mode: ``'area'`` under the curve, or VOC2007's ``'11points'``.
    """

    KIND: ClassVar = 'detection'
    objects: Array
    image: Array
    label: Array
    score: Array
    hit: Array
    miss: Array
    eval_mode: str = 'area'

    @property
    def images(self) -> int:
        return len(self.objects)

    @property
    def truth(self) -> Array:
        return self.objects

    def metric(self, weights: Array) -> Array:
        """Mean AP of the classes with objects; see :class:`Outcomes`."""
        values = np.stack([self.class_ap(label, weights) for label in range(self.classes)])
        known = ~np.isnan(values)
        with np.errstate(invalid='ignore'):
            return np.where(known, values, 0).sum(0) / known.sum(0)

    @property
    def classes(self) -> int:
        return self.objects.shape[1]

    def class_ap(self, label: int, weights: Array) -> Array:
        """AP of one class, shape ``(draws,)``; nan without objects."""
        weights = weights.astype(np.float64, copy=False)
        mine = self.label == label
        order = np.argsort(-self.score[mine])
        image, hit, miss = (values[mine][order] for values in (self.image, self.hit, self.miss))
        # Precision falls from a hit to the next, so that only its values at the hits matter.
        hits_before = np.cumsum(hit) - hit
        true = weights @ self._counted(image[hit], hits_before[hit], int(hit.sum()))
        false = weights @ self._counted(image[miss], hits_before[miss], int(hit.sum()))
        objects = weights @ self.objects[:, label]
        values = average_precision(true, false, objects, eval_mode=self.eval_mode)
        return np.where(objects > 0, values, np.nan)

    def _counted(self, image: Array, hits_before: Array, hits: int) -> Array:
        """Detections of each image up to each hit of the ranking, shape ``(images, hits)``."""
        counts = np.zeros((self.images, hits))
        reached = hits_before < hits  # the others come after the last hit
        np.add.at(counts, (image[reached], hits_before[reached]), 1)
        return np.cumsum(counts, axis=1)


def average_precision(true: Array, false: Array, objects: Array, *, eval_mode: str) -> Array:
    """AP as in the devkit of Pascal VOC, in float64.

    ``'11points'`` is the devkit's ``for t=0:0.1:1, p=max(prec(rec>=t))``, with MATLAB's numbers:
    6 of 10 objects reach the recall of 0.6. In MMDetection they do not, since NumPy's ``arange``
    gives 0.6000000000000001; apart from recalls of exactly 0.6 and 0.7 both are equal.

    Args:
        true, false: Right and wrong detections up to each hit of the ranking, float64
            ``(draws, hits)``.
        objects: Number of objects, ``(draws,)``.
        eval_mode: ``'area'`` or ``'11points'``.

    Returns:
        Fractions, shape ``(draws,)``; meaningless without objects.
    """
    recall = true / np.maximum(objects, _EPS)[:, None]
    precision = true / np.maximum(true + false, _EPS)
    return _area(recall, precision) if eval_mode == 'area' else _points(recall, precision)


def _area(recall: Array, precision: Array) -> Array:
    """Area under the curve whose precision is the best at this recall or above."""
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return (np.diff(recall, axis=1, prepend=0) * best).sum(1)


def _points(recall: Array, precision: Array) -> Array:
    """Mean of the best precision at recalls of 0, 0.1, ... 1 or above."""
    best = [np.where(recall >= least, precision, 0).max(1, initial=0) for least in _RECALLS]
    return np.mean(best, axis=0)


def save_outcomes(
    folder: str | os.PathLike[str], key: CellKey, outcomes: Any, *, fingerprint: str
) -> Path:
    """Write the outcomes of a cell into a results folder, atomically.

    Args:
        folder: Results folder.
        key: The cell.
        outcomes: :class:`DetectionOutcomes` or :class:`ClassificationOutcomes`.
        fingerprint: Same as in :class:`~adasap_det.robustness.results.Cell`.
    """
    path = outcomes_file(folder, key)
    arrays = {item.name: getattr(outcomes, item.name) for item in dataclasses.fields(outcomes)}
    with atomic_write(path) as temporary, temporary.open('wb') as file:
        np.savez_compressed(file, kind=outcomes.KIND, fingerprint=fingerprint, **arrays)
    return path


def load_outcomes(folder: str | os.PathLike[str]) -> dict[CellKey, Outcomes]:
    """Read the outcomes of all cells of a results folder.

    Raises:
        ValueError: If a cell has none, or those of another evaluation.
    """
    found: dict[CellKey, Outcomes] = {}
    for key, cell in load_cells(folder).items():
        if not has_outcomes(folder, cell):
            raise ValueError(
                f'{outcomes_file(folder, key)} is missing or of an earlier evaluation; run '
                f'tools/test_robustness.py with --per-image'
            )
        with np.load(outcomes_file(folder, key)) as file:
            values = {name: file[name] for name in file.files}
        kind = _KINDS[str(values.pop('kind'))]
        del values['fingerprint']
        # Options of one value come back as arrays.
        found[key] = kind(**{n: v.item() if v.ndim == 0 else v for n, v in values.items()})
    return found


def has_outcomes(folder: str | os.PathLike[str], cell: Cell) -> bool:
    """Whether a results folder has the outcomes of this evaluation of a cell."""
    path = outcomes_file(folder, cell.key)
    if not path.is_file():
        return False
    with np.load(path) as file:
        return bool(file['fingerprint'] == cell.fingerprint)


def outcomes_file(folder: str | os.PathLike[str], key: CellKey) -> Path:
    """Path of a cell's file."""
    return Path(folder) / FOLDER / Path(cell_file(key)).with_suffix('.npz').name


_KINDS = {kind.KIND: kind for kind in (ClassificationOutcomes, DetectionOutcomes)}
