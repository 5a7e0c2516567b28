"""CorruptImage in a pipeline gives the same result as corrupt."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS
from mmengine.registry import init_default_scope

from adasap_det.robustness.corruptions import corrupt
from adasap_det.robustness.transforms import CorruptImage

from ..helpers.corruption_images import photograph

RGB = photograph()


def sample(tmp_path, name='000001.png'):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), RGB[..., ::-1])
    return {'img_path': str(path), 'img_id': 7}


def build(**options):
    init_default_scope('mmdet')
    return TRANSFORMS.build(dict(type='CorruptImage', **options))


@pytest.mark.parametrize('corruption', ['frost', 'jpeg_compression', 'gaussian_noise'])
def test_after_mmdets_loader(tmp_path, corruption):
    """Input and output are BGR; the corruption is applied in RGB."""
    results = LoadImageFromFile()(sample(tmp_path))
    np.testing.assert_array_equal(results['img'], RGB[..., ::-1])
    results = build(corruption=corruption, severity=4, seed=3)(results)
    expected = corrupt(RGB, corruption=corruption, severity=4, image_id='000001', seed=3)
    np.testing.assert_array_equal(results['img'], expected[..., ::-1])
    assert results['img'].flags.c_contiguous


def test_rgb_pipelines():
    results = build(corruption='frost', severity=2, color_order='rgb')(
        {'img': RGB, 'img_path': 'a/b.jpg'}
    )
    expected = corrupt(RGB, corruption='frost', severity=2, image_id='b')
    np.testing.assert_array_equal(results['img'], expected)


@pytest.mark.parametrize(
    ('image_id', 'name'), [('stem', 'x'), ('img_id', '7'), ('root/images', 'sub/x.jpg')]
)
def test_image_names(image_id, name):
    results = {'img': RGB, 'img_path': 'root/images/sub/x.jpg', 'img_id': 7}
    transform = CorruptImage('impulse_noise', 1, image_id=image_id)
    expected = corrupt(RGB[..., ::-1], corruption='impulse_noise', severity=1, image_id=name)
    np.testing.assert_array_equal(transform(results)['img'], expected[..., ::-1])


def test_missing_keys_of_the_sample_are_named():
    transform = CorruptImage('fog', 1)
    with pytest.raises(ValueError, match=r'after LoadImageFromFile'):
        transform({})
    with pytest.raises(ValueError, match=r"requires results\['img_path'\].*\['img'\]"):
        transform({'img': RGB})
    with pytest.raises(ValueError, match="is not inside the folder image_id='other'"):
        CorruptImage('fog', 1, image_id='other')({'img': RGB, 'img_path': 'root/x.jpg'})
    with pytest.raises(ValueError, match=r'root/x.jpg: .*float32'):
        transform({'img': RGB.astype(np.float32), 'img_path': 'root/x.jpg'})


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(corruption='haze', severity=1), "unknown corruption 'haze'"),
        (dict(corruption='blur', severity=1), 'is a set'),
        (dict(corruption='fog', severity=6), 'severity 6'),
        (dict(corruption='fog', severity=1, color_order='gbr'), "got 'gbr'"),
    ],
)
def test_invalid_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        CorruptImage(**options)
