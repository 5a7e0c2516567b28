"""``kill -9`` during a real build."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adasap_det.cli.make_voc_c import main

from ...helpers.source_trees import CORRUPTIONS, contents, make_voc

NUMBER = 80


def lines(journal: Path) -> int:
    try:
        return journal.read_bytes().count(b'\n')
    except FileNotFoundError:
        return 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'killpg'), reason='needs process groups')
def test_a_build_killed_twice_equals_an_uninterrupted_one(tmp_path):
    root = make_voc(tmp_path / 'voc', NUMBER)
    out = tmp_path / 'out'
    command = ['--source', str(root), '--corruptions', *CORRUPTIONS, 'elastic_transform', '--out']
    journal = out / 'progress.jsonl'
    done = []
    run = [sys.executable, '-m', 'adasap_det.cli.make_voc_c']
    for wanted in (6, 30):
        process = subprocess.Popen(
            [*run, *command, str(out), '--workers', '2'],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and lines(journal) < wanted:
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL  # killed before it finished
        assert not (out / 'manifest.json').exists()
        done.append(lines(journal))
    assert done[0] < done[1] < NUMBER
    assert main([*command, str(out), '--workers', '0']) == 0
    assert main([*command, str(tmp_path / 'complete'), '--workers', '0']) == 0
    assert contents(out) == contents(tmp_path / 'complete')
    assert main(['--verify', '--out', str(out), '--quiet']) == 0
