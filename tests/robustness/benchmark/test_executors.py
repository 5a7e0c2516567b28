from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from adasap_det.cli.make_voc_c import main
from adasap_det.robustness.benchmark import (
    BenchmarkError,
    build_benchmark,
    dask_executor,
    make_options,
    verify_benchmark,
    voc_source,
)
from adasap_det.robustness.benchmark.executors import InlineExecutor, local_executor
from adasap_det.robustness.benchmark.scheduling import map_bounded

from ...helpers.source_trees import CORRUPTIONS, contents, make_voc

OPTIONS = make_options(corruptions=CORRUPTIONS, severities=(2,))

PARENT = """
import os, time
from adasap_det.robustness.benchmark.executors import local_executor
if __name__ == '__main__':
    with local_executor(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


def build(root, out, **more):
    arguments = dict(options=OPTIONS, quiet=True, say=lambda _: None)
    return build_benchmark(voc_source(root), out, **arguments, **more)


def divide(number):
    return 1 / number


def test_map_bounded_limits_the_submitted_tasks():
    running, most = [], []

    class Counting(InlineExecutor):
        def submit(self, fn, /, *args, **kwargs):
            running.append(args)
            most.append(len(running))
            return super().submit(fn, *args, **kwargs)

    for _ in map_bounded(Counting(), divide, range(1, 21), in_flight=3):
        running.pop()
    assert len(most) == 20 and max(most) <= 3 + 3


def test_map_bounded_raises_errors_and_submits_nothing_more():
    started = []

    class Recording(InlineExecutor):
        def submit(self, fn, /, *args, **kwargs):
            started.append(args[0])
            return super().submit(fn, *args, **kwargs)

    with pytest.raises(ZeroDivisionError):
        list(map_bounded(Recording(), divide, [1, 2, 0, 4, 5], in_flight=1))
    assert started == [1, 2, 0]


def test_a_cancelled_future_that_never_finishes_is_not_waited_for():
    """Like a future of Dask whose result arrives while it is cancelled."""

    class Silent(InlineExecutor):
        def submit(self, fn, /, *args, **kwargs):
            return super().submit(fn, *args, **kwargs) if args == (0,) else Future()

    seen = []

    def work():
        try:
            list(map_bounded(Silent(), divide, [1, 0, 2], in_flight=3))
        except ZeroDivisionError as error:
            seen.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert len(seen) == 1


def test_negative_workers_raise():
    with pytest.raises(BenchmarkError, match='workers is -1'), local_executor(-1):
        pass


@pytest.mark.slow
def test_processes_give_the_same_bytes_and_a_dead_one_raises(tmp_path):
    root = make_voc(tmp_path / 'voc', 6)
    build(root, tmp_path / 'here', workers=0)
    build(root, tmp_path / 'there', workers=2)
    assert contents(tmp_path / 'here') == contents(tmp_path / 'there')
    with local_executor(1) as pool:
        assert verify_benchmark(tmp_path / 'there', executor=pool, quiet=True).good
        with pytest.raises(BenchmarkError, match=r'a worker process died.*fewer --workers'):
            list(map_bounded(pool, os._exit, [1], in_flight=1))


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='looks into /proc')
def test_a_worker_ends_when_its_parent_is_killed(tmp_path):
    script = tmp_path / 'parent.py'
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert _runs(worker)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 30
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(worker)


def _runs(process: int) -> bool:
    try:
        state = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in 'ZX'


def test_missing_dask_raises_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'distributed', None)
    with pytest.raises(BenchmarkError, match=r'adasap-det\[cluster\]'), dask_executor('tcp://x:1'):
        pass


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_bytes(tmp_path, capsys):
    distributed = pytest.importorskip('distributed')
    root = make_voc(tmp_path / 'voc', 8)
    build(root, tmp_path / 'here', workers=0)
    where = dict(dashboard_address=None, local_directory=str(tmp_path / 'scratch'))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, **where
    ) as cluster:
        command = ['--source', str(root), '--out', str(tmp_path / 'there'), '--severities', '2']
        command += ['--corruptions', *CORRUPTIONS, '--dask', cluster.scheduler_address]
        assert main(command) == 0
        assert contents(tmp_path / 'here') == contents(tmp_path / 'there')
        # Lost files are rebuilt, though Dask has cached the results.
        lost = tmp_path / 'there/contrast/2/VOC2007/JPEGImages/000003.jpg'
        lost.unlink()
        assert main([*command, '--verify']) == 1
        assert main(command) == 0
        assert contents(tmp_path / 'here') == contents(tmp_path / 'there')
        # An unusable image on a worker is reported as without Dask.
        (root / 'VOC2007/JPEGImages/000005.jpg').write_bytes(b'')
        capsys.readouterr()
        command[3] = str(tmp_path / 'other')
        assert main(command) == 2
        assert '000005.jpg: the file is empty' in capsys.readouterr().err


def test_a_missing_scheduler_raises():
    pytest.importorskip('distributed')
    with pytest.raises(BenchmarkError, match='no Dask scheduler answers'), dask_executor('nowhere'):
        pass
