"""The structure of a pruned model in safetensors files, whose metadata is text."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

from torch import Tensor, nn

from .structure import META_KEY, marks_in


def structure_metadata(model: nn.Module) -> dict[str, str]:
    """Metadata for safetensors' ``save_file`` or ``save_model``: the structure of a pruned model.

    With it, ``load_pruned`` reads the file::

        save_file(model.state_dict(), 'pruned.safetensors', metadata=structure_metadata(model))

    Empty for a dense model.
    """
    marks = marks_in(model.state_dict())
    return {META_KEY: json.dumps(marks)} if marks else {}


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict with its mark, on the CPU.

    Raises:
        ImportError: If safetensors is missing.
    """
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise ImportError(
            f'{path} needs the package safetensors; install it with: pip install safetensors'
        ) from error
    with safe_open(path, framework='pt') as file:
        metadata = file.metadata() or {}
        names = file.keys()
        state = OrderedDict((name, file.get_tensor(name)) for name in names)
    # safetensors' save_model writes shared tensors once, and under the other names where they are.
    state.update({name: state[to] for name, to in metadata.items() if to in state})
    marks = json.loads(metadata.get(META_KEY, '{}'))
    state._metadata = OrderedDict(  # type: ignore[attr-defined]
        (name, {META_KEY: mark}) for name, mark in marks.items()
    )
    return state
