"""Decode image files to RGB, and encode them."""

from __future__ import annotations

import io
import struct
from pathlib import PurePath

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from adasap_det.robustness.benchmark.errors import ImageError

#: Suffixes of image files.
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
MIN_SIDE = 32

_SAMPLING = {
    '4:2:0': cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    '4:2:2': cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    '4:4:4': cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}
_PNG_START = b'\x89PNG\r\n\x1a\n'


def decode(data: bytes) -> np.ndarray:
    """Decode an image to the pixels of MMDetection's ``LoadImageFromFile``, in RGB.

    OpenCV decodes it and rotates it according to its EXIF tag.

    Args:
        data: Content of the file.

    Returns:
        uint8, shape ``(H, W, 3)``, both sides at least 32.

    Raises:
        ImageError: If the file is empty, damaged, truncated, not an image or too small.
    """
    if not data:
        raise ImageError('the file is empty')
    # OpenCV fills missing parts with grey, without an error.
    _check_complete(data)
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f'OpenCV cannot read this image ({error.err})') from None
    if bgr is None:
        raise ImageError('OpenCV cannot read this file: it is not an image, or damaged')
    height, width = bgr.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            f'it has {width} x {height} pixels; the corruptions need at least {MIN_SIDE} per side'
        )
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def centre_crop(rgb: np.ndarray, side: int) -> np.ndarray:
    """Resize an image and crop its centre, as for ImageNet-C.

    Equals torchvision's bilinear ``Resize`` and ``CenterCrop`` of a PIL image. The shorter side is
    resized to 256 for a crop of 224, and in proportion for other crops.

    Args:
        rgb: uint8, shape ``(H, W, 3)``.
        side: Side of the crop in pixels.

    Returns:
        uint8, shape ``(side, side, 3)``.
    """
    height, width = rgb.shape[:2]
    shorter = round(side * 256 / 224)
    if height <= width:
        size = (int(shorter * width / height), shorter)
    else:
        size = (shorter, int(shorter * height / width))
    resized = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))
    top, left = (round((length - side) / 2) for length in resized.shape[:2])
    return np.ascontiguousarray(resized[top : top + side, left : left + side])


def encode(rgb: np.ndarray, *, format: str, quality: int | None, subsampling: str | None) -> bytes:
    """Encode an image as the content of a file.

    Args:
        rgb: uint8, shape ``(H, W, 3)``.
        format: ``'jpg'`` (baseline, the standard's Huffman tables) or ``'png'``.
        quality, subsampling: JPEG options; unused for PNG.

    Raises:
        RuntimeError: If OpenCV cannot encode it.
    """
    if format == 'jpg':
        assert quality is not None and subsampling is not None
        flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
        flags += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[subsampling]]
    else:
        # OpenCV's default; explicit, since later versions might change it.
        flags = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    ok, data = cv2.imencode(f'.{format}', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), flags)
    if not ok:
        raise RuntimeError(f'OpenCV could not encode an image of shape {rgb.shape} as {format}')
    return data.tobytes()


def with_suffix(path: str, format: str) -> str:
    """Return the path of an image, with ``/`` between its parts, in another format."""
    suffix = PurePath(path).suffix
    same = suffix.lower() in (('.jpg', '.jpeg') if format == 'jpg' else (f'.{format}',))
    return path if same else f'{path[: len(path) - len(suffix)]}.{format}'


def _check_complete(data: bytes) -> None:
    if data.startswith(b'\xff\xd8'):
        _check_jpeg_ends(data)
    elif data.startswith(_PNG_START):
        _check_png_ends(data)
    else:
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
        except UnidentifiedImageError:  # its message has a memory address
            raise ImageError('this file is not an image, or damaged') from None
        except Exception as error:  # Pillow's plugins raise exceptions of many types
            raise ImageError(f'this file is damaged ({error})') from None


def _check_jpeg_ends(data: bytes) -> None:
    """Check that the JPEG has an end marker, other than that of an embedded thumbnail."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker, (length,) = data[position + 1], struct.unpack_from('>H', data, position + 2)
        if marker == 0xFF:  # padding
            position += 1
            continue
        position += 2 + length
        if marker == 0xDA:
            break
    else:
        # Decoders skip stray bytes between two segments.
        position = max(data.find(b'\xff\xda', position), position)
    # Entropy-coded data cannot contain FF D9, since FF is written as FF 00.
    if data.find(b'\xff\xd9', position) < 0:
        raise ImageError('the JPEG is truncated')


def _check_png_ends(data: bytes) -> None:
    position = len(_PNG_START)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, position)
        position += 12 + length
        if kind == b'IEND' and position <= len(data):
            return
    raise ImageError('the PNG is truncated')
