"""Check that results can be compared in one report."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from adasap_det.robustness.evaluation.class_names import distinct
from adasap_det.robustness.results import ModelResults, ShiftedSet

# Format of the source in results: 'on the fly, seed 0' or 'benchmark VOC2007-C, seed 0'.
_SEED = re.compile(r'.*\bseed (-?\d+)$')


def check_comparable(results: Sequence[ModelResults], names: Sequence[str], metric: str) -> None:
    """Check that all models were evaluated in the same way.

    Args:
        results: Results of each model.
        names: Names of the models in messages.
        metric: Metric that must be available on the clean images.

    Raises:
        ValueError: If there are no results, a folder is repeated, the clean cell or the metric is
            missing, or the data set, split, classes, number of images or seed differ, or shifted
            test sets of the same name differ in the number of images.
    """
    if not results:
        raise ValueError('no results to report; pass the results folder of at least one model')
    folders = [r.folder.resolve() for r in results]
    for folder in folders:
        if folders.count(folder) > 1:
            raise ValueError(f'{folder} is given twice; pass each results folder once')
    for name, r in zip(names, results, strict=True):
        clean = r.cells.get((None, 0))
        if clean is None:
            raise ValueError(
                f'{name!r} ({r.folder}) has no clean cell, cells/clean.json; evaluate it first'
            )
        if metric not in clean.metrics:
            raise ValueError(
                f'metric {metric!r} was not measured for {name!r} ({r.folder}); '
                f'choose from {", ".join(clean.metrics) or "none"}'
            )
        for cell in r.cells.values():
            if cell.images != clean.images:
                raise ValueError(
                    f'{name!r} ({r.folder}): {cell.corruption} severity {cell.severity} has '
                    f'{cell.images} images, the clean cell has {clean.images}; evaluate it again'
                )
        if len(seeds(r)) > 1:
            raise ValueError(
                f'{name!r} ({r.folder}) has cells of different seeds, {" and ".join(seeds(r))}; '
                'evaluate it again with a single seed'
            )
    for name, r in zip(names[1:], results[1:], strict=True):
        for what, mine, first in _conditions(r, results[0]):
            if mine != first:
                raise ValueError(
                    f'the models cannot be compared: {what} of {name!r} is {mine!r}, '
                    f'that of {names[0]!r} is {first!r}'
                )
    _check_shifted(results, names)


def check_values(name: str, results: ModelResults) -> None:
    """Check that metrics are in [0, 1] and that sizes are finite.

    Raises:
        ValueError: For an invalid value; the message names model, cell and value.
    """
    for key in ('params', 'macs', 'latency_ms'):
        value = getattr(results.model, key)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise ValueError(
                f'{name!r} ({results.folder}): {key} is {value!r}, not a finite number'
            )
    for cell in results.cells.values():
        where = f'{cell.corruption} severity {cell.severity}' if cell.corruption else 'clean'
        for metric, value in cell.metrics.items():
            _check_fraction(f'{name!r} ({results.folder}), {where}: {metric}', value)
        for metric, classes in cell.per_class.items():
            for label, value in classes.items():
                _check_fraction(
                    f'{name!r} ({results.folder}), {where}: {metric} of class {label!r}', value
                )
    for one in results.shifted:
        for metric, value in one.metrics.items():
            _check_fraction(f'{name!r} ({results.folder}), {one.name}: {metric}', value)


def seeds(results: ModelResults) -> tuple[str, ...]:
    """Return the sorted seeds of the corrupted images, for sources that state a seed."""
    found = {
        match[1]
        for cell in results.cells.values()
        if cell.corruption is not None and (match := _SEED.match(cell.source))
    }
    return tuple(sorted(found))


def _check_shifted(results: Sequence[ModelResults], names: Sequence[str]) -> None:
    # Configs may differ, as each model has its own input size.
    firsts: dict[str, tuple[str, ShiftedSet]] = {}
    for name, r in zip(names, results, strict=True):
        for one in r.shifted:
            first_name, first = firsts.setdefault(one.name, (name, one))
            if one.images != first.images:
                raise ValueError(
                    f'the models cannot be compared: the test set {one.name!r} of {name!r} has '
                    f'{one.images} images ({one.config}), that of {first_name!r} '
                    f'{first.images} ({first.config}); evaluate one of them again on the test set '
                    f'of the other: --shifted {one.name}=CONFIG'
                )


def _check_fraction(what: str, value: float | None) -> None:
    # Rounding may exceed 1 slightly; NaN fails both comparisons.
    if value is not None and not -1e-9 <= value <= 1 + 1e-9:
        raise ValueError(f'{what} is {value!r}, not a fraction in [0, 1] or null')


def _split(split: str) -> str:
    """Return the path of a list or the name of an image folder.

    Earlier versions recorded the path of the folder, which differs between machines.
    """
    return split if Path(split).suffix else Path(split).name


def _conditions(mine: ModelResults, first: ModelResults) -> Iterable[tuple[str, Any, Any]]:
    pairs = [(r.model.dataset, r.cells[None, 0]) for r in (mine, first)]
    (data, cell), (first_data, first_cell) = pairs
    yield 'the data set', data.type, first_data.type
    yield 'the split', _split(data.split), _split(first_data.split)
    yield 'the classes', list(distinct(data.classes)), list(distinct(first_data.classes))
    yield 'the number of images', cell.images, first_cell.images
    mine_seed, first_seed = seeds(mine), seeds(first)
    if mine_seed and first_seed:
        yield 'the seed', mine_seed[0], first_seed[0]
