"""A synthetic photograph with gradients, edges, texture, and dark, white and grey areas."""

from __future__ import annotations

import cv2
import numpy as np


def photograph(height: int = 93, width: int = 121, *, seed: int = 0) -> np.ndarray:
    """Return a uint8 RGB image, the same for the same arguments."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    fine = rng.normal(0, 6, image.shape)
    image = np.clip(image + fine, 0, 255).astype(np.uint8)
    cv2.circle(image, (width // 3, height // 2), height // 4, (250, 20, 30), -1)
    cv2.rectangle(image, (width // 2, 3), (width - 5, height // 3), (0, 0, 0), -1)
    cv2.rectangle(image, (2, height // 2), (width // 4, height - 3), (255, 255, 255), 2)
    image[height // 2 : height // 2 + 8, width // 2 : width // 2 + 16] = 128
    return image
