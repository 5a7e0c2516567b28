"""The fork server ends with its context."""

import os
import signal
import time

from .helpers.forks import serving


def test_server_ends_while_another_process_holds_its_input():
    with serving() as forks:
        holder = os.fork()
        if holder == 0:
            time.sleep(30)
            os._exit(0)
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    # With 0 it would have ended by itself, only after the other process.
    assert forks.server.returncode == -signal.SIGKILL
