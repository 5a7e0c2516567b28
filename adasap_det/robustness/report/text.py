"""Format numbers and names of the report."""

from __future__ import annotations

import re
from collections.abc import Iterable

from adasap_det.robustness.corruptions.names import FAMILIES
from adasap_det.robustness.metrics import percent as format_percent

#: Placeholder for a missing number.
NONE = '\u2013'  # en dash
MINUS = '\u2212'

# Control characters, lone surrogates and noncharacters, and those that reverse the text after them.
_FORBIDDEN = re.compile('[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]')
_SPELLED = {'gaussian': 'Gaussian', 'jpeg': 'JPEG'}


def percent(fraction: float | None) -> str:
    """Format a fraction in percent with one decimal: 0.4123 -> '41.2'."""
    return format_percent(fraction, none=NONE)


def points(difference: float | None) -> str:
    """Format a difference of two fractions in percentage points: 0.012 -> '+1.2'."""
    return NONE if difference is None else _signed(100 * difference, 1)


def change(value: float | None, base: float | None) -> str:
    """Format a relative change in percent without decimals: 50 of 100 -> '−50 %'."""
    if value is None or base is None or base == 0:
        return NONE
    return f'{_signed(100 * (value / base - 1), 0)} %'


def scaled(values: Iterable[float | None]) -> tuple[str, list[str]]:
    """Format counts with the unit prefix that fits the largest of them.

    Returns:
        The prefix ('', 'K', 'M', 'G' or 'T') and the scaled values, with equal decimals.
    """
    values = list(values)
    known = [value for value in values if value is not None]
    largest = max(known, default=0)
    prefix, unit = '', 1.0
    for prefix, unit in (('T', 1e12), ('G', 1e9), ('M', 1e6), ('K', 1e3), ('', 1.0)):
        # Parameters of detectors are usually given in millions: 494,940 becomes 0.49 M.
        if largest >= unit * (0.1 if prefix == 'M' else 1):
            break
    decimals = 0 if not prefix else 1 if min(known, default=0) >= 10 * unit else 2
    texts = [NONE if value is None else f'{value / unit:.{decimals}f}' for value in values]
    return prefix, texts


def corruption_name(name: str) -> str:
    """'gaussian_noise' -> 'Gaussian noise'."""
    words = [_SPELLED.get(word, word) for word in name.split('_')]
    words[0] = words[0][:1].upper() + words[0][1:]
    return ' '.join(words)


def family_of(corruption: str) -> str:
    """Return the family of a corruption; 'held out' for the validation corruptions."""
    return next((name for name, members in FAMILIES.items() if corruption in members), 'held out')


def clean(text: str) -> str:
    """Replace characters that are invalid in XML or UTF-8 or override the direction of text.

    Whitespace is collapsed.
    """
    text = ' '.join(text.split())
    return _FORBIDDEN.sub('\ufffd', text)


def shorten(text: str, length: int) -> str:
    """Truncate the end to at most ``length`` characters."""
    return text if len(text) <= length else f'{text[: length - 1].rstrip()}…'


def shorten_start(text: str, length: int) -> str:
    """Truncate the start of a layer's name to ``length`` characters, preferably at a dot."""
    if len(text) <= length:
        return text
    end = text[1 - length :]
    dot = end.find('.')
    return f'…{end[dot + 1 :] if 0 <= dot < length // 3 else end}'


def _signed(value: float, decimals: int) -> str:
    text = f'{abs(value):.{decimals}f}'
    if not float(text):
        return text
    return f'{MINUS if value < 0 else "+"}{text}'
