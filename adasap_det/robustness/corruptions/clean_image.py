"""The image to corrupt, with intermediate results that several severities use."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch

MIN_SIDE = 32
"""As in the reference; some corruptions do not work on smaller images."""


class CleanImage:
    """An image, with intermediate results computed once for all severities.

    Args:
        image: uint8 RGB, shape ``(H, W, 3)``. Use :func:`as_rgb` for other images.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.image = np.ascontiguousarray(image)
        self.memo: dict[Any, Any] = {}

    @property
    def height(self) -> int:
        return self.image.shape[0]

    @property
    def width(self) -> int:
        return self.image.shape[1]

    @cached_property
    def float32(self) -> np.ndarray:
        """Values of 0 to 255 in float32, ``(H, W, 3)``."""
        return self.image.astype(np.float32)

    @cached_property
    def int16(self) -> np.ndarray:
        """int16, ``(H, W, 3)``."""
        return self.image.astype(np.int16)

    @cached_property
    def torch_planes(self) -> torch.Tensor:
        """Values of 0 to 255 in float32, ``(1, 3, H, W)``."""
        return torch.from_numpy(np.stack(self.planes).astype(np.float32))[None]

    @cached_property
    def planes(self) -> tuple[np.ndarray, ...]:
        """Red, green and blue, uint8 ``(H, W)`` each."""
        return tuple(cv2.split(self.image))

    @cached_property
    def largest(self) -> np.ndarray:
        """HSV's value: the largest of red, green and blue, uint8 ``(H, W)``."""
        red, green, blue = self.planes
        return cv2.max(cv2.max(red, green), blue)

    @cached_property
    def smallest(self) -> np.ndarray:
        """The smallest of red, green and blue, uint8 ``(H, W)``."""
        red, green, blue = self.planes
        return cv2.min(cv2.min(red, green), blue)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Check an image and convert it to three channels.

    Args:
        image: uint8, ``(H, W, 3)`` RGB, ``(H, W)`` or ``(H, W, 1)`` grey, or ``(H, W, 4)`` RGBA,
            whose alpha is dropped.

    Raises:
        ValueError: If the type or shape is not supported, or a side is below 32 pixels.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f'the image must be a NumPy array of uint8, got {kind}')
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ValueError(
            f'the image must have shape (H, W), (H, W, 3) or (H, W, 4), got {image.shape}'
        )
    height, width, channels = image.shape
    if min(height, width) < MIN_SIDE:
        raise ValueError(
            f'the image is {width}x{height} pixels; corruptions need at least '
            f'{MIN_SIDE}x{MIN_SIDE}: enlarge or skip it'
        )
    if channels == 1:
        return np.repeat(image, 3, axis=2)
    return np.ascontiguousarray(image[..., :3])


def from_planes(planes: Iterable[np.ndarray]) -> np.ndarray:
    """Convert float32 planes ``(H, W)`` of 0 to 255 to an image, uint8 ``(H, W, 3)``."""
    return cv2.merge([to_uint8(plane) for plane in planes])


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Convert values of 0 to 255 to uint8: clipped and truncated, as in the reference, in one pass.

    OpenCV rounds and saturates, so 0.499 is subtracted to truncate instead.
    """
    return cv2.addWeighted(values, 1.0, values, 0.0, -0.499, dtype=cv2.CV_8U)
