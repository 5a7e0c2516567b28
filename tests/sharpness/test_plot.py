import re

import numpy as np
import pytest
import torch

from adasap_det.sharpness import plot

STEPS = [-1.0, 0.0, 1.0]
LINES = {
    'sharp': torch.tensor([[4.0, 1.0, 5.0], [6.0, 1.0, 7.0]], dtype=torch.float64),
    'flat': torch.tensor([[2.0, 1.5, 2.0], [2.0, 1.5, float('inf')]], dtype=torch.float64),
}
PLANES = {
    'sharp': torch.tensor([[9.0, 4, 9], [5, 1, 5], [8, 3, 7]], dtype=torch.float64),
    'flat': torch.full((3, 3), 2.0, dtype=torch.float64),
}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn, recorded in place of saving them."""
    figures = []
    monkeypatch.setattr(plot, '_save', lambda figure, path: figures.append(figure))
    return figures


def texts(path):
    return re.findall(r'<!-- (.*?) -->', path.read_text())


def test_curve_is_mean_with_min_max_band(drawn, tmp_path):
    plot.plot_lines(LINES, STEPS, tmp_path / 'lines.svg')
    (axes,) = drawn[0].axes
    curves = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_array_equal(curves['sharp'], [5, 1, 6])
    np.testing.assert_array_equal(curves['flat'], [2, 1.5, 2])  # without what is not finite
    for band, (low, high) in zip(axes.collections, [(1, 7), (1.5, 2)], strict=True):
        heights = band.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == (low, high)
    assert axes.get_yscale() == 'linear'
    looks = {(line.get_color(), line.get_marker()) for line in axes.lines[:2]}
    assert len(looks) == 2


def test_wide_range_uses_log_axis(drawn, tmp_path):
    far = {'far': torch.tensor([[90.0, 1.0, 11.0]], dtype=torch.float64)}
    plot.plot_lines(far, STEPS, tmp_path / 'lines.svg')
    below = {'below': torch.tensor([[90.0, -1.0, 11.0]], dtype=torch.float64)}
    plot.plot_lines(below, STEPS, tmp_path / 'lines.svg')
    assert [figure.axes[0].get_yscale() for figure in drawn] == ['log', 'linear']


def test_panels_share_contour_levels(drawn, tmp_path):
    plot.plot_planes(PLANES, STEPS, tmp_path / 'planes.svg')
    panels = [axes for axes in drawn[0].axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ['sharp', 'flat']
    for axes in panels:
        np.testing.assert_allclose(axes.collections[0].levels, np.linspace(1, 9, 13))


def test_first_direction_is_horizontal(drawn, tmp_path):
    rising = torch.tensor([[1.0, 1, 1], [2, 2, 2], [3, 3, 3]], dtype=torch.float64)
    plot.plot_planes({'rising': rising}, STEPS, tmp_path / 'planes.svg')
    lowest = drawn[0].axes[0].collections[0].get_paths()[0].vertices
    assert lowest[:, 0].max() < -0.8  # a strip at the left, over the whole height
    assert (lowest[:, 1].min(), lowest[:, 1].max()) == (-1, 1)


def test_plot_file_is_complete_and_names_the_networks(tmp_path):
    plot.plot_lines(LINES, STEPS, tmp_path / 'lines.svg')
    many = {f'net {index}': plane for index in range(2) for plane in PLANES.values()}
    many |= {f'other {index}': PLANES['sharp'] * 100 for index in range(3)}
    plot.plot_planes(many, STEPS, tmp_path / 'planes.svg')
    assert {'sharp', 'flat', 'loss'} <= set(texts(tmp_path / 'lines.svg'))
    assert {*many, 'loss'} <= set(texts(tmp_path / 'planes.svg'))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['lines.svg', 'planes.svg']


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('value', [0.0, -3.0, float('nan')])
def test_constant_or_nonfinite_values_are_plotted(tmp_path, value):
    same = torch.full((3, 3), value, dtype=torch.float64)
    plot.plot_lines({'same': same}, STEPS, tmp_path / 'lines.svg')
    plot.plot_planes({'same': same}, STEPS, tmp_path / 'planes.svg')
    assert 'same' in texts(tmp_path / 'planes.svg')
