"""Small folders in Pascal VOC's layout, for tests of valid and broken data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

BOX = (5, 6, 30, 40)


def annotation(
    *,
    size: tuple[int, int] | None = (60, 50),
    name: str = 'cat',
    box: tuple[object, ...] = BOX,
    difficult: int = 0,
) -> str:
    stated = (
        '' if size is None else f'<size><width>{size[0]}</width><height>{size[1]}</height></size>'
    )
    corners = ''.join(
        f'<{tag}>{x}</{tag}>' for tag, x in zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
    )
    return (
        f'<annotation>{stated}<object><name>{name}</name><difficult>{difficult}</difficult>'
        f'<bndbox>{corners}</bndbox></object></annotation>'
    )


def make_voc(folder: Path, ids: list[str], *, split: str = 'trainval') -> Path:
    """Write images of 60 by 50 pixels with one cat each; return ``folder``."""
    for name in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for image_id in ids:
        pixels = rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / 'JPEGImages' / f'{image_id}.jpg')
        (folder / 'Annotations' / f'{image_id}.xml').write_text(annotation())
    (folder / 'ImageSets' / 'Main' / f'{split}.txt').write_text('\n'.join(ids) + '\n')
    return folder
