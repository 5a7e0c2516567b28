"""Colours and markers that are distinguishable with colour blindness and in print."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """Style of one model in every figure.

    Attributes:
        colour: Hexadecimal colour.
        marker: Marker in matplotlib's notation.
        line: Line style in matplotlib's notation.
    """

    colour: str
    marker: str
    line: str


# Okabe and Ito's palette, with grey for black and without its yellow, which is too faint on white.
_COLOURS = ('#5b6570', '#d55e00', '#0072b2', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#7a4f2b')
_MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', 'h')
_LINES = ('-', '--', '-.', ':')

#: Colour maps of values and of differences, readable with colour blindness.
SEQUENTIAL = 'cividis'
DIVERGING = 'RdBu'


def mark(index: int) -> Mark:
    """Return the style of a model by its index; from the ninth on, the line style changes."""
    return Mark(
        colour=_COLOURS[index % len(_COLOURS)],
        marker=_MARKERS[index % len(_MARKERS)],
        line=_LINES[index // len(_COLOURS) % len(_LINES)],
    )


def ink_on(red: float, green: float, blue: float) -> str:
    """Return black or white, whichever has more contrast on a colour (WCAG 2.1).

    Args:
        red, green, blue: sRGB in [0, 1].
    """

    def linear(value: float) -> float:
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    luminance = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    return '#000000' if (luminance + 0.05) ** 2 >= 0.05 * 1.05 else '#ffffff'
