"""Switch off YAPF's formatting of configs, which takes a quarter of a short training run.

MMEngine formats a detector's config at the start of every run and for every checkpoint, a second
each time. To be imported before MMEngine, which imports the function.
"""

from __future__ import annotations

from typing import Any

import yapf.yapflib.yapf_api as yapf_api


def unformatted(text: str, **options: Any) -> tuple[str, bool]:
    """Replacement of YAPF's ``FormatCode``: the text, and whether it was changed."""
    return text, False


yapf_api.FormatCode = unformatted
