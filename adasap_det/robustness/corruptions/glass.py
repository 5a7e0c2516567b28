"""Glass blur: pixels are shuffled with their neighbours. Source: Hendrycks & Dietterich 2019.

The reference intends to swap two pixels but assigns views, so that a pixel takes its partner's
value and the partner keeps its own. Published results depend on this, so it is reproduced, in the
same order.
"""

from __future__ import annotations

import numpy as np

from .clean_image import CleanImage, to_uint8
from .linear import gaussian_filter

GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))  # sigma, reach, rounds


def draw_offsets(rng: np.random.Generator, clean: CleanImage, severity: int) -> np.ndarray:
    """Draw column and row offset of each pixel's partner, int8 ``(rounds, rows, columns, 2)``.

    Offsets are in ``[-reach, reach)``, for the pixels that the reference visits, in its order:
    backwards from the last row and column.
    """
    _, reach, rounds = GLASS[severity - 1]
    rows, columns = clean.height - 2 * reach, clean.width - 2 * reach
    return rng.integers(-reach, reach, size=(rounds, rows, columns, 2), dtype=np.int8)


def glass_blur(clean: CleanImage, severity: int, field: np.ndarray) -> np.ndarray:
    """Blur, shuffle within ``reach`` pixels, blur again."""
    sigma, reach, _ = GLASS[severity - 1]
    blurred = to_uint8(gaussian_filter(clean.float32, sigma))
    source = shuffled_sources(clean.height, clean.width, field, reach=reach)
    shuffled = blurred.reshape(-1, 3).take(source, axis=0).reshape(blurred.shape)
    return to_uint8(gaussian_filter(shuffled.astype(np.float32), sigma))


def shuffled_sources(height: int, width: int, offsets: np.ndarray, *, reach: int) -> np.ndarray:
    """Return the source of each pixel's value after the shuffle.

    A visited pixel takes its partner's value: the new one if the partner was visited before,
    otherwise the old one. Values therefore propagate along chains of visited partners, which are
    followed by pointer doubling for all pixels at once.

    Args:
        height, width: Size of the image.
        offsets: See :func:`draw_offsets`.
        reach: Largest offset.

    Returns:
        Flat index of the source pixel, int32 ``(H * W,)``.
    """
    pixels = np.arange(height * width, dtype=np.int32)
    inside = (slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1))
    visited = np.zeros(height * width, bool)
    visited.reshape(height, width)[inside] = True
    result: np.ndarray = pixels
    for offset in offsets:
        # The first offset drawn belongs to the last row and column, which is visited first.
        step = offset[::-1, ::-1, 1].astype(np.int32) * width + offset[::-1, ::-1, 0]
        partner = pixels.copy()
        partner.reshape(height, width)[inside] += step
        # Pixels later in the image are visited earlier.
        follows = visited.take(partner) & (partner > pixels)
        source = partner
        active = np.flatnonzero(follows)
        while active.size:
            # Chains that have ended have their final source; the others double their step.
            reached = source[active]
            source[active] = source[reached]
            going = follows[active] & follows[reached]
            follows[active] = going
            active = active[going]
        result = result.take(source)
    return result
