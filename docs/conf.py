"""Sphinx configuration of the docs: ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / '_ext')]

import adasap_det  # noqa: E402

project = 'adasap_det'
author = 'The adasap_det contributors'
project_copyright = author
version = release = adasap_det.__version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
extensions += ['command_lines', 'plain_math']
myst_heading_anchors = 3
exclude_patterns = ['scripts', '_ext']

html_theme = 'furo'
html_title = f'adasap_det {release}'
# Neither building nor reading the docs needs the network.
html_math_renderer = 'plain'
html_show_sphinx = False

# Overridden methods of MMEngine and PyTorch are documented there.
autodoc_inherit_docstrings = False
autodoc_member_order = 'bysource'
autodoc_default_options = {'members': True, 'show-inheritance': True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [('Source', 'returns_style')]

nitpicky = True
# Types of other packages: their documentation is online, and the build works offline.
nitpick_ignore_regex = [
    (r'py:.*', r'(torch|mmengine|numpy|npt|nn|os|pathlib|collections|concurrent|typing)\..*'),
    (r'py:.*', r'(Tensor|Optimizer|Path|Any|Runner|Config|optional)'),
]

# Anchors of other sites are often set by scripts, which linkcheck does not run.
linkcheck_anchors = False
linkcheck_timeout = 20
