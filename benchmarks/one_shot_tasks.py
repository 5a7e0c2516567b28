"""Networks and data of the study of one-shot pruning (one_shot.py)."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.evaluator import Evaluator
from torch import Tensor, nn

from adasap_det.checkpoint.loading import build_model
from adasap_det.robustness.corruptions import corrupt
from adasap_det.robustness.corruptions.names import BENCHMARK

ROOT = Path(__file__).resolve().parents[1]
CROP_PADDING = 4


class Cifar10:
    """A classifier on CIFAR-10, every fourth training image, all in memory.

    Half of the test images, ``'choice'``, are for choosing settings; the others, ``'report'``, for
    the figures.

    Args:
        config: Config of the dense network; ``CIFAR10_ROOT`` is where its images are.
        weights: State dict of the trained dense network.
        cache: Folder of the corrupted images.
        corrupted_every: Every how many of the test images are corrupted.
    """

    batch_size = 64
    optimizer: ClassVar = {'lr': 0.01, 'momentum': 0.9, 'nesterov': True, 'weight_decay': 1e-4}

    def __init__(
        self, config: str, weights: Path, cache: Path, *, corrupted_every: int = 3
    ) -> None:
        self._cfg = Config.fromfile(ROOT / config)
        self._cfg.model.backbone.pop('init_cfg', None)
        self._weights = weights
        self._classes = list(self._cfg.classes)
        train, labels = self._load('train')
        self._images, self._labels = train[::4], labels[::4]
        test, labels = self._load('test')
        self._test = {'choice': (test[0::2], labels[0::2]), 'report': (test[1::2], labels[1::2])}
        self._cache, self._every = cache, corrupted_every

    def dense(self) -> nn.Module:
        """The trained dense network."""
        model = build_model(self._cfg)
        state = torch.load(self._weights, map_location='cpu')
        model.load_state_dict({re.sub('^fc[.]', 'head.fc.', k): v for k, v in state.items()})
        return model

    def example(self) -> Tensor:
        """An input of the network."""
        return torch.rand(1, 3, *self._images.shape[-2:])

    def epoch(self, generator: torch.Generator) -> Iterator[dict]:
        """The batches of an epoch, cropped and flipped at random."""
        order = torch.randperm(len(self._images), generator=generator)
        padded = nn.functional.pad(self._images, (CROP_PADDING,) * 4)
        size = self._images.shape[-1]
        for batch in order.split(self.batch_size):
            if len(batch) < self.batch_size:
                return
            shift = torch.randint(2 * CROP_PADDING + 1, (len(batch), 2), generator=generator)
            images = torch.stack(
                [
                    padded[i, :, y : y + size, x : x + size]
                    for i, (y, x) in zip(batch.tolist(), shift.tolist(), strict=True)
                ]
            )
            flipped = torch.rand(len(batch), generator=generator) < 0.5
            images[flipped] = images[flipped].flip(-1)
            yield self._batch(images, self._labels[batch])

    def batches_an_epoch(self) -> int:
        """Number of batches of an epoch."""
        return len(self._images) // self.batch_size

    @staticmethod
    def forward(model: nn.Module, batch: dict) -> object:
        """A forward pass through every layer with batch norm."""
        return model.extract_feat(model.data_preprocessor(batch, True)['inputs'])

    def correct(self, model: nn.Module, part: str, corruption: str | None = None) -> Tensor:
        """Whether each image is classified rightly.

        Args:
            model: The network.
            part: ``'choice'`` or ``'report'``.
            corruption: Its name, at severity 3; None for the clean images.
        """
        images, labels = self._test[part]
        if corruption is not None:
            images, labels = self._corrupt(part, corruption), labels[:: self._every]
        model.eval()
        with torch.no_grad():
            scores = [
                model.head(model.extract_feat(data['inputs']))
                for data in (
                    model.data_preprocessor(self._batch(some, wanted), False)
                    for some, wanted in zip(images.split(250), labels.split(250), strict=True)
                )
            ]
        return torch.cat(scores).argmax(1) == labels

    def clean(self, model: nn.Module, part: str) -> float:
        """Top-1 in percent."""
        return 100 * float(self.correct(model, part).float().mean())

    def mpc(self, model: nn.Module, part: str) -> float:
        """Mean top-1 over the 15 corruptions at severity 3, in percent."""
        cells = [self.correct(model, part, name).float().mean() for name in BENCHMARK]
        return 100 * float(torch.stack(cells).mean())

    def _batch(self, images: Tensor, labels: Tensor) -> dict:
        from mmpretrain.structures import DataSample

        samples = [DataSample().set_gt_label(int(label)) for label in labels]
        return {'inputs': list(images), 'data_samples': samples}

    def _load(self, part: str) -> tuple[Tensor, Tensor]:
        root = Path(os.environ['CIFAR10_ROOT'], part)
        images, labels = [], []
        for label, name in enumerate(self._classes):
            for path in sorted((root / name).iterdir()):
                images.append(torch.from_numpy(cv2.imread(str(path))).permute(2, 0, 1))
                labels.append(label)
        return torch.stack(images), torch.tensor(labels)

    def _corrupt(self, part: str, corruption: str) -> Tensor:
        path = self._cache / f'cifar10_{part}_{self._every}_{corruption}.npy'
        if not path.is_file():
            images = self._test[part][0][:: self._every].permute(0, 2, 3, 1).flip(-1).numpy()
            found = [
                corrupt(image, corruption=corruption, severity=3, image_id=f'{part}/{index}')
                for index, image in enumerate(images)
            ]
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.stack(found)[..., ::-1])
        return torch.from_numpy(np.load(path)).permute(0, 3, 1, 2)


class Voc2012:
    """SSDLite at 160 pixels on six classes of Pascal VOC 2012.

    ``small_val``, ``'choice'``, is for choosing settings; every second of the other images of val,
    ``'report'``, is for the figures. Corrupted is every fourth of those.

    Args:
        config: Config of the dense network; ``VOC_ROOT`` is where its images are.
        weights: State dict of the trained dense network.
        cache: Folder of the corrupted images.
    """

    batch_size = 16
    optimizer: ClassVar = {'lr': 0.01, 'momentum': 0.9, 'weight_decay': 4e-5}
    image_size = 160
    corrupted_every = 4

    def __init__(self, config: str, weights: Path, cache: Path) -> None:
        register_all_modules(init_default_scope=True)
        self._cfg = Config.fromfile(ROOT / config)
        self._cfg.model.backbone.pop('init_cfg', None)
        self._weights = weights
        self._train = DATASETS.build(self._cfg.train_dataloader.dataset)
        data = self._cfg.val_dataloader.dataset
        choice = self._images(data, 'small_val')
        chosen = {image['img_id'] for image in choice}
        others = [each for each in self._images(data, 'val') if each['img_id'] not in chosen]
        self._parts = {'choice': choice, 'report': others[::2]}
        self._evaluator = Evaluator(self._cfg.val_evaluator)
        self._evaluator.dataset_meta = self._train.metainfo
        self._pipeline = Compose(data.pipeline[1:])  # images are in memory
        self._cache = cache

    def dense(self) -> nn.Module:
        """The trained dense network."""
        model = build_model(self._cfg)
        model.load_state_dict(torch.load(self._weights, map_location='cpu'))
        return model

    def example(self) -> Tensor:
        """An input of the network."""
        return torch.rand(1, 3, self.image_size, self.image_size)

    def epoch(self, generator: torch.Generator) -> Iterator[dict]:
        """The batches of an epoch, with SSD's augmentation."""
        order = torch.randperm(len(self._train), generator=generator).tolist()
        seed = int(torch.randint(2**31, (), generator=generator))
        random.seed(seed)
        np.random.seed(seed)
        for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
            some = order[start : start + self.batch_size]
            yield pseudo_collate([self._train[index] for index in some])

    def batches_an_epoch(self) -> int:
        """Number of batches of an epoch."""
        return len(self._train) // self.batch_size

    @staticmethod
    def forward(model: nn.Module, batch: dict) -> object:
        """A forward pass through every layer."""
        data = model.data_preprocessor(batch, True)
        return model(data['inputs'], data['data_samples'], mode='tensor')

    def clean(self, model: nn.Module, part: str) -> float:
        """AP50 in percent."""
        return self._ap50(model, self._parts[part], None)

    def mpc(self, model: nn.Module, part: str) -> float:
        """Mean AP50 over the 15 corruptions at severity 3, in percent."""
        some = self._parts[part][:: self.corrupted_every]
        return statistics.fmean(self._ap50(model, some, name) for name in BENCHMARK)

    def _ap50(self, model: nn.Module, images: list[dict], corruption: str | None) -> float:
        model.eval()
        with torch.no_grad():
            for start in range(0, len(images), self.batch_size):
                some = images[start : start + self.batch_size]
                batch = pseudo_collate([self._prepared(each, corruption) for each in some])
                self._evaluator.process(data_samples=model.val_step(batch), data_batch=batch)
        with contextlib.redirect_stdout(io.StringIO()):
            return 100 * self._evaluator.evaluate(len(images))['pascal_voc/AP50']

    def _prepared(self, info: dict, corruption: str | None) -> dict:
        image = cv2.imread(info['img_path'])
        if corruption is not None:
            path = self._cache / f'voc2012_{corruption}' / f'{info["img_id"]}.png'
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                found = corrupt(
                    image[..., ::-1], corruption=corruption, severity=3, image_id=info['img_id']
                )
                cv2.imwrite(str(path), found[..., ::-1])
            image = cv2.imread(str(path))
        size = image.shape[:2]
        return self._pipeline({**info, 'img': image, 'img_shape': size, 'ori_shape': size})

    def _images(self, data: Config, split: str) -> list[dict]:
        dataset = DATASETS.build(
            {**data, 'ann_file': f'VOC2012/ImageSets/Main/{split}.txt', 'pipeline': []}
        )
        return [dataset.get_data_info(index) for index in range(len(dataset))]
