"""Configs are written as they are, without YAPF's line breaks.

MMEngine has YAPF format a detector's config at every run's start and in every checkpoint, a second
each time: a quarter of a short training run. Imported before MMEngine, which keeps the function.
"""

from __future__ import annotations

from typing import Any

import yapf.yapflib.yapf_api as yapf_api


def unformatted(text: str, **options: Any) -> tuple[str, bool]:
    """In place of YAPF's ``FormatCode``: the text and whether it was changed."""
    return text, False


yapf_api.FormatCode = unformatted
