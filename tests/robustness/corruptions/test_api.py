"""Corruptions equal the reference for the same random field; properties of the API."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from adasap_det.robustness.corruptions import (
    BENCHMARK,
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
    corrupt_severities,
)

from ...helpers.corruption_images import photograph
from ...helpers.corruption_reference import BY_DISTRIBUTION, IMAGE_ID, same_field

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get('ADASAP_SHARED', ROOT.parent / 'shared'))


def differences(image, corruption, severity, monkeypatch):
    with monkeypatch.context() as patch:
        theirs = same_field(image, corruption, severity, patch)
    ours = corrupt(image, corruption=corruption, severity=severity, image_id=IMAGE_ID)
    assert ours.dtype == np.uint8
    assert ours.shape == image.shape
    return np.abs(ours.astype(int) - theirs.astype(int))


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('corruption', [c for c in CORRUPTIONS if c not in BY_DISTRIBUTION])
@pytest.mark.parametrize('size', [(93, 121), (32, 47), (130, 33), (86, 320)])
def test_equals_the_reference(corruption, severity, size, monkeypatch):
    difference = differences(photograph(*size), corruption, severity, monkeypatch)
    assert (difference <= 1).mean() >= 0.999
    assert difference.max() <= 2


@pytest.mark.slow
@pytest.mark.parametrize('corruption', [c for c in CORRUPTIONS if c not in BY_DISTRIBUTION])
def test_equals_the_reference_on_a_photograph(corruption, monkeypatch):
    folder = SHARED / 'data/voc-mini/VOCdevkit/VOC2012/JPEGImages'
    if not folder.is_dir():
        pytest.skip(f'no photographs at {folder}')
    image = cv2.imread(str(sorted(folder.glob('*.jpg'))[3]))[..., ::-1].copy()
    for severity in (1, 3, 5):
        difference = differences(image, corruption, severity, monkeypatch)
        assert (difference <= 1).mean() >= 0.999
        assert difference.max() <= 2


@pytest.mark.parametrize('corruption', CORRUPTIONS)
def test_flat_grey_image_equals_the_reference(corruption, monkeypatch):
    """Hue is undefined, and all pixels round in the same direction."""
    if corruption in BY_DISTRIBUTION:
        pytest.skip('compared by distribution in test_noise.py')
    image = np.full((40, 52, 3), 100, np.uint8)
    assert differences(image, corruption, 5, monkeypatch).max() <= 2


@pytest.mark.parametrize('corruption', CORRUPTIONS)
def test_several_severities_at_once_equal_single_ones(corruption):
    image = photograph()
    together = corrupt_severities(image, corruption=corruption, severities=SEVERITIES, image_id='x')
    assert list(together) == [1, 2, 3, 4, 5]
    for severity in reversed(SEVERITIES):
        alone = corrupt(image, corruption=corruption, severity=severity, image_id='x')
        np.testing.assert_array_equal(together[severity], alone)


@pytest.mark.parametrize('corruption', CORRUPTIONS)
def test_random_fields_depend_only_on_image_id_and_seed(corruption):
    image = photograph()

    def digest(**options):
        return corrupt(image, corruption=corruption, severity=3, **options).tobytes()

    assert digest(image_id='x') == digest(image_id='x', seed=0)
    deterministic = {'defocus_blur', 'zoom_blur', 'brightness', 'contrast', 'pixelate'}
    deterministic |= {'jpeg_compression', 'gaussian_blur', 'saturate'}
    for other in (digest(image_id='y'), digest(image_id='x', seed=1)):
        assert (other == digest(image_id='x')) == (corruption in deterministic)


def digests(names):
    image = photograph(64, 80)
    found = {}
    for name in names:
        for severity in SEVERITIES:
            result = corrupt(image, corruption=name, severity=severity, image_id='dir/1')
            found[name, severity] = hashlib.sha256(result.tobytes()).hexdigest()
    return found


@pytest.mark.slow
def test_bytes_do_not_depend_on_process_and_order():
    code = (
        'from tests.robustness.corruptions.test_api import digests, CORRUPTIONS; '
        'print(sorted(digests(reversed(CORRUPTIONS)).items()))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONHASHSEED': '7', 'PYTHONPATH': str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith(str(sorted(digests(CORRUPTIONS).items())))


@pytest.mark.parametrize('corruption', BENCHMARK)
def test_input_image_is_not_modified(corruption):
    image = photograph()
    before = image.copy()
    corrupt(image, corruption=corruption, severity=2, image_id='x')
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize('corruption', CORRUPTIONS)
def test_grey_and_rgba_images(corruption):
    grey = photograph()[..., 1]
    stacked = np.repeat(grey[..., None], 3, axis=2)
    options = dict(corruption=corruption, severity=4, image_id='x')
    expected = corrupt(stacked, **options)
    np.testing.assert_array_equal(corrupt(grey, **options), expected)
    np.testing.assert_array_equal(corrupt(grey[..., None], **options), expected)
    rgba = np.dstack([stacked, np.zeros_like(grey)])
    np.testing.assert_array_equal(corrupt(rgba, **options), expected)


def test_non_contiguous_views():
    image = photograph()
    options = dict(corruption='glass_blur', severity=2, image_id='x')
    flipped = corrupt(image[:, ::-1], **options)
    np.testing.assert_array_equal(flipped, corrupt(image[:, ::-1].copy(), **options))


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((40, 40, 3), np.float32), 'uint8, got float32'),
        ([[0]], 'uint8, got list'),
        (np.zeros((40, 40, 2), np.uint8), r'got \(40, 40, 2\)'),
        (np.zeros((31, 40, 3), np.uint8), '40x31 pixels.*at least 32x32'),
    ],
)
def test_invalid_images_are_rejected(image, message):
    with pytest.raises(ValueError, match=message):
        corrupt(image, corruption='fog', severity=1, image_id='x')


def test_unknown_corruptions_and_severities_are_rejected():
    image = photograph()
    with pytest.raises(ValueError, match=r"unknown corruption 'haze'; choose from gaussian_noise"):
        corrupt(image, corruption='haze', severity=1, image_id='x')
    with pytest.raises(ValueError, match='set of corruptions'):
        corrupt(image, corruption='noise', severity=1, image_id='x')
    for severity in (0, 6, True, 2.5):
        with pytest.raises(ValueError, match='is not one of 1, 2, 3, 4, 5'):
            corrupt(image, corruption='fog', severity=severity, image_id='x')
