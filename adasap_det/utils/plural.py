"""Numbers with their nouns."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``'1 image'``, ``'2 images'``, ``'3 severities'``."""
    if number == 1:
        return f'1 {noun}'
    return f'{number} {noun[:-1]}ies' if noun.endswith('y') else f'{number} {noun}s'
