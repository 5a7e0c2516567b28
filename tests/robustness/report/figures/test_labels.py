from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from adasap_det.robustness.report.figures.labels import place_labels


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('spread', [1.0, 0.25])
def test_labels_do_not_overlap_and_stay_inside_the_axes(seed, spread):
    random = Random(seed)
    figure = Figure(figsize=(6, 5), dpi=72)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.12, 0.12, 0.85, 0.8))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    points = [
        (0.5 + spread * random.uniform(-0.4, 0.4), 0.5 + spread * random.uniform(-0.4, 0.4))
        for _ in range(8)
    ]
    names = [f'Model {i} with a name' for i in range(8)]
    place_labels(axes, points, names, radii=[6] * 8, colours=['black'] * 8)
    labels = [text for text in axes.texts if isinstance(text, Annotation)]
    assert [text.get_text() for text in labels] == names
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in labels]
    frame = axes.get_window_extent()
    for one, two in combinations(boxes, 2):
        assert not one.padded(-0.5).overlaps(two.padded(-0.5))
    for box in boxes:
        assert box.x0 >= frame.x0 - 1 and box.x1 <= frame.x1 + 1
        assert box.y0 >= frame.y0 - 1 and box.y1 <= frame.y1 + 1
        for x, y in axes.transData.transform(points):
            assert not box.padded(-0.5).contains(x, y)
