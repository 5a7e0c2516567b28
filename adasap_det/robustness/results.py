"""Evaluation results on disk: one file for the model, one for each cell of the sweep.

A cell is one corruption at one severity. The clean images are a cell too, with corruption None and
severity 0. All files are plain JSON, so that other tools can read them::

    RESULTS/model.json             the model: ModelInfo
    RESULTS/cells/clean.json       Cell
    RESULTS/cells/fog-3.json       Cell
    RESULTS/shifted.json           list of ShiftedSet: the model on other test sets
    RESULTS/images/images.json     list of ExampleImage; the image files are in the same folder
    RESULTS/clean_images.json      size, time and SHA-256 of the clean images, for the next run
"""

from __future__ import annotations

import dataclasses
import json
import os
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adasap_det.utils.io import atomic_write

SCHEMA = 1
CellKey = tuple[str | None, int]
CLEAN: CellKey = (None, 0)
_SHIFTED = 'shifted.json'


@dataclass(frozen=True)
class DatasetInfo:
    """The data set of an evaluation.

    Attributes:
        type: Class of the data set.
        split: Its list or annotation file.
        images: Number of images.
        classes: Class names, in the order of the labels.
    """

    type: str
    split: str
    images: int
    classes: tuple[str, ...]


@dataclass(frozen=True)
class LayerChannels:
    """Output channels of a layer, and of the same layer in the dense model."""

    layer: str
    channels: int
    dense_channels: int


@dataclass(frozen=True)
class ModelInfo:
    """An evaluated model.

    Attributes:
        name: Name in reports.
        config, checkpoint: Paths as given.
        checkpoint_sha256: SHA-256 of the checkpoint file.
        params: Number of parameters.
        macs: Multiply-accumulate operations for one image of ``input_size``; None if not counted.
        input_size: Height and width.
        latency_ms: Median time of one forward pass on ``device``, batch 1; None if not measured.
        device: Where the latency was measured.
        dataset: What the model was evaluated on.
        channels: Layers in the model's order.
        conditions: Digest of everything that all cells depend on: checkpoint, config, test data
            and benchmark. Cells and images with other conditions are ignored as outdated.
        imagenet_c: Whether the cells are ImageNet-C as published, or built as it was; None if an
            earlier version did not record it.
    """

    name: str
    config: str
    checkpoint: str
    checkpoint_sha256: str
    params: int
    macs: int | None
    input_size: tuple[int, ...] | None
    latency_ms: float | None
    device: str | None
    dataset: DatasetInfo
    channels: tuple[LayerChannels, ...] = ()
    conditions: str = ''
    imagenet_c: bool | None = None


@dataclass(frozen=True)
class Cell:
    """Metrics of one cell.

    Attributes:
        corruption: None for the clean images.
        severity: 1 to 5; 0 for the clean images.
        source: Where the images came from.
        images: Number of images.
        metrics: Values by metric, in [0, 1]; None where undefined.
        per_class: Values by metric and class; None for a class without objects.
        seconds: Duration of the evaluation.
        fingerprint: Digest of everything that the result depends on; a resumed sweep reuses a cell
            only if it matches.
        conditions: Same as in :class:`ModelInfo`.
    """

    corruption: str | None
    severity: int
    source: str
    images: int
    metrics: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]] = field(default_factory=dict)
    seconds: float = 0.0
    fingerprint: str = ''
    conditions: str = ''

    @property
    def key(self) -> CellKey:
        return self.corruption, self.severity


@dataclass(frozen=True)
class ShiftedSet:
    """Metrics on another test set of the same classes.

    Attributes:
        name: Name in reports, such as 'V2' for ImageNet-V2; its ratio to the clean value is R_V2.
        config: Config that defines the test set.
        images: Number of images.
        metrics: Values by metric, in [0, 1]; None where undefined.
        checkpoint_sha256: SHA-256 of the model's checkpoint file.
        fingerprint: Digest of everything that the result depends on.
    """

    name: str
    config: str
    images: int
    metrics: dict[str, float | None]
    checkpoint_sha256: str
    fingerprint: str


