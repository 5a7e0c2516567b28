"""How shares are written on the terminal; the report has a dash of its own."""

from __future__ import annotations


def percent(fraction: float | None, *, none: str = '-') -> str:
    """A fraction in percent, one decimal: 0.4123 -> '41.2'; ``none`` where there is no number."""
    return none if fraction is None else f'{100 * fraction:.1f}'
