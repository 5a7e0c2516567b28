"""Tables of a study's results in Markdown, as in benchmarks/README.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from records import Record
from rich import box
from rich.table import Table

OURS = 'AdaSAP'
#: Compared values, in per cent.
VALUES: dict[str, Callable[[Record], float]] = {
    'all clean': lambda r: r.clean,
    'P': lambda r: r.p,
    'mPC': lambda r: r.mpc,
    'rPC': lambda r: 100 * r.mpc / r.p,
}
#: Network, keep ratio and arm.
Key = tuple[str, float, str]


def tables(
    results: Sequence[Record], arms: Sequence[str], *, title: str, baselines: Sequence[str]
) -> tuple[Table, Table]:
    """Return the results of each arm, and the lead of AdaSAP over baselines of the same seed.

    Args:
        results: Results to show.
        arms: Names of the arms, in the order of their rows.
        title: Name of the data set and the metric.
        baselines: Names of the arms that AdaSAP is compared with.
    """
    return _arms(results, arms, title), _differences(results, baselines)


def _arms(results: Sequence[Record], arms: Sequence[str], title: str) -> Table:
    """Mean and standard deviation over the runs, by network, keep ratio and arm."""
    table = _table(
        f'{title} in %, mean and standard deviation over runs', 'network', 'keep ratio', 'arm',
        'runs', 'parameters', 'MACs', *VALUES, 'loss',
    )  # fmt: skip
    groups = _grouped(results)
    for key in sorted(groups, key=lambda key: _order(key, ['dense', *arms])):
        network, keep_ratio, arm = key
        runs = groups[key]
        losses = [r.loss for r in runs if r.loss is not None]
        table.add_row(
            network, f'{keep_ratio:g}', arm, str(len(runs)),
            spread([r.params / 1e6 for r in runs], digits=3) + ' M',
            spread([r.macs / 1e6 for r in runs], digits=0) + ' M',
            *(spread([value(r) for r in runs]) for value in VALUES.values()),
            spread(losses, digits=2) if losses else '',
        )  # fmt: skip
    return table


def _differences(results: Sequence[Record], baselines: Sequence[str]) -> Table:
    """AdaSAP minus each baseline, over the seeds that both have run."""
    table = _table(
        'AdaSAP minus others from the same dense network with the same seed, in points',
        'network', 'keep ratio', 'minus', 'seeds', *VALUES, 'mPC of each seed',
    )  # fmt: skip
    groups = _grouped(results)
    ours = [key for key in groups if key[2] == OURS]
    for key in sorted(ours, key=lambda key: _order(key, [OURS])):
        network, keep_ratio, _ = key
        runs = sorted(groups[key], key=lambda r: r.seed)
        for arm in baselines:
            others = {(r.dense, r.seed): r for r in groups.get((network, keep_ratio, arm), ())}
            pairs = [
                (run, others[run.dense, run.seed])
                for run in runs
                if (run.dense, run.seed) in others
            ]
            if pairs:
                gains = [[value(a) - value(b) for a, b in pairs] for value in VALUES.values()]
                table.add_row(
                    network, f'{keep_ratio:g}', arm, str(len(pairs)),
                    *(spread(gain, sign='+') for gain in gains),
                    ', '.join(f'{a.mpc - b.mpc:+.1f}' for a, b in pairs),
                )  # fmt: skip
    return table


def spread(values: Sequence[float], *, digits: int = 1, sign: str = '') -> str:
    """Format mean and sample standard deviation; ``sign='+'`` shows the sign of the mean."""
    mean = f'{statistics.mean(values):{sign}.{digits}f}'
    return mean if len(values) < 2 else f'{mean} ± {statistics.stdev(values):.{digits}f}'


def _grouped(results: Sequence[Record]) -> dict[Key, list[Record]]:
    groups: dict[Key, list[Record]] = {}
    for record in results:
        groups.setdefault((record.network, record.keep_ratio, record.arm), []).append(record)
    return groups


def _order(key: Key, arms: Sequence[str]) -> tuple[str, float, int]:
    network, keep_ratio, arm = key
    return network, -keep_ratio, arms.index(arm)


def _table(title: str, *heads: str) -> Table:
    table = Table(title=title, box=box.MARKDOWN, title_justify='left')
    for head in heads:
        text = head in ('network', 'arm', 'minus')
        table.add_column(head, justify='left' if text else 'right', no_wrap=True)
    return table
