"""What the first rank says, on every rank."""

from __future__ import annotations

from typing import Any, TypeVar

from mmengine.dist import broadcast_object_list

T = TypeVar('T')


def of_the_first_rank(value: T | None) -> T:
    """The first rank's value, pickled on the way.

    Args:
        value: Tensors in it should be on the CPU. What other ranks give, None for instance, does
            not count.
    """
    shared: list[Any] = [value]
    broadcast_object_list(shared)
    found: T = shared[0]
    return found
