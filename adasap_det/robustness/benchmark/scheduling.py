"""Submits work to an executor, a limited amount at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import Any, TypeVar

from adasap_det.robustness.benchmark.errors import BenchmarkError

_Argument = TypeVar('_Argument')
_Result = TypeVar('_Result')


def results(
    executor: Executor,
    function: Callable[..., _Result],
    arguments: Iterable[_Argument],
    *,
    in_flight: int,
) -> Generator[_Result, None, None]:
    """Results of ``function(*argument)``, as they come.

    When the caller stops, or a piece of work fails, nothing more is begun and what runs is waited
    for.

    Args:
        executor: Does the work.
        function, arguments: What; each argument is a tuple.
        in_flight: How many pieces are with the executor at most.

    Raises:
        BenchmarkError: If a worker died.
        Exception: What a piece of work raised.
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
        # The second is Dask's, which need not be installed.
        if not isinstance(error, BrokenExecutor) and type(error).__name__ != 'KilledWorker':
            raise
        raise BenchmarkError(
            'a worker process died, perhaps for want of memory; run the same again with fewer '
            '--workers: it resumes'
        ) from None
    finally:
        # Those that are cancelled may never say so: Dask's do not if their result came meanwhile.
        wait([future for future in pending if not future.cancel()])


def _tuple(argument: Any) -> tuple[Any, ...]:
    return argument if isinstance(argument, tuple) else (argument,)
