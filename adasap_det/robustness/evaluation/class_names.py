"""Names of classes that tell them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def distinct(classes: Sequence[str]) -> tuple[str, ...]:
    """The names, with the label behind those that several classes have.

    ImageNet has two that mmpretrain calls 'crane', the bird (134) and the machine (517).
    """
    count = Counter(classes)
    return tuple(
        f'{name} ({label})' if count[name] > 1 else name for label, name in enumerate(classes)
    )
