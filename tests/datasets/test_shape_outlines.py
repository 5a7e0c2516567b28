import numpy as np
import pytest

from adasap_det.datasets.shape_outlines import SHAPE_CLASSES, area, outline, place


def test_area_is_the_shoelace_formula_without_the_hole():
    square = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 3.0], [0.0, 3.0]])
    hole = np.array([[1.0, 1.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]])
    assert area([square]) == 12.0
    assert area([square, hole]) == 11.0
    # The direction of the corners does not matter.
    assert area([square[::-1], hole]) == 11.0


def test_areas_of_the_shapes():
    assert area(outline('square')) == pytest.approx((2 * 0.85) ** 2)
    # Two bars of 2 by 0.68 share a square of side 0.68.
    assert area(outline('cross')) == pytest.approx(2 * 2 * 0.68 - 0.68**2)
    # An equilateral triangle in a circle of radius r has the area 3 sqrt(3) / 4 r^2.
    assert area(outline('triangle')) == pytest.approx(3 * np.sqrt(3) / 4 * 1.1**2)
    assert area(outline('circle')) == pytest.approx(np.pi, rel=2e-3)
    assert area(outline('ring')) == pytest.approx(np.pi * (1 - 0.55**2), rel=2e-3)
    # Ten triangles with sides 1.1 and 0.48 about the centre, 36 degrees apart.
    assert area(outline('star')) == pytest.approx(5 * 1.1 * 0.48 * np.sin(np.pi / 5))


def test_place_stretches_then_rotates_then_moves():
    point = [np.array([[1.0, 0.0], [0.0, 1.0]])]
    moved = place(point, centre=(10.0, 20.0), radius=3.0, angle=np.pi / 2, stretch=2.0)
    # (1, 0) is stretched to (2, 0), rotated to (0, 2); (0, 1) to (0, 0.5), rotated to (-0.5, 0).
    np.testing.assert_allclose(moved[0], [[10.0, 26.0], [8.5, 20.0]], atol=1e-12)


@pytest.mark.parametrize('name', SHAPE_CLASSES)
def test_place_changes_the_area_by_the_square_of_the_radius(name):
    placed = place(outline(name), centre=(5.0, 6.0), radius=7.0, angle=1.0, stretch=1.3)
    assert area(placed) == pytest.approx(49 * area(outline(name)))


def test_error_names_an_unknown_shape():
    with pytest.raises(ValueError, match=r"'blob'.*circle, square"):
        outline('blob')
