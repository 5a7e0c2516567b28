"""Programs of the checkout in forks of one process, without each importing PyTorch and MMDetection.

How they are launched by a shell is tested where it matters: under torchrun, from the wheel and in
the guide's blocks that are no plain Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRON = {
    **os.environ,
    'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ.get("PATH", "")}',
    'PYTHONPATH': str(ROOT),
    'OMP_NUM_THREADS': '1',
    'CUDA_VISIBLE_DEVICES': '',
}


class Forks:
    """Runs programs, one at a time.

    Args:
        server: The process of ``fork_server.py``.
        folder: An empty folder for their output.
    """

    def __init__(self, server: subprocess.Popen[str], folder: Path) -> None:
        self.server = server
        self.folder = folder

    def run(
        self, argv: Sequence[str], *, cwd: Path, seconds: int, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, be it a good or a bad one.

        Args:
            argv: As Python gets it: a file, or ``-m`` and a module, and its arguments.
            cwd: Where to.
            seconds: After which it is killed by SIGALRM.
            environ: To add to the environment.
        """
        said = {name: self.folder / name for name in ('stdout', 'stderr')}
        for path in said.values():
            path.unlink(missing_ok=True)
        job = {
            'argv': list(argv),
            'cwd': str(cwd),
            'environ': environ,
            'seconds': seconds,
            **{name: str(path) for name, path in said.items()},
        }
        assert self.server.stdin is not None and self.server.stdout is not None
        print(json.dumps(job), file=self.server.stdin, flush=True)
        status = self.server.stdout.readline().strip()
        assert status, 'the server ended; run python -m tests.helpers.fork_server by hand'
        texts = (path.read_text() if path.is_file() else '' for path in said.values())
        return subprocess.CompletedProcess(list(argv), int(status), *texts)


@contextlib.contextmanager
def serving() -> Iterator[Forks]:
    """A process of ``fork_server.py``, ended on leaving."""
    with subprocess.Popen(
        [sys.executable, '-m', 'tests.helpers.fork_server'],
        cwd=ROOT,
        env=ENVIRON,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            with tempfile.TemporaryDirectory() as folder:
                yield Forks(server, Path(folder))
        finally:
            # The end of its input would not do: forks of ours, as data loaders', may hold it open.
            server.kill()
