"""Submit tasks to an executor, a limited number at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import Any, TypeVar

from adasap_det.robustness.benchmark.errors import BenchmarkError

_Argument = TypeVar('_Argument')
_Result = TypeVar('_Result')


def map_bounded(
    executor: Executor,
    function: Callable[..., _Result],
    arguments: Iterable[_Argument],
    *,
    in_flight: int,
) -> Generator[_Result, None, None]:
    """Yield the results of ``function(*argument)`` in order of completion.

    If the caller stops or a task fails, no further task is submitted, and running ones are waited
    for.

    Args:
        executor: Runs the tasks.
        function: Function to run.
        arguments: Positional arguments of each task, as a tuple, or a single one.
        in_flight: Maximum number of submitted tasks at a time.

    Raises:
        BenchmarkError: If a worker died.
        Exception: If a task raised it.
    """
    pending: set[Future[_Result]] = set()
    remaining = iter(arguments)
    try:
        while True:
            for argument in remaining:
                pending.add(executor.submit(function, *_tuple(argument)))
                if len(pending) >= in_flight:
                    break
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except Exception as error:
        # KilledWorker is Dask's, which need not be installed.
        if not isinstance(error, BrokenExecutor) and type(error).__name__ != 'KilledWorker':
            raise
        raise BenchmarkError(
            'a worker process died, perhaps out of memory; run the same command again with fewer '
            '--workers: it resumes'
        ) from None
    finally:
        # Cancelled futures may never finish: Dask's do not if their result arrives meanwhile.
        wait([future for future in pending if not future.cancel()])


def _tuple(argument: Any) -> tuple[Any, ...]:
    return argument if isinstance(argument, tuple) else (argument,)
