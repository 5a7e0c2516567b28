"""Models that take the structure of a pruned checkpoint while its weights are loaded.

With it, everything that loads a checkpoint works for pruned ones as well: ``init_detector``,
``DetInferencer``, ``load_checkpoint`` and plain ``model.load_state_dict``. The state dict says in
its metadata, where PyTorch keeps module versions, that it is that of a pruned model.
"""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModel
from torch import Tensor

from adasap_det.checkpoint.structure import META_KEY, shrink


def install_shrink_on_load() -> None:
    """Let every MMEngine model shrink to a state dict marked by :func:`mark_pruned`.

    Overrides the method that PyTorch has for such conversions, once; state dicts without the mark
    load as ever.
    """
    if getattr(BaseModel, '_adasap_det_shrinks', False):
        return
    load = BaseModel._load_from_state_dict

    def _load_from_state_dict(
        self: BaseModel,
        state_dict: dict[str, Tensor],
        prefix: str,
        local_metadata: dict[str, Any],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if META_KEY in local_metadata:
            own = {
                name[len(prefix) :]: tuple(tensor.shape)
                for name, tensor in state_dict.items()
                if name.startswith(prefix)
            }
            mark = local_metadata[META_KEY]
            # Older marks are the bare number of the format, on dense networks too.
            shrink(self, own, cut=mark['cut'] if isinstance(mark, dict) else None)
        load(self, state_dict, prefix, local_metadata, *args, **kwargs)

    BaseModel._load_from_state_dict = _load_from_state_dict  # type: ignore[method-assign]
    BaseModel._adasap_det_shrinks = True  # type: ignore[attr-defined]
