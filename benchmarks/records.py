"""What the runs of a study came to, kept in a file to which later ones are added."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import study

from adasap_det.robustness.metrics import FULL_GRID, summarise
from adasap_det.robustness.results import load_results
from adasap_det.utils.io import atomic_write


@dataclass(frozen=True)
class Record:
    """Result of one run; top-1 or AP50 in per cent.

    Attributes:
        dense: Which dense network it started from, the beginning of its checkpoint's SHA-256.
        network: Prefix of the configs.
        keep: Share of the parameters that was asked for; 1 for the dense network itself.
        arm: Of the study's, or 'dense'.
        seed: Of the run.
        params: Parameters.
        macs: Of one image.
        clean: On all images of the test set.
        p: On those of them that are corrupted, clean.
        mpc: On them corrupted, the mean over 15 corruptions at 5 severities.
        severities: The mean over the corruptions at each severity.
        loss: Training loss at the end, the mean of the last logged values; None where it was not
            recorded.
    """

    dense: str
    network: str
    keep: float
    arm: str
    seed: int
    params: int
    macs: float
    clean: float
    p: float
    mpc: float
    severities: tuple[float, ...]
    loss: float | None = None

    @property
    def key(self) -> tuple[str, str, float, str, int]:
        """Whose result it is: a later one takes the place of an earlier."""
        return self.dense, self.network, self.keep, self.arm, self.seed


@dataclass(frozen=True)
class Metric:
    """What a study measures.

    Attributes:
        name: In the results of the evaluation under corruption, a share of 1.
        logged: In the log of the training.
        share: Whether the logged value is a share of 1 and not in per cent.
        last_losses: Logged values that make up the training loss at the end.
        results: Folder of the evaluation under corruption, beside each checkpoint.
    """

    name: str
    logged: str
    share: bool
    last_losses: int
    results: str = study.RESULTS


def collect(
    network: str, runs: Iterable[study.Run], out: Path, metric: Metric, *, dense_seed: int = 0
) -> list[Record]:
    """Results of what has been trained and evaluated, the dense network first."""
    dense = study.last_checkpoint(out / network / 'dense', results=metric.results)
    if not dense:
        return []
    name = study.checksum(dense)
    found = [_record(dense, name, study.Run(network, 1, 'dense', dense_seed), metric)]
    for run in runs:
        if run.network != network:
            continue
        if final := study.last_checkpoint(out / run.folder, results=metric.results):
            found.append(_record(final, name, run, metric))
    return found


def _record(checkpoint: Path, dense: str, run: study.Run, metric: Metric) -> Record:
    found = load_results(checkpoint.parent / metric.results)
    summary = summarise(found.cells, metric=metric.name, grid=FULL_GRID)
    clean = study.logged(checkpoint, metric.logged)
    return Record(
        dense=dense, network=run.network, keep=run.keep, arm=run.arm, seed=run.seed,
        params=found.model.params, macs=found.model.macs,
        clean=study.percent(clean) if metric.share else round(clean, 2),
        p=study.percent(summary.p), mpc=study.percent(summary.mpc),
        severities=tuple(map(study.percent, summary.per_severity.values())),
        loss=round(study.logged(checkpoint, 'loss', last=metric.last_losses), 4),
    )  # fmt: skip


def read(path: Path) -> list[Record]:
    """What :func:`merge` wrote."""
    rows = json.loads(path.read_text('utf-8'))
    return [Record(**{**row, 'severities': tuple(row['severities'])}) for row in rows]


def merge(path: Path, records: Iterable[Record]) -> list[Record]:
    """Add results to a file of them; all that it holds then."""
    known = read(path) if path.is_file() else []
    merged = {record.key: record for record in (*known, *records)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        lines = ',\n'.join(json.dumps(asdict(record)) for record in merged.values())
        temporary.write_text(f'[\n{lines}\n]\n', 'utf-8')
    return list(merged.values())
