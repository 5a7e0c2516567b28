"""Decoding image files to RGB, and encoding."""

from __future__ import annotations

import io
import struct
from pathlib import PurePath

import cv2
import numpy as np
from PIL import Image

from adasap_det.robustness.benchmark.errors import ImageError

#: Suffixes of files that are taken for images.
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
MIN_SIDE = 32

_SAMPLING = {
    '4:2:0': cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    '4:2:2': cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    '4:4:4': cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}
_PNG_START = b'\x89PNG\r\n\x1a\n'


def decode(data: bytes) -> np.ndarray:
    """The pixels that MMDetection's ``LoadImageFromFile`` gives, in RGB.

    Decoded by OpenCV, which rotates an image according to its EXIF tag.

    Args:
        data: A whole file.

    Returns:
        uint8, shape ``(H, W, 3)``, both sides at least 32.

    Raises:
        ImageError: If the file is empty, damaged, cut off, no image or too small.
    """
    if not data:
        raise ImageError('the file is empty')
    # OpenCV fills missing parts with grey, without an error.
    _check_whole(data)
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f'this is no image that OpenCV reads ({error.err})') from None
    if bgr is None:
        raise ImageError('this is no image that OpenCV reads, or it is damaged')
    height, width = bgr.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            f'it has {width} x {height} pixels; the corruptions need {MIN_SIDE} a side'
        )
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def centre_crop(rgb: np.ndarray, side: int) -> np.ndarray:
    """The middle of the image, its shorter side resized to 256 for a crop of 224 and so on.

    As ImageNet-C was made: torchvision's ``Resize`` and ``CenterCrop`` of a PIL image, bilinear.

    Args:
        rgb: uint8, shape ``(H, W, 3)``.
        side: Of the crop, in pixels.

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
    """A file of the image.

    Args:
        rgb: uint8, shape ``(H, W, 3)``.
        format: ``'jpg'`` (baseline, the standard's Huffman tables) or ``'png'``.
        quality, subsampling: Of a JPEG.

    Raises:
        RuntimeError: If OpenCV refuses.
    """
    if format == 'jpg':
        assert quality is not None and subsampling is not None
        flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
        flags += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[subsampling]]
    else:
        # Level 1 is OpenCV's default for speed; explicit, since later versions might change it.
        flags = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, data = cv2.imencode(f'.{format}', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), flags)
    if not done:
        raise RuntimeError(f'OpenCV could not encode an image of shape {rgb.shape} as {format}')
    return data.tobytes()


def with_suffix(path: str, format: str) -> str:
    """``path``, with ``/`` between its parts, for an image in another format."""
    suffix = PurePath(path).suffix
    same = suffix.lower() in (('.jpg', '.jpeg') if format == 'jpg' else (f'.{format}',))
    return path if same else f'{path[: len(path) - len(suffix)]}.{format}'


def _check_whole(data: bytes) -> None:
    if data.startswith(b'\xff\xd8'):
        _check_jpeg_ends(data)
    elif data.startswith(_PNG_START):
        _check_png_ends(data)
    else:
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
        except Exception as error:  # Pillow's plugins raise nearly anything
            raise ImageError(f'this is no image, or it is damaged ({error})') from None


def _check_jpeg_ends(data: bytes) -> None:
    """Look for the end of the image itself: an embedded thumbnail has an end of its own."""
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
        # Stray bytes between two segments, which decoders skip.
        position = max(data.find(b'\xff\xda', position), position)
    # Coded data cannot hold FF D9: it writes FF as FF 00.
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
