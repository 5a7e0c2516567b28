"""Frost: blend the image with a photograph of ice. Source: Hendrycks & Dietterich 2019.

The photographs come from the ``imagecorruptions`` package (on PyPI: ``imagecorruptions-imaug``).
Its maintained release draws among all six, as we do; the original one among the first five.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from .clean_image import CleanImage

FROST = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))  # image, ice
FILES = ('frost1.png', 'frost2.png', 'frost3.png', 'frost4.jpg', 'frost5.jpg', 'frost6.jpg')


def draw_frost(rng: np.random.Generator, clean: CleanImage, severity: int) -> tuple[int, int, int]:
    """Draw the index of a photograph, and the top and left of the crop."""
    index = int(rng.integers(len(FILES)))
    ice = _scaled_ice(index, clean.height, clean.width)
    top = int(rng.integers(0, ice.shape[0] - clean.height))
    left = int(rng.integers(0, ice.shape[1] - clean.width))
    return index, top, left


def frost(clean: CleanImage, severity: int, field: tuple[int, int, int]) -> np.ndarray:
    """Weighted sum of the image and a crop of a photograph of ice."""
    index, top, left = field
    return blend_ice(clean, severity, _scaled_ice(index, clean.height, clean.width)[top:, left:])


def blend_ice(clean: CleanImage, severity: int, ice: np.ndarray) -> np.ndarray:
    """Weighted sum of the image and the upper left part of ``ice``, uint8 RGB."""
    clear, icy = FROST[severity - 1]
    part = ice[: clean.height, : clean.width]
    return cv2.addWeighted(clean.image, clear, part, icy, -0.499)


def _scaled_ice(index: int, height: int, width: int) -> np.ndarray:
    ice_height, ice_width = load_ice(index).shape[:2]
    # As in the reference: enlarged to cover the image if too small, and always by another tenth so
    # that there are several crops to choose from.
    factors = [need / have for need, have in ((height, ice_height), (width, ice_width))]
    factor = max([f for f in factors if f > 1], default=1) * 1.1
    return _resized_ice(index, math.ceil(ice_width * factor), math.ceil(ice_height * factor))


@lru_cache(maxsize=12)
def _resized_ice(index: int, width: int, height: int) -> np.ndarray:
    return cv2.resize(load_ice(index), dsize=(width, height), interpolation=cv2.INTER_CUBIC)


@lru_cache(maxsize=len(FILES))
def load_ice(index: int) -> np.ndarray:
    """Return a photograph of ice, uint8 RGB."""
    spec = find_spec('imagecorruptions')  # locates it without the import, which takes a second
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / 'frost' / FILES[index]
        data = np.fromfile(path, np.uint8) if path.is_file() else np.empty(0, np.uint8)
        ice = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        if ice is not None:
            return cv2.cvtColor(ice, cv2.COLOR_BGR2RGB)
    raise FileNotFoundError(
        f'the frost corruption needs the image frost/{FILES[index]} of the imagecorruptions '
        f'package, not found in {folders or "this environment"}; run `pip install '
        f'imagecorruptions-imaug`, or omit frost'
    )
