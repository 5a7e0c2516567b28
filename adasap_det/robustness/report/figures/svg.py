"""Drawings as SVG that stands inside an HTML page, several on one page."""

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
# The page's own family takes the place of matplotlib's, which up to 3.10 may stand in a shorthand:
# "font: 700 11px 'DejaVu Sans', sans-serif".
_FONT = re.compile(r'font: ((?:[a-z]+ |[1-9]00 )*)([\d.]+px) [^;]*')
_FAMILY = re.compile(r'font-family: [^;]*(?:; )?')
_STYLE: Any = {
    'svg.fonttype': 'none',
    # Names come from users: a dollar sign in one is a dollar sign.
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
class Drawing:
    """One figure of the page.

    Attributes:
        name: Unique on the page; ids inside the SVG begin with it.
        svg: The inline ``<svg>`` element.
        width, height: Natural size in CSS pixels.
    """

    name: str
    svg: Markup
    width: int
    height: int


def draw(
    name: str, alt: str, paint: Callable[[Figure], None], *, width: int, height: int
) -> Drawing:
    """Have a figure painted and turn it into inline SVG.

    One unit of the figure is one CSS pixel at natural size: a font size of 11 is 11 pixels. Text
    stays text and takes the font family of the page.

    Args:
        name: Unique on the page: letters, digits and hyphens.
        alt: What the figure shows, for those who do not see it.
        paint: Draws into the empty figure given to it.
        width, height: Natural size in CSS pixels.
    """
    buffer = io.BytesIO()
    # Not the user's own settings; the backend stays, as switching it would load pyplot.
    # Typed as Any: matplotlib 3.11 types the keys as literals, earlier versions as strings.
    settings: Any = {**matplotlib.rcParamsDefault, **_STYLE, 'svg.hashsalt': name}
    settings.pop('backend', None)
    with warnings.catch_warnings(), matplotlib.rc_context(settings):
        # The browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings('ignore', message='Glyph .* missing from')
        warnings.filterwarnings('ignore', message='Matplotlib currently does not support')
        warnings.filterwarnings('ignore', category=matplotlib.MatplotlibDeprecationWarning)
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasAgg(figure)  # which can measure text
        paint(figure)
        figure.savefig(buffer, format='svg', metadata={'Date': None, 'Creator': None})
    svg = _inline(buffer.getvalue(), name=name, alt=alt, width=width, height=height)
    return Drawing(name=name, svg=svg, width=width, height=height)


def _inline(data: bytes, *, name: str, alt: str, width: int, height: int) -> Markup:
    """Make a stand-alone SVG file one element of a page: no declarations, unique ids, no style
    sheet that would reach the rest of the page."""
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
        'class': 'drawing',
        'id': name,
        'role': 'img',
        'aria-label': alt,
        'viewBox': view,
        'width': str(width),
        'height': str(height),
        # What the style sheet of the file said for all elements.
        'stroke-linejoin': 'round',
    }
    return Markup(ElementTree.tostring(root, encoding='unicode', short_empty_elements=False))


def _targets(root: ElementTree.Element) -> list[str]:
    """The ids that something refers to, in the order of the file."""
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
