from __future__ import annotations

import io

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from PIL import Image
from torchvision import transforms

from adasap_det.robustness.benchmark.errors import ImageError
from adasap_det.robustness.benchmark.image_codec import centre_crop, decode, encode, with_suffix

from ...helpers.corruption_images import photograph
from ...helpers.source_trees import image


def as_file(rgb: np.ndarray, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, format, **options)
    return file.getvalue()


def with_thumbnail() -> bytes:
    """Return a JPEG with a thumbnail, a JPEG with an end marker, in its EXIF data."""
    data = as_file(image(0), 'JPEG')
    inner = b'Exif\0\0' + as_file(image(1), 'JPEG')
    return data[:2] + b'\xff\xe1' + (len(inner) + 2).to_bytes(2, 'big') + inner + data[2:]


def with_stray_bytes() -> bytes:
    """Return a JPEG with four bytes between the first two segments."""
    data = as_file(image(0), 'JPEG')
    end = 4 + int.from_bytes(data[4:6], 'big')
    return data[:end] + bytes(4) + data[end:]


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return as_file(image(0), 'JPEG', exif=exif)


@pytest.mark.parametrize(
    'data',
    [
        as_file(image(0), 'JPEG'),
        as_file(image(0), 'JPEG', progressive=True),
        as_file(image(0)[..., 0], 'JPEG'),
        as_file(image(0), 'PNG'),
        as_file(image(0), 'BMP'),
        with_thumbnail(),
        rotated(),
        as_file(image(0), 'JPEG') + b'padding behind the end',
        with_stray_bytes(),
    ],
    ids=[
        'jpeg',
        'progressive',
        'grey',
        'png',
        'bmp',
        'thumbnail',
        'rotated',
        'padded',
        'stray bytes',
    ],
)
def test_decode_gives_the_pixels_that_mmdet_loads(data, tmp_path):
    path = tmp_path / 'image'
    path.write_bytes(data)
    loaded = TRANSFORMS.build(dict(type='LoadImageFromFile'))({'img_path': str(path)})['img']
    np.testing.assert_array_equal(decode(data), loaded[..., ::-1])


@pytest.mark.parametrize('make', [as_file, None], ids=['plain', 'thumbnail'])
@pytest.mark.parametrize('end', [0.3, 0.9, -1, -2])
def test_a_truncated_jpeg_raises(make, end):
    data = with_thumbnail() if make is None else as_file(image(0), 'JPEG')
    data = data[:end] if end < 0 else data[: int(len(data) * end)]
    with pytest.raises(ImageError, match='truncated'):
        decode(data)


def test_a_truncated_png_raises():
    data = as_file(image(0), 'PNG')
    for end in (len(data) // 2, len(data) - 1, len(data) - 12):
        with pytest.raises(ImageError, match='truncated'):
            decode(data[:end])


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'empty'),
        (b'hello, world', 'not an image'),
        (b'\xff\xd8\xff\xe0\x00\x04ab\xff\xda\x00\x04ab\xff\xd9', 'not an image'),
        (as_file(image(0, width=31, height=40), 'PNG'), '31 x 40 pixels'),
        (as_file(image(0, width=40, height=31), 'JPEG'), '40 x 31 pixels'),
        (as_file(image(0), 'BMP')[:2000], 'damaged'),
    ],
)
def test_unusable_images_raise(data, message):
    with pytest.raises(ImageError, match=message):
        decode(data)


def test_the_smallest_allowed_image():
    assert decode(as_file(image(0, width=32, height=32), 'JPEG')).shape == (32, 32, 3)


def test_png_is_lossless():
    rgb = image(0)
    np.testing.assert_array_equal(
        decode(encode(rgb, format='png', quality=None, subsampling=None)), rgb
    )


@pytest.mark.parametrize(
    ('subsampling', 'factors'), [('4:2:0', (2, 2)), ('4:2:2', (2, 1)), ('4:4:4', (1, 1))]
)
@pytest.mark.parametrize('quality', [60, 95])
def test_jpeg_has_the_requested_quality_and_subsampling(subsampling, factors, quality):
    rgb = image(0)
    data = encode(rgb, format='jpg', quality=quality, subsampling=subsampling)
    ours, pillows = (
        Image.open(io.BytesIO(file))
        for file in (data, as_file(rgb, 'JPEG', quality=quality, subsampling=subsampling))
    )
    assert ours.layer[0][1:3] == factors
    assert ours.quantization == pillows.quantization
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(pillows))


def test_with_suffix():
    assert with_suffix('a.b/c.JPG', 'jpg') == 'a.b/c.JPG'
    assert with_suffix('a.b/c.d.jpeg', 'png') == 'a.b/c.d.png'
    assert with_suffix('a.b/c.png', 'jpg') == 'a.b/c.jpg'
    assert with_suffix('a/c.png', 'png') == 'a/c.png'


@pytest.mark.parametrize('size', [(375, 500), (500, 333), (64, 64), (257, 255), (1000, 401)])
@pytest.mark.parametrize('side', [224, 96])
def test_centre_crop_equals_torchvision(size, side):
    """ImageNet-C was cropped by torchvision."""
    image = photograph(*size)
    reference = transforms.Compose(
        [transforms.Resize(round(side * 256 / 224)), transforms.CenterCrop(side)]
    )
    expected = np.asarray(reference(Image.fromarray(image)))
    assert np.array_equal(centre_crop(image, side), expected)
