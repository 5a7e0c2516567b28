"""Corruptions of 224-pixel crops equal the formulas of ImageNet-C's own code."""

from io import BytesIO

import cv2
import numpy as np
import pytest
import skimage
from PIL import Image
from scipy import ndimage

from adasap_det.robustness.corruptions import SEVERITIES, corrupt_severities, corruption_seed
from adasap_det.robustness.corruptions import imagenet_c as module
from adasap_det.robustness.corruptions.clean_image import CleanImage
from adasap_det.robustness.corruptions.frost import FROST, load_ice
from adasap_det.robustness.corruptions.seeds import generator

from ...helpers.corruption_images import photograph


@pytest.fixture(scope='module')
def image():
    return photograph(224, 224)


def corrupted(image, corruption, severity):
    found = corrupt_severities(
        image, corruption=corruption, severities=[severity], image_id='x', like_imagenet_c=True
    )
    return found[severity]


def field(draw, image, corruption, severity):
    seed = corruption_seed(image_id='x', corruption=corruption, severity=severity, seed=0)
    return draw(generator(seed), CleanImage(image), severity)


def assert_equal(ours, theirs):
    difference = np.abs(ours.astype(int) - np.uint8(theirs).astype(int))
    assert (difference <= 1).mean() >= 0.999
    assert difference.max() <= 2


# Reach, sigma and shift of the source, multiplied out.
ELASTIC = (
    (488, 170.8, 24.4),
    (488, 19.52, 48.8),
    (12.2, 2.44, 4.88),
    (17.08, 2.44, 4.88),
    (29.28, 2.44, 4.88),
)


@pytest.mark.parametrize('severity', SEVERITIES)
def test_elastic_transform(image, severity):
    reach, sigma, shift = ELASTIC[severity - 1]
    corners, shifts = field(module.draw_elastic, image, 'elastic_transform', severity)
    x = image.astype(np.float32) / 255
    # A square of 2 * 74 pixels around the centre, three of its corners.
    before = np.float32([[186, 186], [186, 38], [38, 38]])
    after = before + np.float32(shift * corners)
    affine = cv2.getAffineTransform(before, after)
    x = cv2.warpAffine(x, affine, (224, 224), borderMode=cv2.BORDER_REFLECT_101)
    dx, dy = (
        ndimage.gaussian_filter(part.astype(float), sigma, mode='reflect', truncate=3) * reach
        for part in shifts
    )
    rows, columns = np.mgrid[:224, :224]
    planes = [
        ndimage.map_coordinates(plane, [rows + dy, columns + dx], order=1, mode='reflect')
        for plane in cv2.split(x)
    ]
    theirs = np.clip(np.stack(planes, axis=2), 0, 1) * 255
    assert_equal(corrupted(image, 'elastic_transform', severity), theirs)
    assert np.abs(theirs - image).mean() > 3


@pytest.mark.parametrize('severity', SEVERITIES)
def test_frost(image, severity):
    index, top, left = field(module.draw_frost, image, 'frost', severity)
    clear, icy = FROST[severity - 1]
    ice = load_ice(index)[top : top + 224, left : left + 224]
    assert ice.shape == (224, 224, 3)
    assert_equal(corrupted(image, 'frost', severity), np.clip(clear * image + icy * ice, 0, 255))


def test_frost_draws_five_photographs_and_all_crops(image):
    rng, clean = np.random.default_rng(0), CleanImage(image)
    draws = np.array([module.draw_frost(rng, clean, 1) for _ in range(4000)])
    assert np.bincount(draws[:, 0]).tolist() == pytest.approx([800] * 5, rel=0.15)
    for index in range(5):
        height, width = load_ice(index).shape[:2]
        top, left = draws[draws[:, 0] == index, 1:].max(axis=0)
        assert 0.97 < top / (height - 225) <= 1 and 0.97 < left / (width - 225) <= 1


def contrast(x, severity):
    factor = [0.4, 0.3, 0.2, 0.1, 0.05][severity - 1]
    means = x.mean(axis=(0, 1))
    return np.clip((x - means) * factor + means, 0, 1) * 255


def brightness(x, severity):
    hsv = skimage.color.rgb2hsv(x)
    hsv[..., 2] = np.clip(hsv[..., 2] + severity / 10, 0, 1)
    return skimage.color.hsv2rgb(hsv) * 255


def pixelate(x, severity):
    side = int(224 * [0.6, 0.5, 0.4, 0.3, 0.25][severity - 1])
    small = Image.fromarray(np.uint8(np.round(x * 255))).resize((side, side), Image.Resampling.BOX)
    return np.array(small.resize((224, 224), Image.Resampling.BOX))


def jpeg_compression(x, severity):
    stream = BytesIO()
    quality = [25, 18, 15, 10, 7][severity - 1]
    Image.fromarray(np.uint8(np.round(x * 255))).save(stream, 'JPEG', quality=quality)
    return np.array(Image.open(stream))


def zoom_blur(x, severity):
    last, step = [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)][
        severity - 1
    ]
    factors = np.arange(1, last, step)
    total = x.astype(np.float32)
    for factor in factors:
        side = int(np.ceil(224 / factor))
        start = (224 - side) // 2
        part = np.float32(x)[start : start + side, start : start + side]
        large = ndimage.zoom(part, (factor, factor, 1), order=1)
        trim = (len(large) - 224) // 2
        total = total + large[trim : trim + 224, trim : trim + 224]
    return np.clip(total / (len(factors) + 1), 0, 1) * 255


def defocus_blur(x, severity):
    radius, blur = [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)][severity - 1]
    reach, size = (8, 3) if radius <= 8 else (radius, 5)
    square = np.arange(-reach, reach + 1) ** 2
    disk = np.float32(square[:, None] + square <= radius**2)
    kernel = cv2.GaussianBlur(disk / disk.sum(), (size, size), sigmaX=blur)
    return np.clip(cv2.filter2D(x, -1, kernel), 0, 1) * 255


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize(
    'formula', [contrast, brightness, pixelate, jpeg_compression, zoom_blur, defocus_blur]
)
def test_the_others_without_random_numbers(image, formula, severity):
    assert_equal(corrupted(image, formula.__name__, severity), formula(image / 255, severity))


def test_other_sizes_are_rejected():
    with pytest.raises(ValueError, match=r'160 x 224 pixels, but .* 224 x 224; crop it first'):
        corrupted(photograph(224, 160), 'frost', 1)
