"""MMEngine models that take over the structure of a pruned state dict while it is loaded.

With it, everything that loads a checkpoint works for pruned ones as well: ``init_detector``,
``DetInferencer``, ``load_checkpoint`` and plain ``model.load_state_dict``. For all versions of
MMEngine: a model there has no hook that runs before its state dict is compared with it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


def install_shrink_on_load() -> None:
    """Let every MMEngine model shrink to a state dict with the mark of a pruned model.

    Overrides ``_load_from_state_dict``, PyTorch's method for such conversions, once. State dicts
    without the mark load as before. A marked one that does not fit raises the ValueError of
    :func:`~adasap_det.pruning.shrink`, also with ``strict=False``; only tensors that differ in
    dimensions that were not pruned, as an output layer with other classes, are left to the caller.
    """
    from mmengine.model import BaseModel

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
        # Not at the top: this patch is applied while MMEngine is imported, perhaps by that module.
        from adasap_det.checkpoint.structure import META_KEY, shapes_of, shrink, shrink_to_state

        if not prefix:
            shrink_to_state(self, state_dict)
        elif META_KEY in local_metadata:  # inside another module, such as an averaged model
            own = {k[len(prefix) :]: t for k, t in state_dict.items() if k.startswith(prefix)}
            shrink(self, {**local_metadata[META_KEY], 'shapes': shapes_of(own)})
        load(self, state_dict, prefix, local_metadata, *args, **kwargs)

    BaseModel._load_from_state_dict = _load_from_state_dict  # type: ignore[method-assign]
    BaseModel._adasap_det_shrinks = True  # type: ignore[attr-defined]
