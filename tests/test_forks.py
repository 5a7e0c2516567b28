"""The server of forks is gone when its context is left."""

import os
import signal
import time

from .helpers.forks import serving


def test_ends_though_another_process_holds_its_input():
    with serving() as forks:
        holder = os.fork()
        if holder == 0:
            time.sleep(30)
            os._exit(0)
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    # Not 0, with which it would have ended by itself, as late as the other process.
    assert forks.server.returncode == -signal.SIGKILL
