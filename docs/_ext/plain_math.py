"""Formulas as plain text, since MathJax would be loaded from the network."""

from __future__ import annotations

import html
import re
from typing import Any, NoReturn

from docutils import nodes
from sphinx.application import Sphinx

_LETTERS = {
    'rho': '\N{GREEK SMALL LETTER RHO}',
    'theta': 'θ',
    'sum': 'Σ',
    'cdot': '· ',
    'epsilon': 'ε',
    'eta': 'η',
    'le': '≤',
}


def plain(formula: str) -> str:
    """Return a formula of a docstring without its backslashes; only a few commands are supported.

    Raises:
        ValueError: If a command is not supported.
    """

    def letter(match: re.Match[str]) -> str:
        if match[1] not in _LETTERS:
            raise ValueError(f'{match[0]} of {formula!r} is not supported; add it to {__file__}')
        return _LETTERS[match[1]]

    return re.sub(r'\\([a-zA-Z]+) ?', letter, formula)


def _inline(self: Any, node: nodes.math) -> NoReturn:
    self.body.append(f'<i>{html.escape(plain(node.astext()))}</i>')
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> NoReturn:
    self.body.append(f'<p><i>{html.escape(plain(node.astext()))}</i></p>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer; called by Sphinx."""
    app.add_html_math_renderer('plain', (_inline, None), (_block, None))
    return {'parallel_read_safe': True}
