"""Run a function on rank 0 and share its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from mmengine.dist import broadcast_object_list, is_main_process

T = TypeVar('T')


def broadcast_from_rank0(find: Callable[[], T]) -> T:
    """Call ``find`` on rank 0 and return its result, sent by pickle, on every rank.

    Every rank must call this function.

    Args:
        find: Function to call. Tensors in its result should be on the CPU.

    Raises:
        Exception: On every rank, the exception that ``find`` raised on rank 0.
    """
    shared: list[Any] = [None]
    if is_main_process():
        try:
            shared = [(find(), None)]
        except Exception as error:
            shared = [(None, error)]
    broadcast_object_list(shared)
    found, raised = shared[0]
    if raised is not None:
        raise raised
    return cast(T, found)
