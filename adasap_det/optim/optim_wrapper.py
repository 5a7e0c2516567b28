"""Two-pass sharpness-aware steps around any optimizer and any unmodified model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from adasap_det.engine.unwrap import unwrap

from .perturbation import (
    FORMS,
    Membership,
    Rows,
    adaptive_radius,
    ascent_perturbation,
    check_radii,
)
from .replay import ModelCall, capture_call, frozen_buffers, perturbed_weights

STAGES = ('plain', 'adaptive', 'uniform')
UNGROUPED = ('uniform', 'none')

# (rho_min, rho_max, rho) by form. ASAM: the paper's. SAM: Foret et al.'s 0.05, with the ratio of
# the paper's two radii; ASAM's own values would throw the SAM form far out of the linear regime.
DEFAULT_RADII = {'asam': (0.01, 2.0, 2.0), 'sam': (0.00025, 0.05, 0.05)}


class SharpnessAwareMixin(OptimWrapper):
    """The two-pass step, laid over any of MMEngine's optimizer wrappers.

    ``optim_context`` records the call that the model's own ``train_step`` makes, so that
    ``update_params`` can make it again at the perturbed weights. Neither the model nor the
    training loop knows of it, and the wrapper that DDP puts around the model needs no change.
    """

    def __init__(
        self,
        *args: object,
        form: str = 'asam',
        rho_min: float | None = None,
        rho_max: float | None = None,
        rho: float | None = None,
        eta: float = 0.01,
        ungrouped: str = 'uniform',
        exclude: Sequence[str] = (),
        sync_perturbation: bool = False,
        foreach: bool = True,
        **kwargs: object,
    ) -> None:
        if kwargs.get('clip_grad') is not None:
            # MMEngine pops 'type' from the caller's own dict.
            kwargs['clip_grad'] = dict(kwargs['clip_grad'])  # type: ignore[call-overload]
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        if form not in FORMS:
            raise ValueError(f'optim_wrapper.form must be one of {FORMS}, got {form!r}')
        if ungrouped not in UNGROUPED:
            raise ValueError(
                f'optim_wrapper.ungrouped must be one of {UNGROUPED}, got {ungrouped!r}'
            )
        if eta < 0:
            raise ValueError(f'optim_wrapper.eta must be >= 0, got {eta}')
        default_min, default_max, default_rho = DEFAULT_RADII[form]
        self.rho_max = default_max if rho_max is None else rho_max
        self.rho_min = min(default_min, self.rho_max) if rho_min is None else rho_min
        self.rho = default_rho if rho is None else rho
        check_radii(rho_min=self.rho_min, rho_max=self.rho_max)
        if not 0 <= self.rho < math.inf:
            raise ValueError(f'optim_wrapper.rho must be finite and >= 0, got {self.rho}')
        self.form = form
        self.eta = eta
        self.ungrouped = ungrouped
        self.exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        self.sync_perturbation = sync_perturbation
        self.foreach = foreach

        self._stage = 'uniform'
        self._rows: dict[int, Rows] = {}  # by id of the parameter
        self._radii: Tensor | None = None
        self._call: ModelCall | None = None
        self._ascending = False

    # ------------------------------------------------------------------ what the stages set

    @property
    def stage(self) -> str:
        """``'plain'`` (one pass), ``'adaptive'`` (a radius per channel) or ``'uniform'``."""
        return self._stage

    @stage.setter
    def stage(self, stage: str) -> None:
        if stage not in STAGES:
            raise ValueError(f'stage must be one of {STAGES}, got {stage!r}')
        self._stage = stage

    def set_channels(self, rows: Mapping[nn.Parameter, Rows]) -> None:
        """Say which channel each row of each parameter belongs to.

        Args:
            rows: For parameters that belong to channel groups, the channel of each row, counted
                over the whole model; -1 for a row of no group. To be set anew after a cut.
        """
        # Ball 0 is that of all rows of no group, ball c + 1 that of channel c.
        self._rows = {id(p): Rows(row.dim, row.ball + 1) for p, row in rows.items()}
        self._radii = None

    def set_scores(self, scores: Tensor) -> Tensor:
        """Turn the channels' importance into radii for the adaptive stage.

        Args:
            scores: Importance of each channel, shape ``(C,)``, as counted in
                :meth:`set_channels`.

        Returns:
            The radii, shape ``(C,)``.
        """
        self._radii = adaptive_radius(scores.float(), rho_min=self.rho_min, rho_max=self.rho_max)
        return self._radii

    @property
    def two_pass(self) -> bool:
        """Whether the next step perturbs; without a radius it is the plain optimizer's."""
        if self._stage == 'plain':
            return False
        if self._stage == 'adaptive':
            return self.rho_max > 0 or (self.ungrouped == 'uniform' and self.rho > 0)
        return self.rho > 0

    # ------------------------------------------------------------------ the step

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context of the first forward pass; ``train_step`` of the model enters it."""
        self._call = None
        if not self.two_pass:
            with super().optim_context(model):
                yield
            return
        with ExitStack() as stack:
            stack.enter_context(self._ascent_sync(model))
            call = stack.enter_context(capture_call(model))
            self._ascending = True
            try:
                stack.enter_context(super().optim_context(model))
            finally:
                self._ascending = False
            yield
        self._call = call

    def should_sync(self) -> bool:
        """Whether this pass is synchronised: the second of the last micro-batch before a step.

        With ``sync_perturbation`` also the first pass of every micro-batch.
        """
        return (self._ascending and self.sync_perturbation) or super().should_sync()

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: dict | None = None,
        zero_kwargs: dict | None = None,
    ) -> None:
        """Perturb the weights along the gradient of ``loss``, and step with the gradient there.

        Raises:
            RuntimeError: If the model's forward pass did not run inside ``optim_context``
                exactly once, so that it can't be repeated.
        """
        if not self.two_pass:
            super().update_params(loss, step_kwargs=step_kwargs, zero_kwargs=zero_kwargs)
            return
        call, self._call = self._call, None
        if call is None or call.count != 1:
            calls = 'was not entered' if call is None else f'saw {call.count} calls of the model'
            raise RuntimeError(
                f'{type(self).__name__} repeats the forward pass at the perturbed weights and '
                f'needs `with optim_wrapper.optim_context(model): model(...)` around exactly one '
                f'call of the model; optim_context {calls}. A compiled train_step, or a model '
                f'that trains through OptimWrapperDict with its own train_step, must do so too.'
            )

        # Nothing here keeps the gradient or the perturbation alive during the second pass.
        with (
            perturbed_weights(*self._perturbation(loss, call.model)),
            frozen_buffers(call.model),
        ):
            with super().optim_context(call.model):
                losses = call.replay()
            perturbed_loss, _ = unwrap(call.model).parse_losses(losses)
            self.backward(self.scale_loss(perturbed_loss))

        sharpness = perturbed_loss.detach() - loss.detach()
        self.message_hub.update_scalar('train/sharpness', sharpness.float())
        if self.should_update():
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))

    @contextmanager
    def _ascent_sync(self, model: nn.Module) -> Iterator[None]:
        """Each rank ascends along its own gradient unless told to synchronise (m-sharpness)."""
        no_sync = getattr(model, 'no_sync', None)
        if callable(no_sync) and not self.sync_perturbation:
            with no_sync():
                yield
        else:
            yield

    def _ascent_backward(self, loss: Tensor) -> None:
        """Gradient of the first pass, in any scale. Not :meth:`backward`, which counts steps."""
        loss.backward()

    def _ascent_direction(
        self, loss: Tensor, model: nn.Module
    ) -> tuple[list[nn.Parameter], list[Tensor], list[str]]:
        """Parameters with a gradient of ``loss``, their gradients and names.

        Gradients accumulated by earlier micro-batches are put aside meanwhile: they belong to
        the step, not to the direction of this micro-batch.
        """
        named = [(name, p) for name, p in unwrap(model).named_parameters() if p.requires_grad]
        accumulated = [p.grad for _, p in named]
        for _, p in named:
            p.grad = None
        try:
            with self._ascent_sync(model):
                self._ascent_backward(loss)
            moved = [(name, p, p.grad) for name, p in named if p.grad is not None]
        finally:
            for (_, p), grad in zip(named, accumulated, strict=True):
                p.grad = grad
        return (
            [p for _, p, _ in moved],
            [grad for _, _, grad in moved],
            [name for name, _, _ in moved],
        )

    def _perturbation(
        self, loss: Tensor, model: nn.Module
    ) -> tuple[list[nn.Parameter], list[Tensor]]:
        """The parameters to perturb, those excluded left out, and their perturbations."""
        weights, grads, names = self._ascent_direction(loss, model)
        if not weights:
            return [], []
        membership, radii = self._membership(weights)
        used = [i for i, name in enumerate(names) if not self._is_excluded(name)]
        weights = [weights[i] for i in used]
        perturbation = ascent_perturbation(
            weights,
            [grads[i] for i in used],
            [membership[i] for i in used],
            radii,
            form=self.form,
            eta=self.eta,
            foreach=self.foreach,
            overwrite_grads=True,
        )
        return weights, perturbation

    def _membership(self, weights: Sequence[nn.Parameter]) -> tuple[list[Membership], Tensor]:
        device = weights[0].device
        if self._stage == 'uniform':
            return [0] * len(weights), torch.tensor([float(self.rho)], device=device)
        if self._radii is None:
            raise RuntimeError(
                'the adaptive stage needs the importance of each channel, which PruningHook sets; '
                "add custom_hooks=[dict(type='PruningHook', ...)] or leave the stage at 'uniform'"
            )
        rest_rho = float(self.rho) if self.ungrouped == 'uniform' else 0.0
        radii = torch.cat([torch.tensor([rest_rho], device=device), self._radii.to(device)])
        return [self._rows.get(id(weight), 0) for weight in weights], radii

    def _is_excluded(self, name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in self.exclude)


_OPTIONS = """

    Args:
        optimizer (Optimizer): Any torch optimizer; nothing is added to its state.
        form (str): ``'asam'``, the paper's scale-invariant form, or ``'sam'``. Default 'asam'.
        rho_min (float): Radius of the most important channel in the adaptive stage.
            Default 0.01 (ASAM, the paper's) or 0.00025 (SAM).
        rho_max (float): Radius of the least important channel. Default 2.0 or 0.05.
        rho (float): Radius of the uniform stage, and in the adaptive stage of the parameters of
            no channel group. ``rho=0`` is the plain optimizer. Default 2.0 or 0.05.
        eta (float): ASAM's ``T_w = |w| + eta``. Default 0.01.
        ungrouped (str): What the adaptive stage does to parameters of no channel group (the
            heads' output convolutions, excluded layers): ``'uniform'`` perturbs them together
            within ``rho``; ``'none'`` leaves them. Default 'uniform'.
        exclude (Sequence[str]): Name patterns (``fnmatch``) of parameters that are never
            perturbed, for example ``['*.bias', 'bbox_head.*']``. Default none.
        sync_perturbation (bool): Under DDP, average the ascent direction over the ranks; by
            default each rank has its own (m-sharpness), which saves one all-reduce a step.
        foreach (bool): Multi-tensor kernels. Default True.
        accumulative_counts, clip_grad: As in MMEngine. Each micro-batch has its own
            perturbation; only the final gradient is clipped.

    Cost: two forward and two backward passes a step, and one copy of the perturbed parameters.

    The stage is ``'uniform'`` until :class:`~adasap_det.hooks.PruningHook` says otherwise; alone,
    the wrapper is plain SAM or ASAM for any model. ``train/sharpness`` is logged as
    ``L(w + eps) - L(w)`` of each batch.

    Raises:
        ValueError: If ``rho_min > rho_max``, a radius is negative, or ``form`` or ``ungrouped``
            is unknown.

    Source: AdaSAP (arXiv 2306.14306); SAM (arXiv 2010.01412); ASAM (arXiv 2102.11600).
    """


@OPTIM_WRAPPERS.register_module()
class AdaSAPOptimWrapper(SharpnessAwareMixin):
    __doc__ = 'Sharpness-aware steps with a radius per channel or a uniform one.' + _OPTIONS


@OPTIM_WRAPPERS.register_module()
class AmpAdaSAPOptimWrapper(SharpnessAwareMixin, AmpOptimWrapper):
    __doc__ = (
        "AdaSAPOptimWrapper in mixed precision; takes MMEngine's ``loss_scale`` and ``dtype``."
        + _OPTIONS
    )

    def _ascent_backward(self, loss: Tensor) -> None:
        # Scaled against underflow. The direction is scale-invariant, so nothing is unscaled.
        self.loss_scaler.scale(loss).backward()
