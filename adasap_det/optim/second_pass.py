"""Temporary states of the second pass: the captured call, randomness, buffers and weights.

Each is a context manager that leaves everything as it was found, also after an error.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from adasap_det.utils.random_state import RandomState, same_randomness


@dataclass
class ModelCall:
    """One call of a model, with what is needed to make the same call again."""

    model: nn.Module
    args: tuple = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    random_state: RandomState | None = None
    count: int = 0
    output: Any = None

    def replay(self) -> Any:
        """Call the model again with equal inputs and equal randomness.

        The inputs are handed over as they are: a captured call is replayed once.
        """
        if self.random_state is None:
            raise RuntimeError('nothing was captured: the model was not called')
        with same_randomness(self.random_state):
            return self.model(*self.args, **self.kwargs)


@contextmanager
def capture_call(model: nn.Module) -> Iterator[ModelCall]:
    """Record the call of ``model`` made inside, its inputs copied before the model sees them.

    The copy matters for heads that change their inputs while they compute a loss.

    Yields:
        The :class:`ModelCall`; its ``count`` is the number of calls of the model.
    """
    call = ModelCall(model)

    def record(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        call.count += 1
        if call.count == 1:
            call.random_state = RandomState.capture()
            call.args, call.kwargs = copy.deepcopy((args, kwargs))

    handle = model.register_forward_pre_hook(record, with_kwargs=True)
    try:
        with capture_output(model, call):
            yield call
    finally:
        handle.remove()


@contextmanager
def capture_output(model: nn.Module, call: ModelCall | None = None) -> Iterator[ModelCall]:
    """Record only what the model returns inside.

    Yields:
        The :class:`ModelCall` with its ``output``, that of the last call.
    """
    call = call or ModelCall(model)

    def record(module: nn.Module, args: tuple, output: Any) -> None:
        call.output = output

    handle = model.register_forward_hook(record)
    try:
        yield call
    finally:
        handle.remove()


@contextmanager
def frozen_buffers(model: nn.Module) -> Iterator[None]:
    """Undo what happens inside to the model's buffers, batch-norm statistics above all.

    The second pass sees perturbed weights, whose statistics must not enter the running ones.
    Works for every kind of norm layer, momentum and running counter, since it looks at the
    buffers and not at the layers. Buffers are restored in place.
    """
    places = [
        (module._buffers, name, buffer)
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    buffers = [buffer for _, _, buffer in places]
    saved = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for owner, name, buffer in places:
            owner[name] = buffer  # some modules put a new tensor in its place
        with torch.no_grad():
            if buffers:
                torch._foreach_copy_(buffers, saved)


@contextmanager
def perturbed_weights(
    weights: Sequence[Tensor], perturbation: Sequence[Tensor], *, changed: Sequence[Tensor] = ()
) -> Iterator[None]:
    """Add ``perturbation`` to ``weights`` inside, and copy the old values back afterwards.

    The values are copied into the same storage, so they return to the last bit and everything
    that refers to the weights stays valid. Costs one copy of the weights.

    Args:
        weights: Tensors to perturb.
        perturbation: What is added, same shapes.
        changed: Tensors that other code changes inside, to be restored too; they may be among
            ``weights``.
    """
    perturbed = {id(w) for w in weights}
    restored = [*weights, *(w for w in changed if id(w) not in perturbed)]
    with torch.no_grad():
        saved = [w.detach().clone() for w in restored]
        if weights:
            torch._foreach_add_(list(weights), list(perturbation))
    del perturbation  # not needed any more; the second pass needs the memory
    try:
        yield
    finally:
        with torch.no_grad():
            if restored:
                torch._foreach_copy_(restored, saved)
