from colorsys import rgb_to_hsv

import numpy as np
import pytest

from adasap_det.datasets import shape_scene
from adasap_det.datasets.shape_outlines import SHAPE_CLASSES, area, outline, place
from adasap_det.datasets.shape_scene import coverage, draw_scene

SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def test_coverage_of_a_rectangle_on_pixel_borders_is_exact():
    # Corners (3, 4) and (7, 6): columns 3 to 6, rows 4 and 5.
    corners = np.array([[3.0, 4.0], [7.0, 4.0], [7.0, 6.0], [3.0, 6.0]])
    covered = coverage([corners], 12)
    expected = np.zeros((12, 12), dtype=bool)
    expected[4:6, 3:7] = True
    # OpenCV also fills the pixels on the border of a polygon: a quarter pixel on the fine grid.
    assert np.array_equal(covered >= 0.5, expected)
    assert covered[expected].min() == 1.0


@pytest.mark.parametrize('name', SHAPE_CLASSES)
def test_coverage_has_the_area_of_the_shape(name):
    contours = place(outline(name), centre=(50.0, 50.0), radius=30.0, angle=0.3)
    assert coverage(contours, 100).sum() == pytest.approx(area(contours), rel=0.05)


def test_hole_of_a_ring_is_empty():
    covered = coverage(place(outline('ring'), centre=(20.0, 20.0), radius=15.0), 40)
    assert covered[20, 20] == 0
    assert covered[20, 20 + 11] == 1


def test_scene_is_determined_by_the_seed():
    first, again, other = (draw_scene(np.random.default_rng(seed), size=64) for seed in (5, 5, 6))
    assert np.array_equal(first.image, again.image)
    assert [o.box for o in first.objects] == [o.box for o in again.objects]
    assert not np.array_equal(first.image, other.image)


def test_objects_describe_the_scene():
    names = set()
    for seed in range(60):
        scene = draw_scene(np.random.default_rng(seed), size=96)
        assert scene.image.shape == (96, 96, 3)
        assert scene.image.dtype == np.uint8
        assert 1 <= len(scene.objects) <= 3
        taken = np.zeros((96, 96), dtype=int)
        for shape in scene.objects:
            x0, y0, x1, y1 = shape.box
            ys, xs = np.nonzero(shape.mask)
            assert (x0, y0, x1, y1) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            taken += shape.mask
            names.add(shape.name)
        # No pixel belongs to two shapes.
        assert taken.max() == 1
    assert names == set(SHAPE_CLASSES)


def test_box_covers_the_visible_part_only():
    # A square of columns and rows 10 to 29, the right 8 columns of it hidden by another.
    below = coverage(place([SQUARE], centre=(20.0, 20.0), radius=10.0), 60)
    above = coverage(place([SQUARE], centre=(37.0, 20.0), radius=15.0), 60)
    masks = shape_scene._visible([below, above])
    assert shape_scene.SceneObject('square', masks[0], truncated=False).box == (10, 10, 22, 30)
    assert shape_scene.SceneObject('square', masks[1], truncated=False).box == (22, 5, 52, 35)


def test_visible_fraction_includes_the_area_outside_the_image():
    # Of a square of 20 by 20 pixels centred at the border, half is in the image.
    half_out = place([SQUARE], centre=(0.0, 30.0), radius=10.0)
    assert not shape_scene._enough_visible([coverage(half_out, 60)], [area(half_out)])
    inside = place([SQUARE], centre=(10.0, 30.0), radius=10.0)
    assert shape_scene._enough_visible([coverage(inside, 60)], [area(inside)])


def test_shapes_contrast_with_the_background():
    # The same scene with and without its first shape differs where the shape is.
    rng = np.random.default_rng(0)
    image = np.full((60, 60, 3), 90.0, dtype=np.float32)
    alpha = coverage(place(outline('star'), centre=(30.0, 30.0), radius=20.0), 60)
    before = image.copy()
    shape_scene._paint(rng, image, alpha)
    assert np.array_equal(image[alpha == 0], before[alpha == 0])
    assert np.linalg.norm((image - before)[alpha == 1].mean(axis=0)) > 40


def test_colour_says_nothing_about_the_class():
    # Mean hue direction of each class; with a usual hue for each they would be far from zero.
    directions = {name: [] for name in SHAPE_CLASSES}
    for seed in range(400):
        scene = draw_scene(np.random.default_rng([1, seed]), size=48)
        for shape in scene.objects:
            red, green, blue = scene.image[shape.mask].mean(axis=0) / 255
            angle = 2 * np.pi * rgb_to_hsv(red, green, blue)[0]
            directions[shape.name].append(np.exp(1j * angle))
    for name, found in directions.items():
        assert len(found) > 80
        assert abs(np.mean(found)) < 0.3, name


def test_scenes_vary_in_lightness_and_contrast():
    images = [draw_scene(np.random.default_rng([2, k]), size=48).image for k in range(200)]
    lightness = np.array([image.mean() for image in images])
    contrast = np.array([image.std() for image in images])
    assert np.quantile(lightness, 0.1) < 75 < 145 < np.quantile(lightness, 0.9)
    assert np.quantile(contrast, 0.9) > 2 * np.quantile(contrast, 0.1)


def test_light_keeps_the_order_and_halves_the_contrast_at_most():
    image = np.linspace(0, 255, 64, dtype=np.float32).reshape(8, 8)
    for seed in range(20):
        lit = shape_scene._lit(np.random.default_rng(seed), image)
        assert 127 < np.ptp(lit) <= 255.01
        assert np.all(np.diff(lit.ravel()) > 0)
