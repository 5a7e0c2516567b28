"""Draw detections of several models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from mmdet.apis import inference_detector
from torch import nn

from adasap_det.demo.evaluation import read_image

_SCALE = 4
_BAR = 28
_FONT = cv2.FONT_HERSHEY_SIMPLEX

Image = npt.NDArray[Any]
"""BGR, uint8, shape ``(H, W, 3)``, as OpenCV reads."""


def save_side_by_side(
    models: Mapping[str, nn.Module],
    images: Sequence[Path],
    folder: Path,
    *,
    score: float = 0.3,
) -> list[Path]:
    """Write one PNG for each image, with a panel for each model.

    Args:
        models: Detectors from ``mmdet.apis.init_detector``, by their titles.
        images: Images to detect in.
        folder: Output folder; files are named after the images.
        score: Least score of a detection to be drawn.

    Returns:
        Paths of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for image in images:
        pixels = read_image(image)
        panels = []
        for title, model in models.items():
            found = inference_detector(model, str(image)).pred_instances.cpu().numpy()
            sure = found.scores >= score
            meta: Any = model.dataset_meta
            panels.append(
                _panel(
                    pixels,
                    title,
                    found.bboxes[sure],
                    [
                        f'{meta["classes"][i]} {s:.2f}'
                        for i, s in zip(found.labels[sure], found.scores[sure], strict=True)
                    ],
                    [meta['palette'][i] for i in found.labels[sure]],
                )
            )
        path = folder / f'{image.stem}.png'
        if not cv2.imwrite(str(path), np.hstack(panels)):
            raise OSError(f'{path} could not be written')
        paths.append(path)
    return paths


def _panel(
    pixels: Image,
    title: str,
    boxes: npt.NDArray[np.float32],
    texts: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
) -> Image:
    """Enlarge a BGR image and draw boxes, and a title bar above; colours are RGB."""
    panel = cv2.resize(pixels, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_CUBIC)
    for box, text, rgb in zip(boxes, texts, colours, strict=True):
        x0, y0, x1, y1 = (int(v) for v in np.rint(box * _SCALE))
        colour = tuple(reversed(rgb))
        cv2.rectangle(panel, (x0, y0), (x1, y1), colour, 2, cv2.LINE_AA)
        (width, height), _ = cv2.getTextSize(text, _FONT, 0.5, 1)
        top = max(y0 - height - 8, 0)
        cv2.rectangle(panel, (x0, top), (x0 + width + 6, top + height + 8), colour, -1)
        cv2.putText(panel, text, (x0 + 3, top + height + 3), _FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    bar = np.full((_BAR, panel.shape[1], 3), 255, dtype=np.uint8)
    cv2.putText(bar, title, (6, 20), _FONT, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([bar, panel]).astype(np.uint8)
