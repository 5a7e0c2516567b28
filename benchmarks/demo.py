"""The demo with several seeds: whether what it shows holds with other images and trainings.

    python benchmarks/demo.py --out work_dirs/demo_seeds --seeds 0 1 2 3 4

Every finished run is added to ``--record`` at once; runs that are there are not repeated.
``--table-only`` prints the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from adasap_det.demo.__main__ import run
from adasap_det.demo.settings import FULL
from adasap_det.utils.device import cpu_name
from adasap_det.utils.io import atomic_write

RECORD = Path(__file__).parent / 'results/demo.json'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default='work_dirs/demo_seeds')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument('--record', type=Path, default=RECORD)
    parser.add_argument('--table-only', action='store_true')
    args = parser.parse_args()
    for seed in () if args.table_only else args.seeds:
        runs = recorded(args.record)
        if any(found['seed'] == seed for found in runs):
            continue
        began = time.perf_counter()
        results = asdict(run(args.out / str(seed), FULL, seed=seed))
        seconds = time.perf_counter() - began
        results |= {'seconds': seconds, 'date': str(date.today()), 'machine': cpu_name()}
        text = json.dumps([*runs, results], indent=1)
        with atomic_write(args.record) as temporary:
            temporary.write_text(f'{text}\n', 'utf-8')
    runs = recorded(args.record)
    print(table(runs) if runs else f'{args.record} has no runs')
    return 0


def recorded(path: Path) -> list[dict[str, Any]]:
    """The runs of a record."""
    return json.loads(path.read_text('utf-8')) if path.is_file() else []


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Means over the seeds, and elastic minus plain: each seed, mean and its 95 % t interval."""
    head = ['parameters', 'AP50 plain', 'elastic', 'by seed', 'mean', 'mPC plain', 'elastic']
    lines = [head, ['---'] * len(head)]
    for index, size in enumerate(runs[0]['sizes']):
        sizes = [run['sizes'][index] for run in runs]
        lines.append(
            [
                f'{size["keep_ratio"]:.0%}',
                *_means(sizes, 'ap50'),
                *_differences([each['ap50']['elastic'] - each['ap50']['plain'] for each in sizes]),
                *_means(sizes, 'mpc'),
            ]
        )
    tuned = [
        {
            'ap50': {'plain': run['fine_tuned']['AP50'], 'elastic': last['ap50']['elastic']},
            'mpc': {'plain': run['fine_tuned']['mPC'], 'elastic': last['mpc']['elastic']},
        }
        for run, last in ((run, run['sizes'][-1]) for run in runs)
    ]
    lines.append(
        [
            f'{runs[0]["sizes"][-1]["keep_ratio"]:.0%}, plain fine-tuned',
            *_means(tuned, 'ap50'),
            *_differences([each['ap50']['elastic'] - each['ap50']['plain'] for each in tuned]),
            *_means(tuned, 'mpc'),
        ]
    )
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'


def _means(sizes: Sequence[Mapping[str, Any]], metric: str) -> list[str]:
    return [
        f'{np.mean([size[metric][name] for size in sizes]):.1f}' for name in ('plain', 'elastic')
    ]


def _differences(values: Sequence[float]) -> list[str]:
    each = ' '.join(f'{value:+.1f}' for value in values)
    mean = float(np.mean(values))
    if len(values) < 2:
        return [each, f'{mean:+.1f}']
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return [each, f'{mean:+.1f} ± {half:.1f}']


if __name__ == '__main__':
    sys.exit(main())
