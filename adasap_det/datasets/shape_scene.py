"""Draw one scene of the embedded data set: background, clutter, shapes and occluders."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from adasap_det.datasets.shape_outlines import SHAPE_CLASSES, Points, area, outline, place
from adasap_det.datasets.textures import Pixels, fill, random_colour, smooth_noise

Mask = npt.NDArray[np.bool_]

# Pixel coverage is measured on a grid that is finer by this factor.
_SUPERSAMPLE = 4
# Placements that leave a smaller fraction of a shape visible are drawn again.
_MIN_VISIBLE = 0.6
_TRIES = 12
# Least distance of a colour from what it is painted on, in grey levels.
_MIN_CONTRAST = 110.0


@dataclass(frozen=True)
class SceneObject:
    """A shape in a scene.

    Attributes:
        name: Its class.
        mask: Pixels where it is visible (covered by half or more), shape ``(H, W)``.
        truncated: Whether part of it lies outside the image.
    """

    name: str
    mask: Mask
    truncated: bool

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Tight box of the visible pixels: x0, y0, x1, y1, the last two exclusive."""
        xs, ys = np.flatnonzero(self.mask.any(axis=0)), np.flatnonzero(self.mask.any(axis=1))
        return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


@dataclass(frozen=True)
class Scene:
    """An image, RGB uint8 of shape ``(H, W, 3)``, and the shapes in it."""

    image: npt.NDArray[np.uint8]
    objects: tuple[SceneObject, ...]


def coverage(contours: list[Points], size: int) -> Pixels:
    """Return the fraction of each pixel of a square image that lies inside the contours.

    Args:
        contours: Polygons in pixels; a polygon inside another is a hole.
        size: Side of the image.

    Returns:
        Shape ``(size, size)``, values 0 to 1.
    """
    corners = np.concatenate(contours)
    # Only the window that is covered, for speed: most shapes are far smaller than the image.
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, size)
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, 0, size)
    covered = np.zeros((size, size), dtype=np.float32)
    if x0 >= x1 or y0 >= y1:
        return covered
    fine = np.zeros(((y1 - y0) * _SUPERSAMPLE, (x1 - x0) * _SUPERSAMPLE), dtype=np.uint8)
    # fillPoly counts from pixel centres, in fixed point of `shift` bits.
    points = [
        np.round(((p - (x0, y0)) * _SUPERSAMPLE - 0.5) * 16).astype(np.int32) for p in contours
    ]
    cv2.fillPoly(fine, points, 255, shift=4)
    coarse = cv2.resize(fine, (int(x1 - x0), int(y1 - y0)), interpolation=cv2.INTER_AREA)
    covered[y0:y1, x0:x1] = coarse.astype(np.float32) / np.float32(255)
    return covered


def draw_scene(rng: np.random.Generator, *, size: int) -> Scene:
    """Draw a random scene with one to three shapes.

    Args:
        rng: Source of every random choice: the same state gives the same scene.
        size: Side of the square image in pixels.

    Returns:
        The image and its shapes; at least 60 % of each shape is visible.
    """
    image = _background(rng, size)
    for _ in range(rng.integers(0, 4)):
        _paint(rng, image, coverage(_clutter(rng, size), size))

    names: list[str] = []
    alphas: list[Pixels] = []
    areas: list[float] = []
    for _ in range(rng.integers(1, 4)):
        name = SHAPE_CLASSES[int(rng.integers(len(SHAPE_CLASSES)))]
        for _ in range(_TRIES):
            contours = _random_shape(rng, name, size)
            alpha = coverage(contours, size)
            if _enough_visible([*alphas, alpha], [*areas, area(contours)]):
                _paint(rng, image, alpha)
                names.append(name)
                alphas.append(alpha)
                areas.append(area(contours))
                break
    for _ in range(rng.integers(0, 2)):
        alpha = coverage(_bar(rng, size), size)
        if _enough_visible([*alphas, alpha], [*areas, 0.0]):
            _paint(rng, image, alpha)
            alphas.append(alpha)
            areas.append(0.0)

    image = _lit(rng, image)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(1, 6)
    visible = _visible(alphas)[: len(names)]
    objects = tuple(
        SceneObject(name, mask, truncated=float(alpha.sum()) < 0.97 * full)
        for name, mask, alpha, full in zip(names, visible, alphas, areas, strict=False)
    )
    return Scene(np.clip(np.rint(image + noise), 0, 255).astype(np.uint8), objects)


