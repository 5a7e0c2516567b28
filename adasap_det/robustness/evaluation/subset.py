"""Select the images of a data set that a benchmark was built from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.registry import DATASETS

from adasap_det.robustness.transforms import image_name


@dataclass(frozen=True)
class ImageList:
    """Images of a data set, in its order.

    Attributes:
        names: Image names as in ``tools/make_voc_c.py``.
        labels: Of the classes; None where an image has not just one.
        classes: Class names, if the data set has any.
    """

    names: tuple[str, ...]
    labels: tuple[int | None, ...]
    classes: tuple[str, ...] | None


def list_images(dataset: Mapping[str, Any], *, naming: str) -> ImageList:
    """List the images of a data set.

    Args:
        dataset: Config, without wrappers; its own ``indices`` are ignored.
        naming: ``image_id`` of :class:`~adasap_det.robustness.transforms.CorruptImage`.
    """
    unrestricted = {key: value for key, value in dataset.items() if key != 'indices'}
    built = DATASETS.build({**unrestricted, 'pipeline': []})  # loads no image
    entries = [built.get_data_info(index) for index in range(len(built))]
    classes = built.metainfo.get('classes')
    return ImageList(
        names=tuple(image_name(entry, naming) for entry in entries),
        labels=tuple(entry.get('gt_label') for entry in entries),
        classes=None if classes is None else tuple(classes),
    )


def benchmark_indices(
    names: Sequence[str], selected: Collection[str], *, own: int | Sequence[int] | None = None
) -> list[int] | None:
    """Return the ``indices`` that restrict a data set to the images of a benchmark.

    Args:
        names: Names of the data set's images.
        selected: Names of the benchmark's images.
        own: ``indices`` in the data set's config. They index the benchmark's images, as they do in
            its cells.

    Returns:
        The indices, or None if no restriction is needed.

    Raises:
        ValueError: If images of the benchmark are missing from the data set.
    """
    known = set(names)
    missing = [name for name in selected if name not in known]
    if missing:
        raise ValueError(
            f'{len(missing)} of the {len(selected)} images that the benchmark was built from are '
            f'missing from the test data, such as {missing[0]!r}; the test data have {len(names)}'
            + (f', such as {names[0]!r}' if names else '')
            + '; use a config of the data that the benchmark was built from'
        )
    found = [index for index, name in enumerate(names) if name in selected]
    if len(found) == len(names):
        return None
    if own is None:
        return found
    return found[:own] if isinstance(own, int) else [found[index] for index in own]
