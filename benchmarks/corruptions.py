"""Speed of the corruptions compared with imagecorruptions, on one core.

Prints a row per corruption: the time of all five severities in the reference and here, the
speed-up, and the largest difference of a pixel value. Random corruptions are not compared here, as
each side draws its own numbers; the tests compare them on the same ones.

    pip install imagecorruptions-imaug
    python benchmarks/corruptions.py --image photograph.jpg
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from adasap_det.robustness.corruptions import BENCHMARK, CORRUPTIONS, SEVERITIES, corrupt_severities
from adasap_det.robustness.corruptions.api import FUNCTIONS


def drawn_photograph(height: int, width: int) -> np.ndarray:
    """Return an image with the gradients, edges and grain of a photograph, uint8 RGB."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(40):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        color = tuple(int(c) for c in rng.integers(0, 256, 3))
        cv2.circle(image, center, int(rng.integers(5, 60)), color, -1)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def median_time(call: Callable[[], object], repeat: int) -> float:
    """Median seconds over ``repeat`` calls, after one warm-up call."""
    times = []
    for _ in range(repeat + 1):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--image', type=Path, help='photograph, resized to --size (default: drawn)')
    parser.add_argument('--size', type=int, nargs=2, default=(500, 375), metavar=('W', 'H'))
    parser.add_argument('--repeat', type=int, default=5)
    args = parser.parse_args()

    warnings.filterwarnings('ignore')
    from imagecorruptions import corrupt as reference

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    width, height = args.size
    if args.image is None:
        image = drawn_photograph(height, width)
    else:
        image = cv2.imread(str(args.image))
        if image is None:
            parser.error(f'{args.image} cannot be read as an image')
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)[..., ::-1].copy()

    def theirs(name: str) -> dict[int, np.ndarray]:
        return {s: reference(image, severity=s, corruption_name=name) for s in SEVERITIES}

    def ours(name: str) -> dict[int, np.ndarray]:
        return corrupt_severities(image, corruption=name, severities=SEVERITIES, image_id='0')

    table = Table(title=f'{width}x{height}, five severities, one thread, median of {args.repeat}')
    table.add_column('corruption')
    for column in ('imagecorruptions ms', 'ours ms', 'times faster', 'largest difference'):
        table.add_column(column, justify='right')
    total = np.zeros(2)
    for name in CORRUPTIONS:
        taken = np.array(
            [median_time(lambda f=f: f(name), args.repeat) for f in (theirs, ours)]  # noqa: B023
        )
        if name in BENCHMARK:
            total += taken
        difference = 'random'
        if FUNCTIONS[name][0] is None:
            mine, other = ours(name), theirs(name)
            gaps = [np.abs(mine[s].astype(int) - other[s].astype(int)).max() for s in SEVERITIES]
            difference = str(max(gaps))
        mark = '' if name in BENCHMARK else ' (validation)'
        table.add_row(name + mark, *_times(taken), difference)
    table.add_section()
    table.add_row('all 15 of the benchmark', *_times(total), '')
    Console().print(table)


def _times(taken: np.ndarray) -> tuple[str, str, str]:
    reference, ours = taken * 1000
    return f'{reference:.1f}', f'{ours:.1f}', f'{reference / ours:.1f}'


if __name__ == '__main__':
    main()
