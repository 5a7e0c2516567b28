"""Results of a study's runs, and the JSON file that collects them."""

from __future__ import annotations

import hashlib
import json
import re
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from adasap_det.robustness.metrics import FULL_GRID, summarise
from adasap_det.robustness.results import load_results
from adasap_det.utils.io import atomic_write

#: Default folder of the evaluation under corruption, beside its checkpoint.
RESULTS = 'robustness'


@dataclass(frozen=True)
class Run:
    """Settings of one pruned network, named as in :class:`Record`."""

    network: str
    keep_ratio: float
    arm: str
    seed: int

    @property
    def folder(self) -> str:
        """Folder of the run, relative to the study's."""
        arm = re.sub(r'\W+', '_', self.arm)
        return f'{self.network}/keep{round(100 * self.keep_ratio)}/{arm}/seed{self.seed}'


@dataclass(frozen=True)
class Record:
    """Result of one run; top-1 or AP50 in per cent.

    Attributes:
        dense: First digits of the SHA-256 of the dense checkpoint that the run started from.
        network: Prefix of the configs.
        keep_ratio: Fraction of the parameters to keep; 1 for the dense network itself.
        arm: Name of the study's arm, or 'dense'.
        seed: Random seed.
        params: Number of parameters.
        macs: MACs per image.
        clean: Metric on all images of the test set.
        p: Metric on the clean versions of the corrupted images.
        mpc: Metric on the corrupted images, the mean over 15 corruptions at 5 severities.
        severities: Mean over the corruptions at each severity.
        loss: Mean of the last logged training losses; None if it was not recorded.
    """

    dense: str
    network: str
    keep_ratio: float
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
        """Identity of the run; a later result of the same run replaces an earlier one."""
        return self.dense, self.network, self.keep_ratio, self.arm, self.seed


@dataclass(frozen=True)
class Metric:
    """Metric of a study.

    Attributes:
        name: Name in the evaluation under corruption, where it is a fraction of 1.
        logged: Name in the training log.
        logged_as_fraction: Whether the logged value is a fraction of 1 instead of per cent.
        last_losses: Number of logged losses to average for the final training loss.
    """

    name: str
    logged: str
    logged_as_fraction: bool
    last_losses: int


def collect(
    network: str,
    runs: Iterable[Run],
    out: Path,
    metric: Metric,
    *,
    dense_seed: int = 0,
    results: str = RESULTS,
) -> list[Record]:
    """Return the records of all trained and evaluated runs of a network, the dense one first.

    Args:
        network: Prefix of the configs; runs of other networks are ignored.
        runs: Runs to look for.
        out: Folder of the study.
        metric: Metric of the study.
        dense_seed: Seed of the dense network.
        results: Folder of the evaluation under corruption, beside each checkpoint.
    """
    dense = _evaluated_checkpoint(out / network / 'dense', results)
    if not dense:
        return []
    digest = hashlib.sha256(dense.read_bytes()).hexdigest()[:8]
    found = []
    for run in (Run(network, 1, 'dense', dense_seed), *runs):
        folder = out / network / 'dense' if run.arm == 'dense' else out / run.folder
        checkpoint = _evaluated_checkpoint(folder, results)
        if run.network == network and checkpoint:
            found.append(_record(checkpoint, digest, run, metric, results))
    return found


def _evaluated_checkpoint(folder: Path, results: str) -> Path | None:
    """Last checkpoint of a run; None unless it has been evaluated."""
    if not (folder / results / 'model.json').is_file():
        return None
    return max(folder.glob('epoch_*.pth'), key=lambda p: int(p.stem.rpartition('_')[2]))


def _record(checkpoint: Path, dense: str, run: Run, metric: Metric, results: str) -> Record:
    found = load_results(checkpoint.parent / results)
    summary = summarise(found.cells, metric=metric.name, grid=FULL_GRID)
    clean = _logged(checkpoint, metric.logged)
    return Record(
        dense=dense, network=run.network, keep_ratio=run.keep_ratio, arm=run.arm, seed=run.seed,
        params=found.model.params, macs=found.model.macs,
        clean=_percent(clean) if metric.logged_as_fraction else round(clean, 2),
        p=_percent(summary.p), mpc=_percent(summary.mpc),
        severities=tuple(map(_percent, summary.per_severity.values())),
        loss=round(_logged(checkpoint, 'loss', last=metric.last_losses), 4),
    )  # fmt: skip


def _logged(checkpoint: Path, key: str, *, last: int = 1) -> float:
    """Mean of the last values of a scalar in the training log of this checkpoint."""
    logs = sorted(checkpoint.parent.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for log in logs for line in log.read_text('utf-8').splitlines()]
    return statistics.mean([line[key] for line in lines if key in line][-last:])


def _percent(value: float) -> float:
    return round(100 * value, 2)


def read(path: Path) -> list[Record]:
    """Read a file that :func:`merge` wrote."""
    rows = json.loads(path.read_text('utf-8'))
    return [Record(**{**row, 'severities': tuple(row['severities'])}) for row in rows]


def merge(path: Path, records: Iterable[Record]) -> list[Record]:
    """Add records to a file and return everything that it then holds."""
    known = read(path) if path.is_file() else []
    merged = {record.key: record for record in (*known, *records)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        lines = ',\n'.join(json.dumps(asdict(record)) for record in merged.values())
        temporary.write_text(f'[\n{lines}\n]\n', 'utf-8')
    return list(merged.values())
