"""A folder that looks like a checkout, in which the blocks of a page are run."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .blocks import ROOT, Block
from .commands import split

SECONDS = 300
_ENVIRON = {
    **os.environ,
    'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ.get("PATH", "")}',
    'PYTHONPATH': str(ROOT),
    'OMP_NUM_THREADS': '1',
    'CUDA_VISIBLE_DEVICES': '',
}
_SHELL = set('|<>$&;`')


class Sandbox:
    """Runs blocks in a folder, one after another.

    Args:
        folder: An empty folder.
        server: What answers ``tests.docs.server``'s jobs.
    """

    def __init__(self, folder: Path, server: subprocess.Popen[str]) -> None:
        self.folder = folder
        self.server = server
        for name in ('tools', 'configs', 'benchmarks', 'docs', 'constraints.txt'):
            (folder / name).symlink_to(ROOT / name)

    def run(self, block: Block) -> None:
        """Run a block.

        Raises:
            AssertionError: If it ends with another status than 0, with the end of what it said.
        """
        if block.language == 'python':
            path = self.folder / f'block{block.line}.py'
            path.write_text(block.text)
            self._fork(['python', path.name], block)
            return
        commands = split(block.text)
        plain = not _SHELL & set(block.text)
        if plain and all(words[0] == 'python' for words in commands):
            for words in commands:
                self._fork(words, block)
        else:
            self._shell(block)

    def _fork(self, words: list[str], block: Block) -> None:
        log = self.folder / 'log.txt'
        log.unlink(missing_ok=True)
        job = {'argv': words[1:], 'cwd': str(self.folder), 'log': str(log)}
        assert self.server.stdin is not None and self.server.stdout is not None
        print(json.dumps(job), file=self.server.stdin, flush=True)
        status = self.server.stdout.readline().strip()
        text = log.read_text()[-3000:] if log.is_file() else ''
        assert status, f'{block}: the server ended; run python -m tests.docs.server by hand'
        assert status == '0', f'{block}: {shlex.join(words)} ended with {status}\n{text}'

    def _shell(self, block: Block) -> None:
        # A file and no pipe, which would be open for as long as anything in the background runs.
        log = self.folder / 'log.txt'
        with log.open('w') as said:
            process = subprocess.Popen(
                ['bash', '-euo', 'pipefail', '-c', block.text],
                cwd=self.folder,
                env=_ENVIRON,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            status = process.wait(SECONDS)
        finally:
            # What the block left running in the background, our own group alone.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        assert status == 0, f'{block} ended with {status}\n{log.read_text()[-3000:]}'


@contextlib.contextmanager
def serving() -> Iterator[subprocess.Popen[str]]:
    """The process of ``tests.docs.server``."""
    server = subprocess.Popen(
        [sys.executable, '-m', 'tests.docs.server'],
        cwd=ROOT,
        env=_ENVIRON,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield server
    finally:
        assert server.stdin is not None
        server.stdin.close()
        server.wait(60)
