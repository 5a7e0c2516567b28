"""Which images of a data set a benchmark was made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.registry import DATASETS

from adasap_det.robustness.transforms import image_name


@dataclass(frozen=True)
class Listing:
    """The images of a data set, in its order.

    Attributes:
        names: As ``tools/make_voc_c.py`` names them.
        labels: Of the classes; None where an image has not just one.
        classes: Names, if the data set knows them.
    """

    names: tuple[str, ...]
    labels: tuple[int | None, ...]
    classes: tuple[str, ...] | None


def listing(dataset: Mapping[str, Any], *, naming: str) -> Listing:
    """List a data set.

    Args:
        dataset: Config, without wrappers; its own ``indices`` do not count.
        naming: ``image_id`` of :class:`~adasap_det.robustness.transforms.CorruptImage`.
    """
    # No image is loaded.
    whole = {key: value for key, value in dataset.items() if key != 'indices'}
    built = DATASETS.build({**whole, 'pipeline': []})
    entries = [built.get_data_info(index) for index in range(len(built))]
    classes = built.metainfo.get('classes')
    return Listing(
        names=tuple(image_name(entry, naming) for entry in entries),
        labels=tuple(entry.get('gt_label') for entry in entries),
        classes=None if classes is None else tuple(classes),
    )


def kept_indices(
    names: Sequence[str], kept: Collection[str], *, own: int | Sequence[int] | None = None
) -> list[int] | None:
    """What ``indices`` of the data set has to be for only the benchmark's images to be left.

    Args:
        names: Of the data set's images.
        kept: Of the benchmark's.
        own: ``indices`` of the data set as it is, which count among the benchmark's images, as
            they do in its cells.

    Returns:
        None where they are all.

    Raises:
        ValueError: If the data set lacks some of the benchmark's.
    """
    there = set(names)
    lost = [name for name in kept if name not in there]
    if lost:
        raise ValueError(
            f'the test data lack {len(lost)} of the {len(kept)} images that the benchmark was '
            f'made of, such as {lost[0]!r}; they have {len(names)}'
            + (f', such as {names[0]!r}' if names else '')
            + '; take a config of the data that it was built from'
        )
    found = [index for index, name in enumerate(names) if name in kept]
    if len(found) == len(names):
        return None
    if own is None:
        return found
    return found[:own] if isinstance(own, int) else [found[index] for index in own]
