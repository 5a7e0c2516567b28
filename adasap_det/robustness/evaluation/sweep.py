"""Evaluates one model on every cell, one file each, and goes on where it was interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.runner import Runner

from adasap_det.robustness.evaluation.cell_data import CellSource, split_name
from adasap_det.robustness.evaluation.class_names import distinct
from adasap_det.robustness.evaluation.data_files import data_digest
from adasap_det.robustness.evaluation.example_images import paint_examples
from adasap_det.robustness.evaluation.measure import build_loader, measure
from adasap_det.robustness.evaluation.model_info import describe_model, sha256_of
from adasap_det.robustness.evaluation.task import Task, task_of
from adasap_det.robustness.metrics import percent
from adasap_det.robustness.results import (
    CLEAN,
    Cell,
    CellKey,
    DatasetInfo,
    ModelInfo,
    load_cells,
    save_cell,
    save_model,
)
from adasap_det.utils.config_tree import iter_datasets
from adasap_det.utils.dist import broadcast_from_rank0
from adasap_det.utils.input_size import pipeline_input_size


class Sweep:
    """Runs a grid of cells through a loaded model.

    The model is built and loaded once, by MMEngine's runner with the config's hooks, so that
    pruned checkpoints and averaged weights are what ``tools/test.py`` would evaluate.

    Args:
        runner: Built from ``cfg``, which names the checkpoint in ``load_from``.
        cfg: Whole config.
        out: Folder of the results.
        source: Of the corrupted images.
        grid: Cells to evaluate besides the clean one.
        name: Of the model, for reports.
        say: Told what happens, in the main process.

    Raises:
        ValueError: If the source lacks a cell, or has other images than the config's test set.
    """

    def __init__(
        self,
        runner: Runner,
        cfg: Config,
        *,
        out: str | os.PathLike[str],
        source: CellSource,
        grid: Sequence[CellKey],
        name: str,
        say: Callable[[str], None] = print,
    ) -> None:
        self.runner = runner
        self.cfg = cfg
        self.out = Path(out)
        self.source = source
        self.grid = [key for key in grid if key != CLEAN]
        self.name = name
        self.task = task_of(cfg)
        self.say = say if is_main_process() else lambda text: None
        self.sha256 = sha256_of(cfg.load_from)
        missing = source.missing(self.grid)
        if missing:
            names = ', '.join(f'{c} {s}' for c, s in missing[:5])
            more = f' and {len(missing) - 5} more' if len(missing) > 5 else ''
            raise ValueError(
                f'{source.title} lacks {names}{more}; build them, or choose others with '
                f'--corruptions and --severities'
            )
        # Before any time is spent: whether every cell has its list of images, and the clean
        # one all of them.
        for key in self.grid:
            source.cell(cfg.test_dataloader.dataset, key)
        source.clean(cfg.test_dataloader.dataset)
        #: Digest of all that every cell's values depend on.
        self.conditions = self.fingerprint_on(
            cfg.test_dataloader.dataset, self.task, source=source.fingerprint
        )

    def run(self) -> dict[CellKey, Cell]:
        """Evaluate what is not there yet; all cells of the grid, and the clean one."""
        there, stale = self._reusable()
        keys = [CLEAN, *self.grid]
        todo = [key for key in keys if key not in there]
        if there:
            self.say(f'{len(there)} of {len(keys)} cells are there already')
        if stale:
            self.say(
                f'{len(stale)} cells are evaluated again: checkpoint, config, test data, '
                f'benchmark or version have changed since'
            )
        began = time.perf_counter()
        images = next((cell.images for cell in there.values()), None)
        for number, key in enumerate(todo, 1):
            cell = self._evaluate(key)
            images = cell.images if images is None else images
            if cell.images != images:
                raise ValueError(
                    f'{_title(key)} has {cell.images} images and other cells have {images}; '
                    f'build the benchmark from the same test data'
                )
            if is_main_process():
                save_cell(self.out, cell)
            there[key] = cell
            left = (time.perf_counter() - began) / number * (len(todo) - number)
            values = '  '.join(f'{m} {percent(v):>4}' for m, v in cell.metrics.items())
            self.say(
                f'[{number}/{len(todo)}] {_title(key):22s} {values}  '
                f'{cell.seconds:.1f} s, {_duration(left)} left'
            )
        barrier()
        return {key: there[key] for key in keys}

    def describe(
        self, *, config: str, checkpoint: str, latency_ms: float | None = None
    ) -> ModelInfo:
        """Count and time the model; it may be done before :meth:`run`, whose hours it can save.

        MACs and latency are those of the size that the training pipeline resizes to, or, where it
        does not, of the first test image.

        Args:
            config, checkpoint: As they are to be recorded.
            latency_ms: Measured elsewhere; by default it is measured here, on a CPU.
        """
        dataset = self._loader(CLEAN).dataset
        try:
            size = pipeline_input_size(self.cfg)
        except ValueError:
            height, width = dataset[0]['inputs'].shape[-2:]
            size = (int(height), int(width))
        leaf = next(iter_datasets(self.cfg.test_dataloader.dataset))
        return describe_model(
            self.cfg,
            self.runner.model,
            name=self.name,
            config=config,
            checkpoint=checkpoint,
            checkpoint_sha256=self.sha256,
            dataset=DatasetInfo(
                type=type(dataset).__name__,
                split=split_name(leaf),
                images=len(dataset),
                classes=distinct(dataset.metainfo['classes']),
            ),
            input_size=size,
            latency_ms=latency_ms,
            conditions=self.conditions,
        )

    def record(self, model: ModelInfo) -> None:
        """Write ``model.json``, in the main process, after :meth:`run`: it marks results that are
        whole."""
        if is_main_process():
            save_model(self.out, model)

    def paint(self, number: int, *, severity: int = 3) -> None:
        """Paint what is predicted on the first images of the clean cell and of each corruption.

        Args:
            number: Of images a cell; 0 paints none.
            severity: Of the corrupted ones; the nearest of the grid.
        """
        if not (number and is_main_process()):
            return
        corruptions = dict.fromkeys(corruption for corruption, _ in self.grid)
        nearest = {
            name: min((s for c, s in self.grid if c == name), key=lambda s: abs(s - severity))
            for name in corruptions
        }
        datasets = {key: self._dataset(key) for key in (CLEAN, *nearest.items())}
        paint_examples(
            self.runner.model, datasets, folder=self.out, number=number, conditions=self.conditions
        )

    def load(self) -> None:
        """Load the checkpoint, as ``Runner.test`` does."""
        self.runner.call_hook('before_run')
        self.runner.load_or_resume()

    # ------------------------------------------------------------------ a cell

    def _evaluate(self, key: CellKey) -> Cell:
        began = time.perf_counter()
        loader = self._loader(key)
        metrics, per_class = measure(self.runner, loader, self.task)
        return Cell(
            corruption=key[0],
            severity=key[1],
            source=self.source.title if key != CLEAN else 'clean',
            images=len(loader.dataset),
            metrics=metrics,
            per_class=per_class,
            seconds=round(time.perf_counter() - began, 2),
            fingerprint=self.fingerprint(key),
            conditions=self.conditions,
        )

    def _dataset(self, key: CellKey) -> dict[str, Any]:
        dataset = self.cfg.test_dataloader.dataset
        return self.source.clean(dataset) if key == CLEAN else self.source.cell(dataset, key)

    def _loader(self, key: CellKey) -> Any:
        return build_loader(self.cfg.test_dataloader, self._dataset(key))

    # ------------------------------------------------------------------ what is there

    def fingerprint(self, key: CellKey) -> str:
        """Of all that a cell's values depend on."""
        return hashlib.sha256(f'{self.conditions} {key[0]} {key[1]}'.encode()).hexdigest()

    def fingerprint_on(self, dataset: Any, task: Task, **more: Any) -> str:
        """Of all that the model's values on a data set depend on: SHA-256, in hexadecimal.

        Every rank has to ask; the first one reads the lists and annotations.
        """
        files = broadcast_from_rank0(lambda: data_digest(dataset))
        parts = {
            'checkpoint': self.sha256,
            'model': _plain(self.cfg.model),
            # Of its own at the top level, as mmpretrain's configs have it.
            'data_preprocessor': _plain(self.cfg.get('data_preprocessor')),
            'dataset': _plain(dataset),
            'files': files,
            'evaluator': task.evaluator,
            **more,
        }
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _reusable(self) -> tuple[dict[CellKey, Cell], list[CellKey]]:
        """Cells on disk that fit, and those that do not; the main process looks."""
        there = broadcast_from_rank0(lambda: load_cells(self.out))
        wanted = {key: there[key] for key in (CLEAN, *self.grid) if key in there}
        fits = {k: c for k, c in wanted.items() if c.fingerprint == self.fingerprint(k)}
        return fits, [key for key in wanted if key not in fits]


def _plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, 'to_dict') else value


def _title(key: CellKey) -> str:
    return 'clean' if key[0] is None else f'{key[0]} {key[1]}'


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes} min {seconds:02d} s' if minutes else f'{seconds} s'
