"""How numbers and names are written in the report."""

from __future__ import annotations

import re
from collections.abc import Iterable

from adasap_det.robustness.corruptions.names import FAMILIES
from adasap_det.robustness.metrics import percent as written

#: Stands where there is no number.
NONE = '\u2013'  # en dash
MINUS = '\u2212'

# Control characters, lone surrogates and noncharacters.
_FORBIDDEN = re.compile('[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]')
_SPELLED = {'gaussian': 'Gaussian', 'jpeg': 'JPEG'}


def percent(fraction: float | None) -> str:
    """A fraction in percent, one decimal: 0.4123 -> '41.2'."""
    return written(fraction, none=NONE)


def points(difference: float | None) -> str:
    """A difference of two fractions in percentage points: 0.012 -> '+1.2'."""
    return NONE if difference is None else _signed(100 * difference, 1)


def change(value: float | None, base: float | None) -> str:
    """A relative change in percent, without decimals: 50 of 100 -> '−50 %'."""
    if value is None or base is None or base == 0:
        return NONE
    return f'{_signed(100 * (value / base - 1), 0)} %'


def scaled(values: Iterable[float | None]) -> tuple[str, list[str]]:
    """Counts in the prefix that suits the largest of them.

    Returns:
        The prefix, '', 'K', 'M', 'G' or 'T', and each value in it, all with the same decimals.
    """
    values = list(values)
    known = [value for value in values if value is not None]
    largest = max(known, default=0)
    prefix, unit = '', 1.0
    for prefix, unit in (('T', 1e12), ('G', 1e9), ('M', 1e6), ('K', 1e3), ('', 1.0)):
        # 494,940 reads better as 0.49 M, the unit in which detectors are compared.
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
    """Family of a corruption; 'held out' for those of the validation set."""
    return next((name for name, members in FAMILIES.items() if corruption in members), 'held out')


def clean(text: str) -> str:
    """The text without what neither XML nor UTF-8 can hold; a line break becomes a space."""
    text = ' '.join(text.split())
    return _FORBIDDEN.sub('\ufffd', text)


def shorten(text: str, length: int) -> str:
    """At most ``length`` characters, the end cut off."""
    return text if len(text) <= length else f'{text[: length - 1].rstrip()}…'


def keep_end(text: str, length: int) -> str:
    """At most ``length`` characters, the beginning cut off, at a dot where that costs little: of a
    layer's name the end matters."""
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
