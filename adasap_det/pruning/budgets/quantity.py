"""Amounts with a unit, as configs write them: '8 ms', '3.5 M'."""

from __future__ import annotations

import re
from collections.abc import Mapping

COUNTS = {'': 1.0, 'k': 1e3, 'M': 1e6, 'G': 1e9}
MILLISECONDS = {'s': 1e3, 'ms': 1.0, 'us': 1e-3}


def parse_quantity(value: float | str, units: Mapping[str, float], *, name: str) -> float:
    """The amount in the base unit.

    Args:
        value: A number in the base unit, or text of a number and one of ``units``.
        units: Factor of each unit; the base unit's is 1.
        name: Option to name in errors.

    Raises:
        ValueError: If the text is no such amount, or the amount is not positive.
    """
    unit = next(u for u, factor in units.items() if factor == 1)
    if not isinstance(value, str):
        amount = float(value)
    else:
        found = re.fullmatch(r'\s*([0-9.eE+-]+)\s*([A-Za-z]*)\s*', value)
        if found is None or found[2] not in units:
            raise ValueError(
                f'{name} is a number with one of the units {_listed(units)}, got {value!r}'
            )
        unit = found[2]
        try:
            amount = float(found[1])
        except ValueError:
            raise ValueError(f'{name}: {found[1]!r} in {value!r} is no number') from None
    if not amount > 0:
        raise ValueError(f'{name} must be positive, got {value!r}')
    return amount * units[unit]


def format_quantity(amount: float, units: Mapping[str, float]) -> str:
    """The amount with the largest unit that leaves at least 1, to four digits."""
    fitting = [u for u, factor in units.items() if amount >= factor]
    unit = max(fitting, key=units.__getitem__) if fitting else min(units, key=units.__getitem__)
    return f'{amount / units[unit]:.4g} {unit}'.rstrip()


def _listed(units: Mapping[str, float]) -> str:
    return ', '.join(unit or '(none)' for unit in units)
