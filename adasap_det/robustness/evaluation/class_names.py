"""Unique class names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def distinct(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names, with the label appended to those that several classes share.

    mmpretrain calls two ImageNet classes 'crane': the bird (134) and the machine (517).
    """
    count = Counter(classes)
    return tuple(
        f'{name} ({label})' if count[name] > 1 else name for label, name in enumerate(classes)
    )
