"""The server of forks is gone when its context is left."""

from __future__ import annotations

import os
import signal

from .forks import serving


def test_ends_while_another_process_holds_its_input():
    with serving() as forks:
        holder = os.fork()
        if holder == 0:
            signal.pause()
    try:
        assert forks.server.poll() == -signal.SIGKILL
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
