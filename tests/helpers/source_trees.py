"""Small data sets to corrupt, and a look at whole folders."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

from .voc_folder import annotation

# Two that draw random numbers and two that do not; all of them quick.
CORRUPTIONS = ('gaussian_noise', 'contrast', 'impulse_noise', 'brightness')


def image(seed: int, *, width: int = 60, height: int = 50) -> np.ndarray:
    """A smooth image with an edge, uint8 RGB."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 100 * np.sin(rng.uniform(0.02, 0.2) * x + rng.uniform(0, 0.2) * y)] * 3
    rgb = np.stack(planes, axis=-1) + rng.uniform(-20, 20, 3)
    rgb[: height // 2, : width // 3] += rng.uniform(-60, 60, 3)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def make_voc(root: Path, number: int, *, split: str = 'test', year: str = '2007') -> Path:
    """``root/VOC2007`` with so many images of 60 by 50 pixels; returns ``root``."""
    folder = root / f'VOC{year}'
    for name in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ids = [f'{i:06d}' for i in range(1, number + 1)]
    for i, image_id in enumerate(ids):
        path = folder / 'JPEGImages' / f'{image_id}.jpg'
        Image.fromarray(image(i)).save(path, quality=90)
        (folder / 'Annotations' / f'{image_id}.xml').write_text(annotation())
    (folder / 'ImageSets' / 'Main' / f'{split}.txt').write_text('\n'.join(ids) + '\n')
    return root


def make_coco(root: Path, number: int) -> Path:
    """``root`` with val/*.jpg and annotations/val.json, a box of 10 by 10 an image."""
    (root / 'val').mkdir(parents=True)
    (root / 'annotations').mkdir()
    images, boxes = [], []
    for i in range(number):
        Image.fromarray(image(i)).save(root / 'val' / f'{i:012d}.jpg', quality=90)
        images.append({'id': i, 'file_name': f'{i:012d}.jpg', 'width': 60, 'height': 50})
        box = {'id': i, 'image_id': i, 'category_id': 1, 'bbox': [5, 5, 10, 10], 'area': 100}
        boxes.append({**box, 'iscrowd': 0})
    data = {'images': images, 'annotations': boxes, 'categories': [{'id': 1, 'name': 'person'}]}
    (root / 'annotations' / 'val.json').write_text(json.dumps(data, indent=1))
    return root


def contents(folder: Path) -> dict[str, bytes | str]:
    """Every file's bytes and every link's target below a folder."""
    found: dict[str, bytes | str] = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place) / name
            key = path.relative_to(folder).as_posix()
            if path.is_symlink():
                found[key] = os.readlink(path)
            elif path.is_dir():
                found[key] = 'folder'
            else:
                found[key] = path.read_bytes()
    return found