def _visible(alphas: list[Pixels]) -> list[Mask]:
    """Visible pixels of each layer; later layers lie on top."""
    masks = []
    hidden = np.zeros(alphas[0].shape, dtype=bool)
    for alpha in reversed(alphas):
        covered = alpha >= 0.5
        masks.append(covered & ~hidden)
        hidden |= covered
    return masks[::-1]


def _enough_visible(alphas: list[Pixels], areas: list[float]) -> bool:
    """Whether enough of every layer is visible; ``areas`` include parts outside the image."""
    visible = _visible(alphas)
    return all(
        mask.sum() >= _MIN_VISIBLE * full and mask.any()
        for mask, full in zip(visible, areas, strict=True)
    )


def _background(rng: np.random.Generator, size: int) -> Pixels:
    kinds = ('gradient', 'clouds', 'clouds', 'stripes', 'checks')
    image = fill(rng, size, size, kinds=kinds, colour=random_colour(rng), contrast=30)
    light = 0.8 + 0.4 * smooth_noise(rng, size, size, cells=2)
    return image * light[..., None]


def _lit(rng: np.random.Generator, image: Pixels) -> Pixels:
    """Change lightness and contrast, as light and camera do: 50 to 100 % of the contrast."""
    contrast = np.exp(rng.uniform(np.log(0.5), 0.0))
    return contrast * image + (1 - contrast) * rng.uniform(30, 225)


def _paint(rng: np.random.Generator, image: Pixels, alpha: Pixels) -> None:
    """Blend a random texture into the image, in a colour that differs from the background."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not len(rows):
        return
    # Only the patch that changes, for speed: most shapes are far smaller than the image.
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    patch, weight = image[window], alpha[window][..., None]
    behind = (patch * weight).sum(axis=(0, 1)) / weight.sum()
    colour = random_colour(rng, far_from=behind, distance=_MIN_CONTRAST)
    kinds = ('plain', 'gradient', 'clouds', 'stripes', 'checks')
    texture = fill(rng, *patch.shape[:2], kinds=kinds, colour=colour, contrast=30)
    patch += weight * (texture - patch)


def _random_shape(rng: np.random.Generator, name: str, size: int) -> list[Points]:
    radius = size * float(np.exp(rng.uniform(np.log(0.11), np.log(0.27))))
    x, y = rng.uniform(0.6 * radius, size - 0.6 * radius, 2)
    return place(
        outline(name),
        centre=(x, y),
        radius=radius,
        angle=rng.uniform(-0.5, 0.5),
        stretch=rng.uniform(0.88, 1.14),
    )


def _clutter(rng: np.random.Generator, size: int) -> list[Points]:
    """Contours of a distractor without a class: a bar, a half disc or a blob."""
    kind = int(rng.integers(3))
    if kind == 0:
        return _bar(rng, size)
    if kind == 1:
        angles = np.linspace(0, np.pi, 24)
        contours = [np.stack([np.cos(angles), np.sin(angles) - 0.4], axis=1)]
    else:
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        bumps = 1.0 + sum(
            rng.uniform(0.12, 0.3) * np.sin(k * angles + rng.uniform(0, 2 * np.pi))
            for k in (2, 3, 5)
        )
        contours = [bumps[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)]
    x, y = rng.uniform(0, size, 2)
    radius = size * rng.uniform(0.05, 0.16)
    return place(contours, centre=(x, y), radius=radius, angle=rng.uniform(0, 2 * np.pi))


def _bar(rng: np.random.Generator, size: int) -> list[Points]:
    """A long thin rectangle, also used as occluder."""
    half = size * rng.uniform(0.15, 0.4)
    thick = size * rng.uniform(0.008, 0.025)
    corners = np.array([[-half, -thick], [half, -thick], [half, thick], [-half, thick]])
    x, y = rng.uniform(0, size, 2)
    return place([corners], centre=(x, y), radius=1.0, angle=rng.uniform(0, np.pi))
