"""P, mPC and rPC. Source: Michaelis et al. 2019 (arXiv 1907.07484), equations 2 and 3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from adasap_det.robustness.corruptions.names import BENCHMARK, SEVERITIES
from adasap_det.robustness.results import CLEAN, Cell, CellKey

#: The 15 corruptions at 5 severities that mPC averages over.
FULL_GRID: tuple[CellKey, ...] = tuple((name, s) for name in BENCHMARK for s in SEVERITIES)


@dataclass(frozen=True)
class Performance:
    """Clean and corrupted performance in one metric, as fractions; None where undefined.

    Attributes:
        p: P, performance on clean images.
        mpc: mPC, averaged over severities, then over corruptions.
        rpc: rPC = mPC / P.
    """

    p: float | None
    mpc: float | None
    rpc: float | None


@dataclass(frozen=True)
class Robustness(Performance):
    """Summary of a sweep.

    Attributes:
        metric: Name of the metric.
        per_corruption: Mean over the severities, for each corruption of the grid.
        per_severity: Mean over the corruptions, for each severity of the grid.
        per_class: P, mPC and rPC of each class.
        missing: Cells of the grid that were not evaluated; means over them are None.
    """

    metric: str
    per_corruption: dict[str, float | None]
    per_severity: dict[int, float | None]
    per_class: dict[str, Performance]
    missing: tuple[CellKey, ...]

    @property
    def complete(self) -> bool:
        """Whether the clean cell and every cell of the grid were evaluated."""
        return not self.missing


def summarise(
    cells: Mapping[CellKey, Cell],
    *,
    metric: str = 'AP50',
    grid: Iterable[CellKey] = FULL_GRID,
) -> Robustness:
    """Summarise a sweep.

    Args:
        cells: Cells by corruption and severity; those outside the grid are ignored.
        metric: Name of the metric.
        grid: Cells to average over, each corruption at the same severities; by default the full
            benchmark. A mean with a missing cell is None, never a partial mean.

    Raises:
        ValueError: If a cell does not have the metric, or the corruptions of the grid differ in
            their severities.
    """
    grid = tuple(dict.fromkeys(grid))
    corruptions = tuple(dict.fromkeys(name for name, _ in grid if name is not None))
    severities = tuple(sorted({s for _, s in grid}))
    if set(grid) != {(name, s) for name in corruptions for s in severities}:
        raise ValueError('the grid must have the same severities for every corruption')
    required = (CLEAN, *grid)
    for key in required:
        if key in cells and metric not in cells[key].metrics:
            raise ValueError(
                f'the cell {key[0] or "clean"} {key[1]} has no metric {metric!r}; it has '
                f'{", ".join(cells[key].metrics)}'
            )
    values = {key: cells[key].metrics[metric] for key in required if key in cells}
    classes = list(cells[CLEAN].per_class.get(metric, {})) if CLEAN in cells else []
    by_class = {
        label: _performance(
            {
                key: cells[key].per_class.get(metric, {}).get(label)
                for key in required
                if key in cells
            },
            corruptions,
            severities,
        )
        for label in classes
    }
    total = _performance(values, corruptions, severities)
    return Robustness(
        p=total.p,
        mpc=total.mpc,
        rpc=total.rpc,
        metric=metric,
        per_corruption={
            name: _mean([values.get((name, s)) for s in severities]) for name in corruptions
        },
        per_severity={
            s: _mean([values.get((name, s)) for name in corruptions]) for s in severities
        },
        per_class=by_class,
        missing=tuple(key for key in required if key not in cells),
    )


def _performance(
    values: Mapping[CellKey, float | None], corruptions: Iterable[str], severities: Iterable[int]
) -> Performance:
    severities = tuple(severities)
    clean = values.get(CLEAN)
    mpc = _mean([_mean([values.get((name, s)) for s in severities]) for name in corruptions])
    return Performance(p=clean, mpc=mpc, rpc=ratio(mpc, clean))


def ratio(value: float | None, base: float | None) -> float | None:
    """Return ``value / base``, or None where it is undefined."""
    return None if value is None or not base else value / base


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if values and len(known) == len(values) else None


def percent(fraction: float | None, *, none: str = '-') -> str:
    """Format a fraction in percent with one decimal: 0.4123 -> '41.2'; None becomes ``none``."""
    return none if fraction is None else f'{100 * fraction:.1f}'
