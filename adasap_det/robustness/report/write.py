"""Write the three files of the report together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from adasap_det.robustness.report.comparison import compare
from adasap_det.robustness.report.data_export import to_csv, to_json
from adasap_det.robustness.report.page import render_page
from adasap_det.robustness.results import ModelResults
from adasap_det.utils.io import atomic_write, sync

TITLE = 'Robustness report'


def write_report(
    results: Sequence[ModelResults],
    out_dir: str | os.PathLike[str],
    *,
    title: str = TITLE,
    metric: str | None = None,
    baseline: str | None = None,
) -> Path:
    """Write ``report.html``, a page that works offline, ``report.csv`` and ``report.json``.

    Args:
        results: Results of each model, on the same images.
        out_dir: Output folder, created if missing. Files of an earlier report are replaced
            atomically once all three new files are written.
        title: Heading of the page.
        metric: Metric to report; by default the first metric of the first model.
        baseline: Name of the model to compare the others with; by default the first.

    Returns:
        Path of the page.

    Raises:
        ValueError: If the models cannot be compared, the metric or baseline is unknown, a value
            is not in [0, 1], or ``out_dir`` is a file.
        OSError: If the files cannot be written; an earlier report is left unchanged.
    """
    comparison = compare(results, metric=metric, baseline=baseline)
    out = Path(out_dir)
    texts = {
        'report.csv': to_csv(comparison),
        'report.json': to_json(comparison, title=title),
        'report.html': render_page(comparison, title=title),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f'{out} is a file, not a folder; choose another output folder') from None
    _write_all(out, texts)
    return out / 'report.html'


def _write_all(out: Path, texts: dict[str, str]) -> None:
    """Write the files under other names first, so that a full disk costs none of the old ones."""
    with contextlib.ExitStack() as files:
        for name, text in texts.items():
            temporary = files.enter_context(atomic_write(out / name))
            temporary.write_bytes(text.encode('utf-8', errors='replace'))
            sync(temporary)
