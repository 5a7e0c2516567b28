"""Run Python programs in forks of a process that has done the slow imports.

Started by ``forks.py``. Reads one JSON object per line and answers with one line, the exit status.
The keys are ``argv``, Python's arguments (a file, or ``-m`` and a module), ``cwd``, ``stdout`` and
``stderr``, files for the output, ``environ``, additional environment variables, and ``seconds``, a
time limit.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import sys
import traceback

# Only answers go to the pipe, not the output of imported modules.
_ANSWERS = os.fdopen(os.dup(1), 'w')
os.dup2(2, 1)

import tests.helpers.plain_configs  # noqa: E402, F401, I001  before MMEngine
import adasap_det.cli.train_command  # noqa: E402, F401  first: mmdet needs MMCV's operators
import mmdet.apis  # noqa: E402
import mmdet.datasets  # noqa: E402
import mmdet.evaluation  # noqa: E402
import mmdet.models  # noqa: E402, F401


def main() -> None:
    """Serve until the input ends."""
    gc.collect()
    gc.freeze()  # else garbage collection in each child copies the memory of all imports
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(job)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=_ANSWERS, flush=True)


def _run(job: dict) -> None:
    status = 1
    try:
        signal.alarm(job['seconds'])
        os.chdir(job['cwd'])
        os.environ.update(job['environ'])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for name, target in (('stdout', 1), ('stderr', 2)):
            os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND), target)
        module = job['argv'][0] == '-m'
        sys.argv = job['argv'][module:]
        run = runpy.run_module if module else runpy.run_path
        run(sys.argv[0], run_name='__main__', **({'alter_sys': True} if module else {}))
        status = 0
    except SystemExit as done:
        status = done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == '__main__':
    main()
