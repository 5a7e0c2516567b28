"""Generate the embedded shapes data set in Pascal VOC's layout."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from adasap_det.datasets.shape_outlines import SHAPE_CLASSES
from adasap_det.datasets.shape_scene import Scene, draw_scene

__all__ = ['SHAPE_CLASSES', 'make_shapes_voc']

_logger = logging.getLogger(__name__)

# To be increased whenever the same options give other images.
_VERSION = 2
_MANIFEST = 'shapes.json'
_SPLITS = ('train', 'val', 'test')
# Images between two log lines, a few seconds.
_LOG_EVERY = 500


def make_shapes_voc(
    root: str | os.PathLike[str],
    *,
    num_train: int = 4000,
    num_val: int = 100,
    num_test: int = 400,
    image_size: int = 128,
    seed: int = 0,
) -> Path:
    """Draw the shapes data set below ``root``, in the layout of Pascal VOC 2007.

    An image depends only on its split and number, ``seed`` and ``image_size``, so a larger data
    set begins with the images of a smaller one; no two splits share an image. The folder appears
    once it is complete. Called again with the same options it does nothing.

    Args:
        root: Folder for ``VOC2007``; mmdet's ``data_root``.
        num_train, num_val, num_test: Number of images per split.
        image_size: Side of the square images in pixels, at least 32.
        seed: Seed of every random choice, not negative.

    Returns:
        The folder ``root/VOC2007``.

    Raises:
        ValueError: If an option is out of range, or the folder exists and is not the complete
            data set of these options.
    """
    options = {
        'num_train': num_train,
        'num_val': num_val,
        'num_test': num_test,
        'image_size': image_size,
        'seed': seed,
    }
    for name, least in [('num_train', 1), ('num_val', 1), ('num_test', 1), ('seed', 0)]:
        if options[name] < least:
            raise ValueError(f'{name} is {options[name]}; give at least {least}')
    if image_size < 32:
        raise ValueError(f'image_size is {image_size}; shapes need images of 32 pixels or more')

    root = Path(root)
    folder = root / 'VOC2007'
    manifest = {'version': _VERSION, **options}
    if folder.exists():
        _check_existing(folder, manifest)
        return folder

    root.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix='.VOC2007-', dir=root))
    try:
        # mkdtemp makes folders private; a data set should be readable by others.
        unfinished.chmod(0o755)
        _write(unfinished, options)
        (unfinished / _MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')
        try:
            unfinished.rename(folder)
        except OSError:
            # Another process may have finished the same data set in the meantime.
            _check_existing(folder, manifest)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _check_existing(folder: Path, manifest: dict[str, int]) -> None:
    path = folder / _MANIFEST
    remedy = 'give another root, or delete the folder to draw it again'
    if not path.is_file():
        raise ValueError(f'{folder} exists and is no finished shapes data set; {remedy}')
    found = json.loads(path.read_text())
    if found != manifest:
        other = [f'{k}={found.get(k)} instead of {v}' for k, v in manifest.items()]
        differing = [
            text for text, k in zip(other, manifest, strict=True) if found.get(k) != manifest[k]
        ]
        raise ValueError(f'{folder} was made with {", ".join(differing)}; {remedy}')
    total = sum(manifest[f'num_{split}'] for split in _SPLITS)
    for kind, suffix in [('JPEGImages', '*.jpg'), ('Annotations', '*.xml')]:
        present = sum(1 for _ in (folder / kind).glob(suffix))
        if present != total:
            raise ValueError(f'{folder / kind} holds {present} files of {total}; {remedy}')


def _write(folder: Path, options: dict[str, int]) -> None:
    for name in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (folder / name).mkdir(parents=True)
    names: dict[str, list[str]] = {}
    for number, split in enumerate(_SPLITS):
        names[split] = [f'{split}_{i:06d}' for i in range(options[f'num_{split}'])]
        for i, name in enumerate(names[split]):
            rng = np.random.default_rng([options['seed'], options['image_size'], number, i])
            scene = draw_scene(rng, size=options['image_size'])
            _write_scene(folder, name, scene)
            if (i + 1) % _LOG_EVERY == 0:
                _logger.info('%s: %d of %d images drawn', split, i + 1, len(names[split]))
    names['trainval'] = names['train'] + names['val']
    for split, members in names.items():
        text = ''.join(f'{name}\n' for name in members)
        (folder / 'ImageSets' / 'Main' / f'{split}.txt').write_text(text)


def _write_scene(folder: Path, name: str, scene: Scene) -> None:
    bgr = np.ascontiguousarray(scene.image[..., ::-1])
    done, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not done:
        raise RuntimeError(f'OpenCV could not encode {name}.jpg')
    (folder / 'JPEGImages' / f'{name}.jpg').write_bytes(data.tobytes())
    tree = ElementTree.ElementTree(_annotation(name, scene))
    ElementTree.indent(tree)
    tree.write(folder / 'Annotations' / f'{name}.xml', encoding='unicode')


def _annotation(name: str, scene: Scene) -> ElementTree.Element:
    """VOC's XML: coordinates count from 1 and both corners belong to the box."""
    root = ElementTree.Element('annotation')
    _add(root, folder='VOC2007', filename=f'{name}.jpg')
    height, width, depth = scene.image.shape
    _add(ElementTree.SubElement(root, 'size'), width=width, height=height, depth=depth)
    _add(root, segmented=0)
    for shape in scene.objects:
        entry = ElementTree.SubElement(root, 'object')
        _add(entry, name=shape.name, pose='Unspecified', truncated=int(shape.truncated))
        _add(entry, difficult=0)
        x0, y0, x1, y1 = shape.box
        _add(ElementTree.SubElement(entry, 'bndbox'), xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
    return root


def _add(parent: ElementTree.Element, **children: object) -> None:
    for tag, text in children.items():
        ElementTree.SubElement(parent, tag).text = str(text)
