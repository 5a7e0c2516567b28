"""Evaluate one model on every cell; an interrupted sweep resumes."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.runner import Runner
from PIL import UnidentifiedImageError

from adasap_det.robustness.benchmark.options import software
from adasap_det.robustness.evaluation.cell_data import Built, CellSource, split_name
from adasap_det.robustness.evaluation.class_names import distinct
from adasap_det.robustness.evaluation.clean_data import check_clean_data
from adasap_det.robustness.evaluation.data_files import data_digest
from adasap_det.robustness.evaluation.example_images import draw_examples
from adasap_det.robustness.evaluation.measure import build_loader, measure
from adasap_det.robustness.evaluation.model_info import describe_model, sha256_of
from adasap_det.robustness.evaluation.task import Task, task_of
from adasap_det.robustness.metrics import percent
from adasap_det.robustness.per_image import has_outcomes, save_outcomes
from adasap_det.robustness.results import (
    CLEAN,
    Cell,
    CellKey,
    DatasetInfo,
    ModelInfo,
    load_cells,
    load_model,
    save_cell,
    save_model,
)
from adasap_det.utils.config_tree import iter_datasets
from adasap_det.utils.dist import broadcast_from_rank0
from adasap_det.utils.input_size import pipeline_input_size
from adasap_det.utils.plural import counted

_UNREADABLE = (FileNotFoundError, PermissionError, UnidentifiedImageError)
#: In the errors of OpenMMLab's transforms and of Pillow on damaged images.
_UNDECODABLE = ('failed to load image', 'image file is truncated', 'reading image file')


class Sweep:
    """Evaluates a model on a grid of cells and writes one file per cell.

    The model is built and loaded once, by MMEngine's runner with the config's hooks, so that
    pruned checkpoints and averaged weights are handled as in ``tools/test.py``.

    Args:
        runner: Built from ``cfg``; the checkpoint is given in ``load_from``.
        cfg: Full config.
        out: Results folder.
        source: Source of the corrupted images.
        grid: Cells to evaluate in addition to the clean one.
        name: Name of the model in reports.
        per_image: Also write what each image contributes, for paired intervals; see
            :func:`adasap_det.robustness.bootstrap.paired_interval`.
        say: Called with progress messages in the main process.

    Raises:
        ValueError: If the source does not contain a cell, or was not built from the images and
            annotations of the config's test set, or if ``out`` holds cells of the checkpoint under
            other conditions that the grid does not replace.
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
        per_image: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        self.runner = runner
        self.cfg = cfg
        self.out = Path(out)
        self.source = source
        self.grid = [key for key in grid if key != CLEAN]
        self.name = name
        self.per_image = per_image
        self.task = task_of(cfg)
        self.say = say if is_main_process() else lambda text: None
        self.sha256 = sha256_of(cfg.load_from)
        missing = source.missing(self.grid)
        if missing:
            names = ', '.join(f'{c} {s}' for c, s in missing[:5])
            more = f' and {len(missing) - 5} more' if len(missing) > 5 else ''
            raise ValueError(
                f'{source.title} does not contain {names}{more}; build them, or choose others with '
                f'--corruptions and --severities'
            )
        # Fail early if a cell has no list of images or the clean data set is incomplete.
        for key in self.grid:
            source.cell(cfg.test_dataloader.dataset, key)
        source.clean(cfg.test_dataloader.dataset)
        if isinstance(source, Built):
            broadcast_from_rank0(
                lambda: check_clean_data(
                    source,
                    cfg.test_dataloader.dataset,
                    cache=self.out / 'clean_images.json',
                    say=self.say,
                )
            )
        #: Digest of everything that all cells depend on.
        self.conditions = self.fingerprint_on(
            cfg.test_dataloader.dataset, self.task, source=source.fingerprint
        )
        broadcast_from_rank0(self._check_hides_no_results)

    def run(self) -> dict[CellKey, Cell]:
        """Evaluate the cells that are not yet evaluated; return the clean cell and the grid."""
        done, stale = self._reusable()
        keys = [CLEAN, *self.grid]
        todo = [key for key in keys if key not in done]
        if done:
            self.say(f'{len(done)} of {len(keys)} cells are already evaluated')
        if stale:
            self.say(
                f'evaluated again: {counted(len(stale), "cell")}, since checkpoint, config, '
                f'test data, benchmark or version have changed'
            )
        began = time.perf_counter()
        images = next((cell.images for cell in done.values()), None)
        for number, key in enumerate(todo, 1):
            cell = self._evaluate(key)
            images = cell.images if images is None else images
            if cell.images != images:
                raise ValueError(
                    f'{_title(key)} has {cell.images} images, other cells have {images}; '
                    f'build the benchmark from the same test data'
                )
            if is_main_process():
                save_cell(self.out, cell)
            done[key] = cell
            left = (time.perf_counter() - began) / number * (len(todo) - number)
            values = '  '.join(f'{m} {percent(v):>4}' for m, v in cell.metrics.items())
            self.say(
                f'[{number}/{len(todo)}] {_title(key):22s} {values}  '
                f'{cell.seconds:.1f} s, {_duration(left)} left'
            )
        barrier()
        return {key: done[key] for key in keys}

    def describe(
        self, *, config: str, checkpoint: str, latency_ms: float | None = None
    ) -> ModelInfo:
        """Count parameters and MACs and measure the latency.

        Call it before :meth:`run`, so that an error here does not cost the time of the sweep. The
        input has the size that the training pipeline resizes to or, if it does not resize, the
        size of the first test image.

        Args:
            config, checkpoint: Recorded as given.
            latency_ms: Latency measured elsewhere; by default it is measured here, on a CPU.
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
            imagenet_c=self.source.imagenet_c,
        )

    def record(self, model: ModelInfo) -> None:
        """Write ``model.json`` in the main process. It marks complete results, so call it after
        :meth:`run`."""
        if is_main_process():
            save_model(self.out, model)

    def paint(self, number: int, *, severity: int = 3) -> None:
        """Draw the predictions on the first images of the clean cell and of each corruption.

        Args:
            number: Number of images per cell; 0 draws none.
            severity: Severity of the corrupted images; the nearest one in the grid is used.
        """
        if not (number and is_main_process()):
            return
        corruptions = dict.fromkeys(corruption for corruption, _ in self.grid)
        nearest = {
            name: min((s for c, s in self.grid if c == name), key=lambda s: abs(s - severity))
            for name in corruptions
        }
        datasets = {key: self._dataset(key) for key in (CLEAN, *nearest.items())}
        draw_examples(
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
        try:
            measured = measure(self.runner, loader, self.task, per_image=self.per_image)
        except (OSError, AssertionError) as error:
            reason = str(error).strip().rpartition('\n')[2]  # below the traceback of a worker
            if not (isinstance(error, _UNREADABLE) or any(text in reason for text in _UNDECODABLE)):
                raise
            built = isinstance(self.source, Built) and key != CLEAN
            repair = ', or repair the benchmark by running its build again' if built else ''
            raise ValueError(
                f'an image of {_title(key)} cannot be read: {reason}; restore it{repair}'
            ) from error
        fingerprint = self.fingerprint(key)
        if measured.per_image is not None:
            save_outcomes(self.out, key, measured.per_image, fingerprint=fingerprint)
        return Cell(
            corruption=key[0],
            severity=key[1],
            source=self.source.title if key != CLEAN else 'clean',
            images=len(loader.dataset),
            metrics=measured.metrics,
            per_class=measured.per_class,
            seconds=round(time.perf_counter() - began, 2),
            fingerprint=fingerprint,
            conditions=self.conditions,
        )

    def _dataset(self, key: CellKey) -> dict[str, Any]:
        dataset = self.cfg.test_dataloader.dataset
        return self.source.clean(dataset) if key == CLEAN else self.source.cell(dataset, key)

    def _loader(self, key: CellKey) -> Any:
        return build_loader(self.cfg.test_dataloader, self._dataset(key))

    # ------------------------------------------------------------------ resuming

    def fingerprint(self, key: CellKey) -> str:
        """Return the digest of everything that a cell depends on."""
        return hashlib.sha256(f'{self.conditions} {key[0]} {key[1]}'.encode()).hexdigest()

    def fingerprint_on(self, dataset: Any, task: Task, **more: Any) -> str:
        """Return the digest of everything that results on a data set depend on (SHA-256, hex).

        Must be called on all ranks; rank 0 reads the lists, annotations and versions.
        """
        files, versions = broadcast_from_rank0(lambda: (data_digest(dataset), self._versions()))
        parts = {
            'checkpoint': self.sha256,
            'model': _to_dict(self.cfg.model),
            # mmpretrain's configs have it at the top level.
            'data_preprocessor': _to_dict(self.cfg.get('data_preprocessor')),
            'dataset': _to_dict(dataset),
            'files': files,
            'evaluator': task.evaluator,
            'versions': versions,
            **more,
        }
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _versions(self) -> dict[str, Any]:
        names = ('adasap_det', 'mmengine', 'mmcv', str(self.cfg.get('default_scope')))
        packages = {name: getattr(sys.modules.get(name), '__version__', None) for name in names}
        return {**software(), **packages}

    def _check_hides_no_results(self) -> None:
        """Check that this run replaces every result of the same checkpoint that it outdates."""
        try:
            model = load_model(self.out)
        except ValueError:  # none yet, or to be replaced
            return
        if model.checkpoint_sha256 != self.sha256 or model.conditions == self.conditions:
            return
        cells = load_cells(self.out, skip=lambda text: None).values()
        hidden = [cell.key for cell in cells if cell.conditions == model.conditions]
        hidden = [key for key in hidden if key not in (CLEAN, *self.grid)]
        if hidden:
            raise ValueError(
                f'{self.out} holds {counted(len(hidden), "other cell")}, such as '
                f'{_title(hidden[0])}, of the same checkpoint on another benchmark or with another '
                f'config, test data, seed or version, and this run would outdate them; give the '
                f'same options as before, another folder with --out, or delete {self.out}'
            )

    def _reusable(self) -> tuple[dict[CellKey, Cell], list[CellKey]]:
        """Read the cells on disk, in the main process: those that match, and outdated ones."""
        cells = broadcast_from_rank0(
            lambda: load_cells(self.out, skip=lambda text: self.say(f'evaluated again: {text}'))
        )
        existing = {key: cells[key] for key in (CLEAN, *self.grid) if key in cells}
        valid = {k: c for k, c in existing.items() if c.fingerprint == self.fingerprint(k)}
        stale = [key for key in existing if key not in valid]
        if self.per_image:
            complete = broadcast_from_rank0(
                lambda: {key for key, cell in valid.items() if has_outcomes(self.out, cell)}
            )
            valid = {key: cell for key, cell in valid.items() if key in complete}
        return valid, stale


def _to_dict(value: Any) -> Any:
    return value.to_dict() if hasattr(value, 'to_dict') else value


def _title(key: CellKey) -> str:
    return 'clean' if key[0] is None else f'{key[0]} {key[1]}'


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes} min {seconds:02d} s' if minutes else f'{seconds} s'
