"""Matplotlib figures as inline SVG; several can be used on one HTML page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = '#1f2933'
FAINT = '#d5dae0'

_REFERENCE = re.compile(r'url\(#([^)]+)\)')
# The font family of the page replaces matplotlib's, which up to 3.10 may use the shorthand
# "font: 700 11px 'DejaVu Sans', sans-serif".
_FONT = re.compile(r'font: ((?:[a-z]+ |[1-9]00 )*)([\d.]+px) [^;]*')
_FAMILY = re.compile(r'font-family: [^;]*(?:; )?')
_STYLE: Any = {
    'svg.fonttype': 'none',
    # Model names may contain dollar signs, which are no math.
    'text.parse_math': False,
    'font.family': ['DejaVu Sans'],
    'font.size': 11,
    'axes.titlesize': 12,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'axes.labelsize': 11,
    'axes.edgecolor': '#8a94a0',
    'axes.labelcolor': INK,
    'axes.titlecolor': INK,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.linewidth': 0.8,
    'axes.grid': False,
    'axes.axisbelow': True,
    'grid.color': '#e4e7eb',
    'grid.linewidth': 0.8,
    'text.color': INK,
    'xtick.color': INK,
    'ytick.color': INK,
    'xtick.labelsize': 10.5,
    'ytick.labelsize': 10.5,
    'hatch.linewidth': 0.6,
    'axes.unicode_minus': True,
    'savefig.facecolor': 'none',
    'savefig.edgecolor': 'none',
    'savefig.bbox': None,
}


@dataclass(frozen=True)
class SvgFigure:
    """One figure of the page.

    Attributes:
        name: Unique name on the page; prefix of the ids inside the SVG.
        svg: The inline ``<svg>`` element.
        width, height: Natural size in CSS pixels.
    """

    name: str
    svg: Markup
    width: int
    height: int


def draw(
    name: str, alt: str, plot: Callable[[Figure], None], *, width: int, height: int
) -> SvgFigure:
    """Draw a figure and convert it to inline SVG.

    One unit of the figure is one CSS pixel at natural size: a font size of 11 is 11 pixels. Text
    remains text and uses the font family of the page.

    Args:
        name: Unique name on the page: letters, digits and hyphens.
        alt: Alternative text.
        plot: Function that draws into an empty figure.
        width, height: Natural size in CSS pixels.
    """
    buffer = io.BytesIO()
    # Ignore the user's settings, except for the backend, as switching it would load pyplot.
    # Typed as Any: matplotlib 3.11 types the keys as literals, earlier versions as strings.
    settings: Any = {**matplotlib.rcParamsDefault, **_STYLE, 'svg.hashsalt': name}
    settings.pop('backend', None)
    with warnings.catch_warnings(), matplotlib.rc_context(settings):
        # The browser has glyphs that matplotlib's font does not have.
        warnings.filterwarnings('ignore', message='Glyph .* missing from')
        warnings.filterwarnings('ignore', message='Matplotlib currently does not support')
        warnings.filterwarnings('ignore', category=matplotlib.MatplotlibDeprecationWarning)
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasAgg(figure)  # needed to measure text
        plot(figure)
        figure.savefig(buffer, format='svg', metadata={'Date': None, 'Creator': None})
    svg = _inline(buffer.getvalue(), name=name, alt=alt, width=width, height=height)
    return SvgFigure(name=name, svg=svg, width=width, height=height)


def _inline(data: bytes, *, name: str, alt: str, width: int, height: int) -> Markup:
    """Convert an SVG file to an inline element: no declarations or style sheet, unique ids."""
    root = ElementTree.fromstring(data)
    for parent in list(root.iter()):
        parent.tag = _local(parent.tag)
        parent.tail = None
        if parent.tag != 'text' and parent.tag != 'tspan':
            parent.text = None
        parent.attrib = {_local(key): value for key, value in parent.attrib.items()}
        for child in list(parent):
            if _local(child.tag) in ('metadata', 'style'):
                parent.remove(child)
    ids = {target: f'{name}-{number}' for number, target in enumerate(_targets(root))}
    for element in root.iter():
        found = ids.get(element.attrib.pop('id', ''))
        if found is not None:
            element.set('id', found)
        for key, value in element.attrib.items():
            if key == 'href':
                value = f'#{ids[value[1:]]}'
            elif key != 'id':
                value = _REFERENCE.sub(lambda match: f'url(#{ids[match[1]]})', value)
            if key == 'style':
                value = _FONT.sub(_size_only, _FAMILY.sub('', value))
            element.set(key, value)
    view = root.get('viewBox', '')
    root.attrib = {
        'class': 'figure',
        'id': name,
        'role': 'img',
        'aria-label': alt,
        'viewBox': view,
        'width': str(width),
        'height': str(height),
        # Replaces the removed style sheet.
        'stroke-linejoin': 'round',
    }
    return Markup(ElementTree.tostring(root, encoding='unicode', short_empty_elements=False))


def _targets(root: ElementTree.Element) -> list[str]:
    """Return the ids that are referenced, in the order of the file."""
    used: dict[str, None] = {}
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == 'href':
                used[value[1:]] = None
            used.update(dict.fromkeys(_REFERENCE.findall(value)))
    return list(used)


def _local(name: str) -> str:
    return name.rpartition('}')[2]


def _size_only(match: re.Match[str]) -> str:
    weight = next((word for word in match[1].split() if word == 'bold' or word.isdigit()), '')
    return f'font-size: {match[2]}' + (f'; font-weight: {weight}' if weight else '')
