"""Tables of a study's results, in Markdown as benchmarks/README.md has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import study
from records import Record
from rich import box
from rich.table import Table

OURS = 'AdaSAP'
#: What is compared, in per cent.
VALUES: dict[str, Callable[[Record], float]] = {
    'all clean': lambda r: r.clean,
    'P': lambda r: r.p,
    'mPC': lambda r: r.mpc,
    'rPC': lambda r: 100 * r.mpc / r.p,
}
#: Network, size and arm.
Place = tuple[str, float, str]


def tables(
    results: Sequence[Record], arms: Sequence[str], *, title: str, against: Sequence[str]
) -> tuple[Table, Table]:
    """What each arm came to, and by how much AdaSAP is ahead of others of the same seed.

    Args:
        results: To show.
        arms: Their order within a size.
        title: What is measured.
        against: Arms that AdaSAP is compared with.
    """
    return _arms(results, arms, title), _differences(results, against)


def _arms(results: Sequence[Record], arms: Sequence[str], title: str) -> Table:
    """Mean and standard deviation over the runs of an arm, by network, size and arm."""
    found = _table(
        f'{title} in %, mean and standard deviation over runs', 'network', 'keep', 'arm',
        'runs', 'parameters', 'MACs', *VALUES, 'loss',
    )  # fmt: skip
    groups = _grouped(results)
    for network, keep, arm in sorted(groups, key=lambda place: _order(place, ['dense', *arms])):
        runs = groups[network, keep, arm]
        losses = [r.loss for r in runs if r.loss is not None]
        found.add_row(
            network, f'{keep:g}', arm, str(len(runs)),
            study.spread([r.params / 1e6 for r in runs], digits=3) + ' M',
            study.spread([r.macs / 1e6 for r in runs], digits=0) + ' M',
            *(study.spread([value(r) for r in runs]) for value in VALUES.values()),
            study.spread(losses, digits=2) if losses else '',
        )  # fmt: skip
    return found


def _differences(results: Sequence[Record], against: Sequence[str]) -> Table:
    """AdaSAP minus its twins, seed by seed, where both have run."""
    found = _table(
        'AdaSAP minus others from the same dense network with the same seed, in points',
        'network', 'keep', 'minus', 'seeds', *VALUES, 'mPC of each seed',
    )  # fmt: skip
    groups = _grouped(results)
    ours = [place for place in groups if place[2] == OURS]
    for network, keep, _ in sorted(ours, key=lambda place: _order(place, [OURS])):
        runs = sorted(groups[network, keep, OURS], key=lambda r: r.seed)
        for arm in against:
            twins = {(r.dense, r.seed): r for r in groups.get((network, keep, arm), ())}
            pairs = [
                (run, twins[run.dense, run.seed]) for run in runs if (run.dense, run.seed) in twins
            ]
            if pairs:
                gains = [[value(a) - value(b) for a, b in pairs] for value in VALUES.values()]
                found.add_row(
                    network, f'{keep:g}', arm, str(len(pairs)),
                    *(study.spread(gain, sign='+') for gain in gains),
                    ', '.join(f'{a.mpc - b.mpc:+.1f}' for a, b in pairs),
                )  # fmt: skip
    return found


def _grouped(results: Sequence[Record]) -> dict[Place, list[Record]]:
    found: dict[Place, list[Record]] = {}
    for record in results:
        found.setdefault((record.network, record.keep, record.arm), []).append(record)
    return found


def _order(place: Place, arms: Sequence[str]) -> tuple[str, float, int]:
    network, keep, arm = place
    return network, -keep, arms.index(arm)


def _table(title: str, *heads: str) -> Table:
    found = Table(title=title, box=box.MARKDOWN, title_justify='left')
    for head in heads:
        words = head in ('network', 'arm', 'minus')
        found.add_column(head, justify='left' if words else 'right', no_wrap=True)
    return found
