"""Run code in a new interpreter, in which nothing has been imported."""

import subprocess
import sys

from .code_blocks import ROOT


def run_fresh(code: str) -> str:
    """Return what the code prints; fails with its traceback."""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout
