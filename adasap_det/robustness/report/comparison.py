"""Compute the numbers of the report from the results of several models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from adasap_det.robustness.corruption_error import (
    CorruptionError,
    imagenet_corruption_error,
    why_no_corruption_error,
)
from adasap_det.robustness.corruptions.names import BENCHMARK, FAMILIES, SEVERITIES, VALIDATION
from adasap_det.robustness.metrics import ratio
from adasap_det.robustness.report.comparability import check_comparable, check_values
from adasap_det.robustness.report.text import clean
from adasap_det.robustness.results import ModelResults

Key = tuple[str, int]
#: The full benchmark, 15 corruptions x 5 severities, that mPC averages over.
FULL_GRID: tuple[Key, ...] = tuple((c, s) for c in BENCHMARK for s in SEVERITIES)
_HELD_OUT: tuple[Key, ...] = tuple((c, s) for c in VALIDATION for s in SEVERITIES)


@dataclass(frozen=True)
class Comparison:
    """Several models on the same images. Values are fractions, None where undefined.

    Means are over the benchmark cells that *all* models have, so that they are comparable. Only a
    mean over all 75 cells is mPC (Michaelis et al. 2019, arXiv 1907.07484, equations 2 and 3).

    Attributes:
        results: Results of each model, in the given order.
        names: Names of the models, made distinct and printable.
        metric: Metric such as 'AP50'.
        baseline: Index of the model that the others are compared with.
    """

    results: tuple[ModelResults, ...]
    names: tuple[str, ...]
    metric: str
    baseline: int

    @property
    def others(self) -> tuple[int, ...]:
        """Indices of the models that are not the baseline."""
        return tuple(i for i in range(len(self.names)) if i != self.baseline)

    @cached_property
    def values(self) -> tuple[dict[Key, float], ...]:
        """Metric of each corrupted cell where it is defined, for each model."""
        return tuple(
            {
                key: value
                for key in (*FULL_GRID, *_HELD_OUT)
                if (value := self._at(r, key)) is not None
            }
            for r in self.results
        )

    @cached_property
    def shared(self) -> tuple[Key, ...]:
        """Benchmark cells that all models have."""
        return tuple(key for key in FULL_GRID if all(key in cells for cells in self.values))

    @cached_property
    def shared_held_out(self) -> tuple[Key, ...]:
        """Cells of the held-out corruptions that all models have."""
        return tuple(key for key in _HELD_OUT if all(key in cells for cells in self.values))

    @property
    def complete(self) -> bool:
        """Whether all models have the full benchmark, so that the mean is mPC."""
        return self.shared == FULL_GRID

    @cached_property
    def corruptions(self) -> tuple[str, ...]:
        """Corruptions of which at least one model has a cell; held-out ones last."""
        seen = {corruption for cells in self.values for corruption, _ in cells}
        return tuple(name for name in (*BENCHMARK, *VALIDATION) if name in seen)

    @cached_property
    def severities(self) -> tuple[int, ...]:
        """Severities of which at least one model has a cell."""
        return tuple(sorted({severity for cells in self.values for _, severity in cells}))

    @cached_property
    def families(self) -> dict[str, tuple[str, ...]]:
        """Corruptions by family; the validation corruptions are in 'held out'."""
        found = {
            family: tuple(name for name in members if name in self.corruptions)
            for family, members in {**FAMILIES, 'held out': VALIDATION}.items()
        }
        return {family: members for family, members in found.items() if members}

    @property
    def same_device(self) -> bool:
        """Whether all known latencies were measured on the same device."""
        timed = [r.model for r in self.results if r.model.latency_ms is not None]
        return len({model.device for model in timed}) <= 1

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Sources of the corrupted images.

        With more than one, images may differ: a JPEG benchmark is not byte-identical to on-the-fly
        corruption.
        """
        cells = (cell for r in self.results for cell in r.cells.values())
        return tuple(dict.fromkeys(cell.source for cell in cells if cell.corruption is not None))

    def missing(self, model: int) -> tuple[Key, ...]:
        """Benchmark cells that the model does not have."""
        return tuple(key for key in FULL_GRID if key not in self.values[model])

    def clean(self, model: int) -> float | None:
        """Return P, the metric on clean images."""
        return self._at(self.results[model], (None, 0))

    def mean(self, model: int) -> float | None:
        """Return the mean over the shared cells; mPC if :attr:`complete`."""
        return self._mean(model, self.shared)

    def relative(self, model: int) -> float | None:
        """Return the mean divided by P; rPC if :attr:`complete`."""
        return ratio(self.mean(model), self.clean(model))

    def corruption_error(self, model: int) -> CorruptionError | None:
        """Return mCE of an ImageNet classifier for metric top1; otherwise None."""
        if self.metric != 'top1' or not self.complete:
            return None
        results = self.results[model]
        return imagenet_corruption_error(results.cells, results.model)

    @property
    def why_no_corruption_error(self) -> str | None:
        """Why a classifier of ImageNet has no mCE although the sweep is complete."""
        if self.metric != 'top1' or not self.complete:
            return None
        return next(filter(None, (why_no_corruption_error(r.model) for r in self.results)), None)

    @cached_property
    def shifted(self) -> tuple[str, ...]:
        """Names of the shifted test sets that at least one model was evaluated on."""
        return tuple(dict.fromkeys(one.name for r in self.results for one in r.shifted))

    def of_shifted(self, model: int, name: str) -> float | None:
        """Return the metric on a shifted test set."""
        sets = {one.name: one for one in self.results[model].shifted}
        return sets[name].metrics.get(self.metric) if name in sets else None

    def of_corruption(self, model: int, corruption: str) -> float | None:
        """Return the mean of a corruption over the severities that all models have."""
        return self._mean(model, [key for key in self._all_shared if key[0] == corruption])

    def of_severity(self, model: int, severity: int, corruptions: Sequence[str]) -> float | None:
        """Return the mean over corruptions at one severity; None if a model lacks one of them."""
        if severity == 0:
            return self.clean(model)
        keys = [(corruption, severity) for corruption in corruptions]
        if not keys or not set(keys) <= set(self._all_shared):
            return None
        return self._mean(model, keys)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Classes with results, in the order of the data set."""
        seen = {name for r in self.results for name in self._per_class(r, (None, 0))}
        return tuple(name for name in self.results[0].model.dataset.classes if name in seen)

    def class_clean(self, model: int, name: str) -> float | None:
        """Return P of one class."""
        return self._per_class(self.results[model], (None, 0)).get(name)

    def class_mean(self, model: int, name: str) -> float | None:
        """Return the mean of one class over the shared cells; None if a cell has no value."""
        found = [self._per_class(self.results[model], key).get(name) for key in self.shared]
        known = [value for value in found if value is not None]
        return sum(known) / len(known) if known and len(known) == len(found) else None

    @cached_property
    def _all_shared(self) -> tuple[Key, ...]:
        return self.shared + self.shared_held_out

    def _mean(self, model: int, keys: Sequence[Key]) -> float | None:
        cells = self.values[model]
        return sum(cells[key] for key in keys) / len(keys) if keys else None

    def _at(self, results: ModelResults, key: tuple[str | None, int]) -> float | None:
        cell = results.cells.get(key)
        return None if cell is None else cell.metrics.get(self.metric)

    def _per_class(
        self, results: ModelResults, key: tuple[str | None, int]
    ) -> Mapping[str, float | None]:
        cell = results.cells.get(key)
        return {} if cell is None else cell.per_class.get(self.metric) or {}


def compare(
    results: Sequence[ModelResults], *, metric: str | None = None, baseline: str | None = None
) -> Comparison:
    """Check that models can be compared, and compare them.

    Args:
        results: Results of at least one model. A number is appended to repeated names.
        metric: Metric to report; by default the first metric of the first model.
        baseline: Name of the model to compare the others with; by default the first.

    Raises:
        ValueError: If there is no model, a folder is repeated, the models were evaluated on
            different images, a value is not in [0, 1], or the metric or baseline is unknown.
    """
    results = tuple(results)
    names = distinct(r.model.name for r in results)
    if metric is None:
        measured = (
            results[0].cells[None, 0].metrics if results and (None, 0) in results[0].cells else {}
        )
        metric = next(iter(measured), 'AP50')
    check_comparable(results, names, metric)
    for name, r in zip(names, results, strict=True):
        check_values(name, r)
    index = 0
    if baseline is not None:
        if clean(baseline) not in names:
            raise ValueError(f'baseline {baseline!r} is not one of the models: {", ".join(names)}')
        index = names.index(clean(baseline))
    return Comparison(results=results, names=names, metric=metric, baseline=index)


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names made printable, with a number appended to repeated ones."""
    names = [clean(name) or 'unnamed' for name in names]
    found: list[str] = []
    for index, name in enumerate(names):
        number, candidate = 1, name
        while candidate in found or (number > 1 and candidate in names[index + 1 :]):
            number += 1
            candidate = f'{name} ({number})'
        found.append(candidate)
    return tuple(found)


def difference(value: float | None, base: float | None) -> float | None:
    """Return ``value - base``, or None where it is undefined."""
    return None if value is None or base is None else value - base
