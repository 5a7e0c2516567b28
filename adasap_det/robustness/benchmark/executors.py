"""Executors: this process, a pool of processes, or a Dask cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Any

from adasap_det.robustness.benchmark.errors import BenchmarkError

_PRELOAD = 'adasap_det.robustness.benchmark.worker'


class InlineExecutor(Executor):
    """Run each task immediately, in the thread that submits it."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn(*args, **kwargs)`` and return a finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def available_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


@contextlib.contextmanager
def local_executor(workers: int) -> Iterator[Executor]:
    """Open a pool of processes, which end with this one even if it is killed.

    Args:
        workers: Number of processes; 0 runs the tasks in this process.

    Raises:
        BenchmarkError: If ``workers`` is negative.
    """
    if workers < 0:
        raise BenchmarkError(f'workers is {workers}; give 0 (this process) or more')
    if workers == 0:
        yield InlineExecutor()
        return
    pool = ProcessPoolExecutor(workers, mp_context=_context(), initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


@contextlib.contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """Connect to the workers of a Dask cluster.

    Args:
        address: Address of the scheduler, such as ``tcp://10.0.0.1:8786``, or a scheduler file.

    Raises:
        BenchmarkError: If Dask is not installed or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError:
        raise BenchmarkError(
            'Dask is not installed; run pip install "adasap-det[cluster]"'
        ) from None
    try:
        where = {'scheduler_file': address} if address.endswith('.json') else {'address': address}
        client = Client(**where, timeout=15)
    except (OSError, TimeoutError, ValueError) as error:
        raise BenchmarkError(f'no Dask scheduler answers at {address!r} ({error})') from None
    with client:
        if not client.scheduler_info().get('workers'):
            try:
                client.wait_for_workers(1, timeout=60)
            except TimeoutError:
                raise BenchmarkError(f'the Dask cluster at {address!r} has no worker') from None
        # Not pure: deleted files must be written again, even if Dask has their results cached.
        executor = client.get_executor(pure=False)
        try:
            yield executor
        finally:
            executor.shutdown(wait=False)


def _context() -> multiprocessing.context.BaseContext:
    """Return the forkserver context: as fast as fork, without copying this process's threads."""
    if 'forkserver' not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context('spawn')
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([_PRELOAD])
    return context


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True, name='end with parent').start()


def _end_with_parent() -> None:
    """End a pool's worker when its parent was killed; it would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
