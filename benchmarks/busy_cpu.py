"""Training steps a second on a CPU, alone and beside a process that keeps one core busy.

One process for each setting of OpenMP trains the demo's detector on one batch; they take turns, so
that other load on the machine affects all alike. Prints the medians over the rounds and writes all
turns to a file.

    python benchmarks/busy_cpu.py
    python benchmarks/busy_cpu.py --rounds 3 --out busy_cpu.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/demo/shapes_dense.py'
BATCH_SIZE = 16
SETTINGS = {
    '1 thread': {'OMP_NUM_THREADS': '1'},
    '2 threads': {'OMP_NUM_THREADS': '2'},
    '2 threads, OMP_WAIT_POLICY=PASSIVE': {'OMP_NUM_THREADS': '2', 'OMP_WAIT_POLICY': 'PASSIVE'},
    '2 threads, GOMP_SPINCOUNT=0': {'OMP_NUM_THREADS': '2', 'GOMP_SPINCOUNT': '0'},
}
CONDITIONS = {'alone': 0, 'busy': 1}
"""Number of processes that keep a core busy."""


class Trainer:
    """A process that trains for some seconds whenever it is asked to."""

    def __init__(self, variables: dict[str, str], data: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(('OMP_', 'GOMP_'))}
        self.process = subprocess.Popen(
            [sys.executable, __file__, '--train', data],
            env=inherited | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answer()  # once it is ready

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe(self.process.stdin).close()
        self.process.wait()

    def steps_per_second(self, seconds: float) -> float:
        """Train for so many seconds."""
        pipe = self._pipe(self.process.stdin)
        pipe.write(f'{seconds}\n')
        pipe.flush()
        return float(self.answer())

    def answer(self) -> str:
        """Read the next line of the process."""
        return self._pipe(self.process.stdout).readline()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


def train(data: str) -> None:
    """Read seconds from stdin, train for so long, answer with the steps a second."""
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # only answers go to the pipe
    from mmengine.config import Config
    from mmengine.runner import Runner

    from adasap_det.checkpoint.loading import build_model
    from adasap_det.utils.losses import some_batches

    cfg = Config.fromfile(CONFIG)
    cfg.train_dataloader.dataset.data_root = data
    cfg.train_dataloader.batch_size = BATCH_SIZE
    model = build_model(cfg).train()
    wrapper = Runner.build_optim_wrapper(argparse.Namespace(model=model), cfg.optim_wrapper)
    (batch,) = some_batches(cfg, 1)
    for _ in range(3):
        model.train_step(batch, wrapper)
    print('ready', file=answers, flush=True)
    for line in sys.stdin:
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < float(line):
            model.train_step(batch, wrapper)
            steps += 1
        print(steps / (time.perf_counter() - start), file=answers, flush=True)


@contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """Keep so many cores busy."""
    processes = [
        subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(number)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(data: str, *, rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Steps a second by setting and condition, one value a round."""
    found: dict[str, dict[str, list[float]]] = {
        setting: {condition: [] for condition in CONDITIONS} for setting in SETTINGS
    }
    with ExitStack() as stack:
        trainers = {
            setting: stack.enter_context(Trainer(variables, data))
            for setting, variables in SETTINGS.items()
        }
        for _ in range(rounds):
            for condition, number in CONDITIONS.items():
                for setting, trainer in trainers.items():
                    with busy_processes(number):
                        found[setting][condition].append(trainer.steps_per_second(seconds))
    return found


def make_table(found: dict[str, dict[str, list[float]]]) -> Table:
    """Medians, and what the busy process leaves of the speed."""
    table = Table('OpenMP', 'alone', 'busy', 'busy / alone', title='training steps a second')
    for setting, values in found.items():
        alone, busy = (statistics.median(values[condition]) for condition in CONDITIONS)
        table.add_row(setting, f'{alone:.2f}', f'{busy:.2f}', f'{busy / alone:.2f}')
    return table


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--rounds', type=int, default=9, help='turns of each setting (9)')
    parser.add_argument('--seconds', type=float, default=4, help='length of a turn (4)')
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/busy_cpu.json')
    parser.add_argument('--train', metavar='DATA', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        train(args.train)
        return
    from adasap_det.datasets import make_shapes_voc
    from adasap_det.utils.device import cpu_name

    load = round(os.getloadavg()[1], 2)  # of other processes, over the last five minutes
    with tempfile.TemporaryDirectory() as data:
        make_shapes_voc(data, num_train=2 * BATCH_SIZE, num_val=1, num_test=1)
        found = measure(data, rounds=args.rounds, seconds=args.seconds)
    content: dict[str, Any] = {
        'device': cpu_name(),
        'cores': os.cpu_count(),
        'load_average': load,
        'config': str(CONFIG.relative_to(ROOT)),
        'batch_size': BATCH_SIZE,
        'seconds': args.seconds,
        'steps_per_second': found,
    }
    args.out.write_text(json.dumps(content, indent=1) + '\n', 'utf-8')
    Console().print(make_table(found))


if __name__ == '__main__':
    main()
