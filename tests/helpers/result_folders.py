"""Seeded, synthetic results folders, as an evaluation writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from adasap_det.robustness.corruptions.names import BENCHMARK, FAMILIES, SEVERITIES

CLASSES = ('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow')
FULL = tuple((c, s) for c in BENCHMARK for s in SEVERITIES)
_HARDNESS = {'noise': 0.155, 'blur': 0.14, 'weather': 0.085, 'digital': 0.105}


def make_results(
    folder: Path,
    name: str,
    *,
    seed: int = 0,
    clean: float = 0.70,
    robustness: float = 1.0,
    kept: float = 1.0,
    cells: Iterable[tuple[str, int]] = FULL,
    classes: Sequence[str] = CLASSES,
    examples: Sequence[tuple[str | None, int]] = (),
    layers: Sequence[tuple[str, int]] | None = None,
    images: int = 205,
    source: str = 'on the fly, seed 0',
    **changes: object,
) -> Path:
    """Write the results folder of one model.

    Args:
        folder: Output folder.
        name: Name of the model.
        seed: Random seed.
        clean: AP50 on clean images.
        robustness: Larger values reduce the loss caused by corruptions.
        kept: Ratio of channels and parameters kept.
        cells: Corruptions and severities to write in addition to the clean cell.
        classes: Class names; if more than two, the last but one has no objects.
        examples: Corruptions and severities to write an example image for.
        layers: Names and dense channels; by default those of a ResNet-50 detector.
        images: Number of images in the data set.
        source: Source of the corrupted images.
        changes: Other values for model.json.
    """
    random = Random(f'{seed} {name!r}')
    (folder / 'cells').mkdir(parents=True)
    layers = resnet_layers() if layers is None else layers
    model = {
        'schema': 1,
        'name': name,
        'config': f'configs/ssd/{seed}_ssd300_r50_voc.py',
        'checkpoint': f'work_dirs/ssd300_{seed}/epoch_24.pth',
        'checkpoint_sha256': f'{random.getrandbits(256):064x}',
        'params': int(26_285_486 * kept),
        'macs': int(30_400_000_000 * kept**1.1),
        'input_size': [300, 300],
        'latency_ms': round(4.2 + 9.7 * kept, 3),
        'device': 'cpu, 2 threads',
        'dataset': {
            'type': 'VOCDataset', 'split': 'test', 'images': images, 'classes': list(classes),
        },
        'channels': [
            {'layer': layer, 'channels': _kept(random, dense, kept), 'dense_channels': dense}
            for layer, dense in layers
        ],
        **changes,
    }  # fmt: skip
    (folder / 'model.json').write_text(json.dumps(model), 'utf-8')
    offsets = {label: random.uniform(-0.14, 0.14) for label in classes}
    hardness = {
        c: _HARDNESS[f] * Random(c).uniform(0.6, 1.4) for f, m in FAMILIES.items() for c in m
    }
    for corruption, severity in ((None, 0), *cells):
        loss = (
            hardness.get(corruption or '', 0.1) * severity**1.15 * (0 if corruption is None else 1)
        )
        level = clean * math.exp(-loss / robustness)
        values: dict[str, float | None] = {
            label: min(max(level * (1 + offsets[label]) + random.gauss(0, 0.006), 0), 1)
            for label in classes
        }
        if len(classes) > 2:
            values[classes[-2]] = None
        write_cell(folder, corruption, severity, values, images=images, source=source)
    if examples:
        _write_images(folder, random, examples)
    return folder


def write_cell(
    folder: Path,
    corruption: str | None,
    severity: int,
    per_class: dict[str, float | None],
    *,
    images: int = 205,
    source: str = 'on the fly, seed 0',
) -> None:
    """Write one cell; its metrics are the means over the classes."""
    known = [value for value in per_class.values() if value is not None]
    mean = sum(known) / len(known) if known else None
    halves = {label: None if v is None else v / 2 for label, v in per_class.items()}
    cell = {
        'schema': 1,
        'corruption': corruption,
        'severity': severity,
        'source': source,
        'images': images,
        'metrics': {'AP50': mean, 'AP': None if mean is None else mean / 2},
        'per_class': {'AP50': per_class, 'AP': halves},
        'seconds': 12.5,
        'fingerprint': '0' * 64,
    }
    name = 'clean' if corruption is None else f'{corruption}-{severity}'
    (folder / 'cells' / f'{name}.json').write_text(json.dumps(cell), 'utf-8')


def resnet_layers() -> list[tuple[str, int]]:
    """Return the 66 layers of an SSD with a ResNet-50, with their channels."""
    layers = [('backbone.conv1', 64)]
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            prefix = f'backbone.layer{stage}.{block}'
            layers += [(f'{prefix}.conv{i}', width * (4 if i == 3 else 1)) for i in (1, 2, 3)]
            if block == 0:
                layers.append((f'{prefix}.downsample.0', 4 * width))
    layers += [(f'neck.extra_layers.{i}.{j}.conv', 256) for i in range(4) for j in range(2)]
    return layers + [(f'bbox_head.cls_convs.{i}.0.depthwise_conv.conv', 324) for i in range(5)]


def _kept(random: Random, dense: int, kept: float) -> int:
    if kept == 1:
        return dense
    return max(1, min(dense, round(dense * kept * random.uniform(0.5, 1.45) / 8) * 8))


def _write_images(folder: Path, random: Random, images: Sequence[tuple[str | None, int]]) -> None:
    (folder / 'images').mkdir()
    listed = []
    for corruption, severity in images:
        image = Image.linear_gradient('L').resize((500, 375)).convert('RGB')
        tint = Random(str(corruption)).choices(range(256), k=3)
        image = Image.blend(image, Image.new('RGB', image.size, tuple(tint)), 0.45)
        pen = ImageDraw.Draw(image)
        for _ in range(3):
            x, y = random.randrange(20, 300), random.randrange(30, 220)
            pen.rectangle((x, y, x + 150, y + 110), outline=(255, 220, 0), width=4)
            pen.text((x + 8, y + 6), f'{random.choice(CLASSES)} 0.{random.randrange(30, 99)}')
        file = 'clean.jpg' if corruption is None else f'{corruption}-{severity}.jpg'
        image.save(folder / 'images' / file)
        listed.append(
            {
                'file': file,
                'corruption': corruption,
                'severity': severity,
                'image_id': '2008_000123',
            }
        )
    (folder / 'images/images.json').write_text(json.dumps(listed), 'utf-8')