@dataclass(frozen=True)
class ExampleImage:
    """An image with predictions drawn on it.

    Attributes:
        file: File name in the folder ``images``.
        corruption: None for a clean image.
        severity: 1 to 5; 0 for a clean image.
        image_id: Identifies the image across models.
        conditions: Same as in :class:`ModelInfo`.
    """

    file: str
    corruption: str | None
    severity: int
    image_id: str
    conditions: str = ''


@dataclass(frozen=True)
class ModelResults:
    """Contents of a results folder."""

    model: ModelInfo
    cells: dict[CellKey, Cell]
    images: tuple[ExampleImage, ...]
    folder: Path
    shifted: tuple[ShiftedSet, ...] = ()


def cell_file(key: CellKey) -> str:
    """Return the name of a cell's file in the folder ``cells``."""
    corruption, severity = key
    return 'clean.json' if corruption is None else f'{corruption}-{severity}.json'


def save_model(folder: str | os.PathLike[str], model: ModelInfo) -> Path:
    """Write ``model.json`` atomically."""
    return _save(Path(folder) / 'model.json', {'schema': SCHEMA, **dataclasses.asdict(model)})


def save_cell(folder: str | os.PathLike[str], cell: Cell) -> Path:
    """Write the file of a cell atomically."""
    path = Path(folder) / 'cells' / cell_file(cell.key)
    return _save(path, {'schema': SCHEMA, **dataclasses.asdict(cell)})


def save_example_images(
    folder: str | os.PathLike[str], images: typing.Sequence[ExampleImage]
) -> Path:
    """Write the list of example images atomically."""
    path = Path(folder) / 'images' / 'images.json'
    return _save(path, [dataclasses.asdict(image) for image in images])


def save_shifted(folder: str | os.PathLike[str], sets: typing.Sequence[ShiftedSet]) -> Path:
    """Write the results on other test sets atomically."""
    return _save(Path(folder) / _SHIFTED, [dataclasses.asdict(one) for one in sets])


def load_shifted(
    folder: str | os.PathLike[str], *, checkpoint_sha256: str
) -> tuple[ShiftedSet, ...]:
    """Return the results of this checkpoint on other test sets; empty if there is no such file.

    Raises:
        ValueError: If the content of the file is invalid.
    """
    found = _load_list(Path(folder) / _SHIFTED, ShiftedSet)
    return tuple(one for one in found if one.checkpoint_sha256 == checkpoint_sha256)


def load_results(folder: str | os.PathLike[str]) -> ModelResults:
    """Read a results folder.

    Cells and images that an earlier run wrote for another checkpoint, config, data set or
    benchmark are ignored.

    Raises:
        ValueError: If the folder or a file is missing, or the content of a file is invalid.
    """
    root = Path(folder)
    model = load_model(root)
    cells, images = load_cells(root), load_example_images(root)
    return ModelResults(
        model=model,
        cells={key: cell for key, cell in cells.items() if cell.conditions == model.conditions},
        images=tuple(one for one in images if one.conditions == model.conditions),
        folder=root,
        shifted=load_shifted(root, checkpoint_sha256=model.checkpoint_sha256),
    )


def load_model(folder: str | os.PathLike[str]) -> ModelInfo:
    """Read the model of a results folder.

    Raises:
        ValueError: If ``model.json`` is missing or invalid.
    """
    path = Path(folder) / 'model.json'
    if not path.is_file():
        unfinished = any((path.parent / 'cells').glob('*.json'))
        raise ValueError(
            f'the evaluation in {path.parent} is not finished: model.json is missing; run '
            f'tools/test_robustness.py again with the same options, it resumes'
            if unfinished
            else f'{path.parent} contains no results: model.json is missing; pass the output '
            f'folder of tools/test_robustness.py'
        )
    model: ModelInfo = _build(ModelInfo, _load(path), path, schema=True)
    return model


