"""Run programs of the checkout in forks of one process that has imported MMDetection.

Launching them from a shell is tested where it matters: under torchrun, from the wheel and in the
guide's shell blocks.
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
        server: Process of ``fork_server.py``.
        folder: Empty folder for the output.
    """

    def __init__(self, server: subprocess.Popen[str], folder: Path) -> None:
        self.server = server
        self.folder = folder

    def run(
        self, argv: Sequence[str], *, cwd: Path, seconds: int, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, successful or not.

        Args:
            argv: Python's arguments: a file, or ``-m`` and a module, and its arguments.
            cwd: Working directory.
            seconds: Time limit, after which SIGALRM kills the program.
            environ: Additional environment variables.
        """
        outputs = {name: self.folder / name for name in ('stdout', 'stderr')}
        for path in outputs.values():
            path.unlink(missing_ok=True)
        job = {
            'argv': list(argv),
            'cwd': str(cwd),
            'environ': environ,
            'seconds': seconds,
            **{name: str(path) for name, path in outputs.items()},
        }
        assert self.server.stdin is not None and self.server.stdout is not None
        print(json.dumps(job), file=self.server.stdin, flush=True)
        status = self.server.stdout.readline().strip()
        assert status, 'the server ended; run python -m tests.helpers.fork_server by hand'
        texts = (path.read_text() if path.is_file() else '' for path in outputs.values())
        return subprocess.CompletedProcess(list(argv), int(status), *texts)


@contextlib.contextmanager
def serving() -> Iterator[Forks]:
    """Start a process of ``fork_server.py``; kill it on exit."""
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
            # Closing its input is not enough: our forks, such as data loaders, may hold it open.
            server.kill()
