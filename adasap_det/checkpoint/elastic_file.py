"""One file with all sizes of a network: what is in it, and the state dict of a size.

A size is a selection of positions of the dense tensors, so that neither the model nor its channel
groups are needed.
"""

from __future__ import annotations

import bisect
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from .structure import META_KEY

SIZES_KEY = 'adasap_det_sizes'
"""Key of the sizes in the content of a file."""

SIZES_FORMAT = 1

PARAMETERS, MACS, LATENCY = 'parameters', 'MACs', 'latency'
"""Units of the costs that a size can be chosen by."""

_ARGUMENTS = {'keep_ratio': PARAMETERS, 'macs_ratio': MACS, 'latency_ratio': LATENCY}


def choose_size(content: Mapping[str, Any], **ratios: float | None) -> Mapping[str, Any]:
    """The checkpoint of one size, from the content of a file with all of them.

    The file is a checkpoint of the whole network. Under :data:`SIZES_KEY` it has ``format``;
    ``structure``, the mark of the whole network; ``channels``, the step in which each channel goes,
    by group; ``positions``, the same by tensor and dimension; ``costs``, after each number of steps
    from none to all, by unit; ``statistics``, a list of batch norm's by ascending ``step`` that
    begins with the whole network's; and ``trained``, the ``keep_ratio_range`` of the training and
    its ``unit``, or None.

    Args:
        content: Of the file.
        **ratios: ``keep_ratio``, ``macs_ratio`` or ``latency_ratio``, in (0, 1]; the largest size
            that costs at most this ratio of the whole network is taken.

    Returns:
        ``content`` where no ratio is given.

    Raises:
        ValueError: If more than one ratio is given, it cannot be reached, or the file has one size.
    """
    given = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    if not given:
        return content
    if len(given) > 1:
        raise ValueError(f'{" and ".join(given)} exclude each other; give one of them')
    ((argument, ratio),) = given.items()
    sizes = content.get(SIZES_KEY)
    if sizes is None:
        raise ValueError(
            f'{argument}={ratio} chooses from the sizes of a file, and this one has a single size; '
            f'write one with all sizes (adasap-prune --elastic), or load it without {argument}'
        )
    if sizes['format'] != SIZES_FORMAT:
        raise ValueError(
            f'the file has sizes of format {sizes["format"]!r} and this version of adasap_det '
            f'reads format {SIZES_FORMAT}; write it again with this version'
        )
    removed = steps_within(sizes['costs'], ratio, argument)
    _warn_of_range(sizes['trained'], ratio, _ARGUMENTS[argument])
    meta = {key: value for key, value in (content.get('meta') or {}).items() if key != META_KEY}
    return {'state_dict': state_after(content, removed), 'meta': meta}


def steps_within(costs: Mapping[str, Tensor], ratio: float, argument: str) -> int:
    """Number of steps after which a cost is at most ``ratio`` of the whole network's.

    Args:
        costs: Cost after each number of steps, by unit.
        ratio: In (0, 1].
        argument: ``keep_ratio``, ``macs_ratio`` or ``latency_ratio``: which cost.

    Raises:
        ValueError: If it cannot be reached, or the file does not have this cost.
    """
    unit = _ARGUMENTS[argument]
    if unit not in costs:
        raise ValueError(
            f'{argument}: the file has costs in {", ".join(costs)} only; write it with '
            f'--budget latency'
        )
    if not 0 < ratio <= 1:
        raise ValueError(f'{argument} must lie in (0, 1], got {ratio}')
    cost = costs[unit].tolist()
    limit = ratio * cost[0]
    removed = bisect.bisect_left(range(len(cost)), True, key=lambda step: cost[step] <= limit)
    if removed == len(cost):
        raise ValueError(
            f'{argument}={ratio} cannot be reached; the smallest size of the file has '
            f'{cost[-1] / cost[0]:.4f} of the {unit}'
        )
    return removed


def state_after(content: Mapping[str, Any], removed: int) -> dict[str, Any]:
    """State dict of the size after so many steps, marked as that of a pruned model.

    Batch norm's statistics are those stored for this size. Where there are none they are
    interpolated between the next larger and the next smaller size that has some, linearly in the
    parameters; channels that the smaller one lacks have the larger one's.

    Args:
        content: Of the file.
        removed: Number of steps.
    """
    whole, sizes = content['state_dict'], content[SIZES_KEY]
    positions = sizes['positions']
    state = OrderedDict(
        (name, _selected(tensor, positions.get(name, {}), removed))
        for name, tensor in whole.items()
    )
    state.update(_statistics(sizes, removed))
    local = getattr(whole, '_metadata', {})
    mark = {META_KEY: _mark(sizes, removed)}
    metadata = OrderedDict({**local, '': {**local.get('', {}), **mark}})
    state._metadata = metadata  # type: ignore[attr-defined]
    return state


def _selected(tensor: Tensor, dims: Mapping[int, Tensor], removed: int) -> Tensor:
    for dim, steps in dims.items():
        tensor = tensor.index_select(dim, _left(steps, removed))
    return tensor


def _left(steps: Tensor, removed: int) -> Tensor:
    return (steps >= removed).nonzero().flatten()


def _mark(sizes: Mapping[str, Any], removed: int) -> dict[str, Any]:
    mark = sizes['structure']
    pruned = {name: [*dims] for name, dims in mark['pruned_dims'].items()}
    for name, dims in sizes['positions'].items():
        fewer = {dim for dim, steps in dims.items() if int(steps.min()) < removed}
        if fewer:
            pruned[name] = sorted(fewer.union(pruned.get(name, ())))
    kept = {name: [*channels] for name, channels in mark['kept'].items()}
    for name, steps in sizes['channels'].items():
        kept[name] = [kept[name][i] for i in _left(steps, removed).tolist()]
    return {**mark, 'pruned_dims': pruned, 'kept': kept}


def _statistics(sizes: Mapping[str, Any], removed: int) -> dict[str, Tensor]:
    stored = sizes['statistics']
    place = bisect.bisect_left(stored, removed, key=lambda size: size['step'])
    if place < len(stored) and stored[place]['step'] == removed:
        return dict(stored[place]['tensors'])
    larger = stored[place - 1]
    smaller = stored[place] if place < len(stored) else None
    found = {}
    for name, tensor in larger['tensors'].items():
        steps = sizes['positions'].get(name, {}).get(0)
        if steps is None:  # keeps all its channels in every size
            steps = torch.full(tensor.shape, removed if smaller is None else smaller['step'])
        steps = steps[steps >= larger['step']]
        found[name] = tensor[steps >= removed]
        if smaller is not None:
            both = steps[steps >= removed] >= smaller['step']
            weight = _progress(sizes, larger['step'], removed, smaller['step'])
            found[name][both] = torch.lerp(found[name][both], smaller['tensors'][name], weight)
    return found


def _progress(sizes: Mapping[str, Any], larger: int, here: int, smaller: int) -> float:
    """How far a size is from a larger one to a smaller one, in parameters."""
    cost = sizes['costs'][PARAMETERS]
    return float((cost[larger] - cost[here]) / (cost[larger] - cost[smaller]))


def _warn_of_range(trained: Mapping[str, Any] | None, ratio: float, unit: str) -> None:
    if trained is None or trained['unit'] != unit:
        return
    least, largest = trained['keep_ratio_range']
    if not least <= ratio <= largest:
        print_log(
            f'{ratio} of the {unit} lies outside of the sizes that were trained, {least} to '
            f'{largest}; the accuracy may be low',
            logger='current',
            level=logging.WARNING,
        )
