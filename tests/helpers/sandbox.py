"""A folder that looks like a checkout, to run the blocks of a page in."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from pathlib import Path

from .code_blocks import ROOT, Block
from .commands import split
from .forks import ENVIRON, Forks

SECONDS = 300
_SHELL = set('|<>$&;`')


class Sandbox:
    """Run blocks in a folder, one after another.

    Args:
        folder: An empty folder.
        forks: Server that runs Python scripts.
    """

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.folder = folder
        self.forks = forks
        for name in ('tools', 'configs', 'benchmarks', 'docs', 'constraints.txt'):
            (folder / name).symlink_to(ROOT / name)

    def run(self, block: Block) -> None:
        """Run a block.

        Raises:
            AssertionError: If its exit status is not 0; with the end of its output.
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
        done = self.forks.run(words[1:], cwd=self.folder, seconds=SECONDS)
        assert done.returncode == 0, (
            f'{block}: {shlex.join(words)} ended with {done.returncode}\n'
            f'{(done.stdout + done.stderr)[-3000:]}'
        )

    def _shell(self, block: Block) -> None:
        # A file, as a pipe would stay open while a background process of the block runs.
        log = self.folder / 'log.txt'
        with log.open('w') as output:
            process = subprocess.Popen(
                ['bash', '-euo', 'pipefail', '-c', block.text],
                cwd=self.folder,
                env=ENVIRON,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            status = process.wait(SECONDS)
        finally:
            # End what the block left running in the background: its process group only.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        assert status == 0, f'{block} ended with {status}\n{log.read_text()[-3000:]}'
