"""Render the self-contained HTML page."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

import adasap_det
from adasap_det.robustness.report.channel_tables import channel_tables
from adasap_det.robustness.report.comparison import Comparison
from adasap_det.robustness.report.embedded_images import image_rows
from adasap_det.robustness.report.facts import facts, missing_cells
from adasap_det.robustness.report.figures.channel_bars import channel_bars
from adasap_det.robustness.report.figures.curves import severity_curves
from adasap_det.robustness.report.figures.heat_maps import difference_maps, heat_maps
from adasap_det.robustness.report.figures.legend import line_keys
from adasap_det.robustness.report.figures.scatter import scatters
from adasap_det.robustness.report.tables import (
    by_class,
    by_corruption,
    by_layer,
    by_part,
    headline,
)
from adasap_det.robustness.report.text import clean
from adasap_det.utils.plot_style import mark

# Images per line; further models continue on the next line.
_COLUMNS = 4


def render_page(comparison: Comparison, *, title: str) -> str:
    """Render the page. The output is deterministic.

    Args:
        comparison: The models.
        title: Heading of the page; escaped like all names.

    Raises:
        ValueError: If an image is outside the results folder or numbers of channels are invalid.
    """
    content = {
        'heat_maps': heat_maps(comparison),
        'difference_maps': difference_maps(comparison),
        'curves': severity_curves(comparison),
        'scatters': scatters(comparison),
        'images': image_rows(comparison),
        'classes': by_class(comparison) if comparison.classes else None,
        'channels': [
            {
                'table': table,
                'parts': by_part(comparison, table),
                'layers': by_layer(comparison, table),
                'figures': channel_bars(table, f'channels-{number}'),
            }
            for number, table in enumerate(channel_tables(comparison))
        ],
    }
    sections = [
        ('models', 'Models', True),
        ('severity-map', 'Corruption and severity', content['heat_maps']),
        ('curves', 'Severity curves', content['curves']),
        ('scatter', 'Clean and corrupted', content['scatters']),
        ('corruptions', 'By corruption', comparison.corruptions),
        ('classes', 'By class', content['classes']),
        ('images', 'Example images', content['images']),
        ('channels', 'Channels', content['channels']),
        ('measured', 'Evaluation details', True),
    ]
    return _environment().get_template('page.html.j2').render(
        title=title,
        comparison=comparison,
        several=len(comparison.names) > 1,
        num_images=comparison.results[0].cells[None, 0].images,
        sections=[(key, label) for key, label, content in sections if content],
        marks=[mark(index) for index in range(len(comparison.names))],
        keys=line_keys(comparison) if content['curves'] else [],
        headline=headline(comparison),
        corruptions=by_corruption(comparison),
        facts=facts(comparison),
        missing=missing_cells(comparison),
        columns=min(len(comparison.names), _COLUMNS),
        version=adasap_det.__version__,
        **content,
    )  # fmt: skip


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader('adasap_det.robustness.report', ''),
        autoescape=select_autoescape(enabled_extensions=('html.j2',), default=True),
        undefined=StrictUndefined,
        finalize=_printable,
        keep_trailing_newline=True,
    )


def _printable(value: object) -> object:
    """Remove characters that are invalid in HTML from everything that the template prints."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
