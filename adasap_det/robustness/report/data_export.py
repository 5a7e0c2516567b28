"""Export the numbers of the report as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from adasap_det.robustness.metrics import ratio
from adasap_det.robustness.report.comparison import Comparison

SCHEMA = 1
_HEAD = ('model', 'corruption', 'severity', 'class', 'metric', 'value')


def to_csv(comparison: Comparison) -> str:
    """Return all values as CSV in long format, one value per line.

    Columns: model, corruption ('clean' for clean images, 'shifted: V2' for a shifted test set),
    severity (0 for both), class (empty for the mean over classes), metric, value (a fraction;
    empty where undefined).
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(_HEAD)
    for name, r in zip(comparison.names, comparison.results, strict=True):
        for cell in r.cells.values():
            where = (name, cell.corruption or 'clean', cell.severity)
            for metric, value in cell.metrics.items():
                writer.writerow((*where, '', metric, _number(value)))
            for metric, classes in cell.per_class.items():
                for label, value in classes.items():
                    writer.writerow((*where, label, metric, _number(value)))
        for other in r.shifted:
            for metric, value in other.metrics.items():
                writer.writerow((name, f'shifted: {other.name}', 0, '', metric, _number(value)))
    return buffer.getvalue()


def to_json(comparison: Comparison, *, title: str) -> str:
    """Return the numbers of the page as JSON: fractions, null where undefined.

    'mPC' and 'rPC' are null unless all models have all 75 cells of the benchmark; 'mean' is always
    the mean over the cells in 'cells'. 'mCE' and 'relative_mCE' are null except for top1 of
    ImageNet classifiers.
    """
    content = {
        'schema': SCHEMA,
        'title': title,
        'metric': comparison.metric,
        'baseline': comparison.names[comparison.baseline],
        'complete': comparison.complete,
        'cells': [list(key) for key in comparison.shared],
        'models': list(_models(comparison)),
    }
    return json.dumps(content, indent=1, allow_nan=False) + '\n'


def _models(comparison: Comparison) -> Iterator[dict[str, Any]]:
    complete = comparison.complete
    for index, (name, r) in enumerate(zip(comparison.names, comparison.results, strict=True)):
        mean, relative = comparison.mean(index), comparison.relative(index)
        yield {
            'name': name,
            'P': comparison.clean(index),
            'mPC': mean if complete else None,
            'rPC': relative if complete else None,
            'mCE': None if (error := comparison.corruption_error(index)) is None else error.mce,
            'relative_mCE': None if error is None else error.relative_mce,
            'mean': mean,
            'mean_over_P': relative,
            'shifted': {
                other: {
                    'value': (value := comparison.of_shifted(index, other)),
                    'value_over_P': ratio(value, comparison.clean(index)),
                }
                for other in comparison.shifted
            },
            'params': r.model.params,
            'macs': r.model.macs,
            'latency_ms': r.model.latency_ms,
            'device': r.model.device,
            'config': r.model.config,
            'checkpoint': r.model.checkpoint,
            'checkpoint_sha256': r.model.checkpoint_sha256,
            'images': r.cells[None, 0].images,
            'per_corruption': {
                corruption: comparison.of_corruption(index, corruption)
                for corruption in comparison.corruptions
            },
            'per_class': {
                label: {
                    'P': (clean := comparison.class_clean(index, label)),
                    'mean': (value := comparison.class_mean(index, label)),
                    'mean_over_P': ratio(value, clean),
                }
                for label in comparison.classes
            },
            'values': [[*key, value] for key, value in comparison.values[index].items()],
            'missing': [list(key) for key in comparison.missing(index)],
        }


def _number(value: float | None) -> str:
    return '' if value is None else repr(float(value))
