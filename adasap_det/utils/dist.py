"""What the first rank finds, on every rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from mmengine.dist import broadcast_object_list, is_main_process

T = TypeVar('T')


def broadcast_from_rank0(find: Callable[[], T]) -> T:
    """What ``find`` returns on the first rank, the only one that calls it, pickled on the way.

    Every rank has to ask.

    Args:
        find: Tensors in what it returns should be on the CPU.

    Raises:
        Exception: On every rank what ``find`` raised on the first: the others would wait for ever.
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
