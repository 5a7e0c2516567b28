"""MMEngine models that take over the structure of a pruned state dict while it is loaded.

With it, everything that loads a checkpoint works for pruned ones as well: ``init_detector``,
``DetInferencer``, ``load_checkpoint`` and plain ``model.load_state_dict``. For all versions of
MMEngine: a model there has no hook that runs before its state dict is compared with it.
"""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModel
from torch import Tensor

from adasap_det.checkpoint.structure import META_KEY, shrink


def install_shrink_on_load() -> None:
    """Let every MMEngine model shrink to a state dict with the mark of ``mark_pruned``.

    Overrides ``_load_from_state_dict``, PyTorch's method for such conversions, once. State dicts
    without the mark load as before.
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
            shapes = {
                name[len(prefix) :]: tuple(tensor.shape)
                for name, tensor in state_dict.items()
                if name.startswith(prefix)
            }
            shrink(self, {**local_metadata[META_KEY], 'shapes': shapes})
        load(self, state_dict, prefix, local_metadata, *args, **kwargs)

    BaseModel._load_from_state_dict = _load_from_state_dict  # type: ignore[method-assign]
    BaseModel._adasap_det_shrinks = True  # type: ignore[attr-defined]