def load_cells(
    folder: str | os.PathLike[str], *, skip: Callable[[str], None] | None = None
) -> dict[CellKey, Cell]:
    """Read the cells of a results folder, which may be incomplete.

    Args:
        folder: Results folder.
        skip: Called with the message of each invalid file, which is then left out.

    Raises:
        ValueError: If the content of a file is invalid and ``skip`` is not given.
    """
    cells = {}
    for path in sorted((Path(folder) / 'cells').glob('*.json')):
        if path.name.startswith('.'):
            continue
        try:
            cell = _load_cell(path)
        except ValueError as error:
            if skip is None:
                raise
            skip(str(error))
            continue
        cells[cell.key] = cell
    return dict(sorted(cells.items(), key=lambda item: (item[0][0] or '', item[0][1])))


def _load_cell(path: Path) -> Cell:
    cell: Cell = _build(Cell, _load(path), path, schema=True)
    if cell_file(cell.key) != path.name:
        raise ValueError(f'{path} contains the cell {cell_file(cell.key)}; rename or delete it')
    for metrics in (cell.metrics, *cell.per_class.values()):
        for name, value in metrics.items():
            if value is not None and not 0 <= value <= 1:  # nor nan
                raise ValueError(
                    f'{path}: {name} is {value}, not in [0, 1]; delete it and run the evaluation '
                    'again'
                )
    return cell


def load_example_images(folder: str | os.PathLike[str]) -> tuple[ExampleImage, ...]:
    """Read the list of example images of a results folder; empty if there is no such file.

    Raises:
        ValueError: If the content of the file is invalid.
    """
    return _load_list(Path(folder) / 'images' / 'images.json', ExampleImage)


def _save(path: Path, data: Any) -> Path:
    writer = atomic_write(path, durable=True)
    with writer as temporary, temporary.open('w', encoding='utf-8') as file:
        json.dump(data, file, indent=1, allow_nan=False)
        file.write('\n')
    return path


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text('utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f'cannot read {path}: {error}; delete it and run the evaluation again'
        ) from error


def _load_list(path: Path, cls: type[Any]) -> tuple[Any, ...]:
    """Read a list of dataclass instances; empty if there is no such file."""
    if not path.is_file():
        return ()
    entries = _load(path)
    if not isinstance(entries, list):
        raise ValueError(f'{path} must contain a list')
    return tuple(_build(cls, entry, path) for entry in entries)


def _build(cls: type[Any], data: Any, path: Path, *, schema: bool = False) -> Any:
    """Build a dataclass from JSON data and check the type of every field."""
    if not isinstance(data, Mapping):
        raise ValueError(f'{path} must contain an object, got {type(data).__name__}')
    if schema and data.get('schema') != SCHEMA:
        raise ValueError(
            f'{path} has schema {data.get("schema")!r}, this version reads {SCHEMA}; run the '
            f'evaluation again'
        )
    hints = typing.get_type_hints(cls)
    values = {}
    for item in dataclasses.fields(cls):
        if item.name in data:
            values[item.name] = _convert(hints[item.name], data[item.name], f'{path}: {item.name}')
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise ValueError(f'{path} has no {item.name!r}; run the evaluation again')
    return cls(**values)


def _convert(hint: Any, value: Any, what: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        hint = next(argument for argument in arguments if argument is not type(None))
        return _convert(hint, value, what)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(arguments[0], item, what) for item in value)
    if origin is dict and isinstance(value, dict):
        return {key: _convert(arguments[1], item, f'{what}.{key}') for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(Any, hint), value, Path(what))
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if (
        isinstance(hint, type)
        and isinstance(value, hint)
        and not (hint is int and isinstance(value, bool))
    ):
        return value
    raise ValueError(f'{what} is {value!r}, not {getattr(hint, "__name__", hint)}')
