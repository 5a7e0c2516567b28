"""Two-pass sharpness-aware steps around any optimizer and any unmodified model."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from adasap_det.utils.modules import unwrap

from .activation_checkpointing import uses_activation_checkpointing
from .looksam import LookSAMDirection
from .loss_check import MOST_SKIPPED, NonFiniteLossError, describe
from .param_selection import LAYERS, check_exclude, least_important, perturbable_parameters
from .perturbation import (
    FORMS,
    Membership,
    Rows,
    ascent_perturbation,
    check_radii,
)
from .radii import ChannelRadii
from .second_pass import ModelCall, capture_call, capture_output, frozen_buffers, perturbed_weights
from .sharding import check_not_sharded

STAGES = ('plain', 'adaptive', 'uniform', 'inverse')
BY_CHANNEL = ('adaptive', 'inverse')
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
        layers: str = 'all',
        perturb_ratio: float = 1.0,
        interval: int = 1,
        alpha: float = 0.7,
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
        if layers not in LAYERS:
            raise ValueError(f'optim_wrapper.layers must be one of {LAYERS}, got {layers!r}')
        if not 0 < perturb_ratio <= 1:
            raise ValueError(f'optim_wrapper.perturb_ratio must lie in (0, 1], got {perturb_ratio}')
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(f'optim_wrapper.interval must be an integer >= 1, got {interval!r}')
        if not 0 <= alpha < math.inf:
            raise ValueError(f'optim_wrapper.alpha must be finite and >= 0, got {alpha}')
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
        self.layers = layers
        self.perturb_ratio = perturb_ratio
        self.interval = interval
        self.sync_perturbation = sync_perturbation
        self.foreach = foreach

        self._exclude_checked = False
        self._stage = 'uniform'
        self._channels = ChannelRadii()
        self._call: ModelCall | None = None
        self._ascending = False
        self._looksam = LookSAMDirection(alpha=alpha, reduced=sync_perturbation)
        self._finite = True  # every loss of the step so far, in both passes
        self._skipped = 0  # steps in a row with one that was not

    # ------------------------------------------------------------------ stages

    @property
    def stage(self) -> str:
        """``'plain'`` (one pass), ``'adaptive'`` (a radius per channel) or ``'uniform'``.

        ``'inverse'``, for ablations, is adaptive with the larger radii on the more important.
        """
        return self._stage

    @stage.setter
    def stage(self, stage: str) -> None:
        if stage not in STAGES:
            raise ValueError(f'stage must be one of {STAGES}, got {stage!r}')
        self._stage = stage

    def set_channels(self, rows: Mapping[nn.Parameter, Rows]) -> None:
        """Set the channel that each row of each parameter belongs to.

        Args:
            rows: For parameters that belong to channel groups, the channel of each row, counted
                over the whole model; -1 for a row of no group. To be set again after a prune step.
        """
        self._channels.set_rows(rows)

    def set_scores(self, scores: Tensor) -> Tensor:
        """Turn the channels' importance into radii for the adaptive stage, or the inverse one.

        Args:
            scores: Importance of each channel, shape ``(C,)``, as counted in
                :meth:`set_channels`.

        Returns:
            The radii, shape ``(C,)``.
        """
        return self._channels.set_scores(
            scores, rho_min=self.rho_min, rho_max=self.rho_max, inverse=self._stage == 'inverse'
        )

    @property
    def perturbs(self) -> bool:
        """Whether the stage perturbs; with radius 0 every step is the plain optimizer's."""
        if self._stage == 'plain':
            return False
        if self._stage in BY_CHANNEL:
            return self.rho_max > 0 or self._rest_radius() > 0
        return self.rho > 0

    @property
    def two_pass(self) -> bool:
        """Whether the next step has two passes, as every ``interval``-th step."""
        if not self.perturbs or self.interval == 1:
            return self.perturbs
        step = self._inner_count // self._accumulative_counts
        return step % self.interval == 0 or not self._looksam.is_known(self.optimizer)

    # ------------------------------------------------------------------ the step

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context of the first forward pass; ``train_step`` of the model enters it.

        Raises:
            RuntimeError: If the model's parameters are split over the ranks (FSDP, DeepSpeed).
            ValueError: If a pattern of ``exclude`` matches no parameter of the model.
        """
        self._call = None
        check_not_sharded(model)
        if not self._exclude_checked:
            check_exclude(unwrap(model), self.exclude)
            self._exclude_checked = True
        with ExitStack() as stack:
            if self.two_pass:
                stack.enter_context(self._ascent_sync(model))
                call = stack.enter_context(capture_call(model))
                self._ascending = True
            else:
                call = stack.enter_context(capture_output(model))
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

    # A compiled train_step compiles the two passes through the model, not the code around them.
    @torch.compiler.disable(recursive=False)
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
        call, self._call = self._call, None
        if not self.two_pass:
            self._check_loss(loss, None if call is None else call.output)
            super().update_params(loss, step_kwargs=step_kwargs, zero_kwargs=zero_kwargs)
            return
        if call is None or call.count != 1:
            calls = 'was not entered' if call is None else f'saw {call.count} calls of the model'
            raise RuntimeError(
                f'{type(self).__name__} repeats the forward pass at the perturbed weights and '
                f'needs `with optim_wrapper.optim_context(model): model(...)` around exactly one '
                f'call of the model; optim_context {calls}. A compiled train_step, or a model '
                f'that trains through OptimWrapperDict with its own train_step, must do so too.'
            )
        self._check_loss(loss, call.output)
        call.output = None

        # Nothing here keeps the gradient or the perturbation alive during the second pass.
        with (
            perturbed_weights(*self._perturbation(loss, call.model)),
            frozen_buffers(call.model),
        ):
            with super().optim_context(call.model):
                losses = call.replay()
            perturbed_loss, _ = unwrap(call.model).parse_losses(losses)
            self._check_loss(perturbed_loss, losses, perturbed=True)
            self.backward(self.scale_loss(perturbed_loss))

        sharpness = perturbed_loss.detach() - loss.detach()
        self.message_hub.update_scalar('train/sharpness', sharpness.float())
        if self.should_update():
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))

    @torch.compiler.disable
    def step(self, **kwargs: Any) -> None:
        """The optimizer's step, with the reused direction in steps without a second pass."""
        self._skipped = 0 if self._finite else self._skipped + 1
        self._finite = True
        if not self.perturbs or self.interval == 1:
            self._looksam.forget()
            super().step(**kwargs)
            return
        with self._looksam.around_step(self.optimizer):
            super().step(**kwargs)

    @torch.compiler.disable
    def _check_loss(self, loss: Tensor, losses: Any, *, perturbed: bool = False) -> None:
        """Stop before a loss that is not finite reaches the weights.

        In mixed precision a gradient scaler skips such a step by itself, and lowers its scale.
        """
        if bool(torch.isfinite(loss.detach()).all()):
            return
        iteration = int(self.message_hub.get_info('iter') or 0)
        message = describe(loss, losses, iteration=iteration, perturbed=perturbed)
        scaler = getattr(self, 'loss_scaler', None)
        if scaler is None or not scaler.is_enabled() or self._skipped >= MOST_SKIPPED:
            raise NonFiniteLossError(message)
        self._finite = False
        print_log(f'Step skipped: {message}', logger='current', level=logging.WARNING)

    @contextmanager
    def _ascent_sync(self, model: nn.Module) -> Iterator[None]:
        """Each rank ascends along its own gradient unless ``sync_perturbation`` (m-sharpness)."""
        no_sync = getattr(model, 'no_sync', None)
        if callable(no_sync) and not self.sync_perturbation:
            with no_sync():
                yield
        else:
            yield

    def _ascent_backward(self, loss: Tensor, inputs: Sequence[Tensor] | None = None) -> None:
        """Gradient of the first pass, in any scale. Not :meth:`backward`, which counts steps."""
        loss.backward(inputs=inputs)

    def _ascent_direction(
        self, loss: Tensor, model: nn.Module
    ) -> tuple[list[nn.Parameter], list[Tensor | None]]:
        """Parameters to perturb and their gradients of ``loss``, None where there is none.

        Gradients accumulated by earlier micro-batches are set aside: they belong to
        the step, not to the direction of this micro-batch.
        """
        bare = unwrap(model)
        every = [p for p in bare.parameters() if p.requires_grad]
        wanted = self._wanted(bare)
        if not wanted:
            return [], []
        # What is not perturbed needs no gradient, unless DDP expects it, or activation
        # checkpointing, whose backward pass computes all.
        partial = (
            len(wanted) < len(every)
            and not self.sync_perturbation
            and not uses_activation_checkpointing(bare)
        )
        accumulated = [p.grad for p in every]
        for p in every:
            p.grad = None
        try:
            with self._ascent_sync(model):
                self._ascent_backward(loss, wanted if partial else None)
            return wanted, [p.grad for p in wanted]
        finally:
            for p, grad in zip(every, accumulated, strict=True):
                p.grad = grad

    def _wanted(self, bare: nn.Module) -> list[nn.Parameter]:
        """Parameters that this step perturbs."""
        wanted = perturbable_parameters(bare, exclude=self.exclude, layers=self.layers)
        if self._stage in BY_CHANNEL and self._rest_radius() == 0:
            wanted = [p for p in wanted if id(p) in self._channels.rows]
        scores = self._channels.scores
        if self._stage in BY_CHANNEL and self.perturb_ratio < 1 and scores is not None:
            wanted = least_important(
                wanted, self._channels.rows, scores, perturb_ratio=self.perturb_ratio
            )
        return wanted

    @torch.compiler.disable
    def _perturbation(
        self, loss: Tensor, model: nn.Module
    ) -> tuple[list[nn.Parameter], list[Tensor]]:
        """The parameters to perturb and their perturbations."""
        wanted, found = self._ascent_direction(loss, model)
        if self.interval > 1:
            self._looksam.collect(wanted, found)
        weights = [p for p, grad in zip(wanted, found, strict=True) if grad is not None]
        grads = [grad for grad in found if grad is not None]
        if not weights:
            return [], []
        membership, radii = self._membership(weights)
        perturbation = ascent_perturbation(
            weights,
            grads,
            membership,
            radii,
            form=self.form,
            eta=self.eta,
            foreach=self.foreach,
            overwrite_grads=True,
        )
        norm = torch.stack(torch._foreach_norm(perturbation)).norm()
        self.message_hub.update_scalar('train/perturbation_norm', norm.float())
        return weights, perturbation

    def _rest_radius(self) -> float:
        """Radius of the parameters of no channel group, in the adaptive stage."""
        return float(self.rho) if self.ungrouped == 'uniform' else 0.0

    def _membership(self, weights: Sequence[nn.Parameter]) -> tuple[list[Membership], Tensor]:
        if self._stage in BY_CHANNEL:
            return self._channels.membership(weights, rest=self._rest_radius())
        return [0] * len(weights), torch.tensor([float(self.rho)], device=weights[0].device)


@OPTIM_WRAPPERS.register_module()
class AdaSAPOptimWrapper(SharpnessAwareMixin):
    """Sharpness-aware steps with one radius per channel (adaptive) or one for all (uniform).

    Args:
        optimizer (Optimizer): Any torch optimizer; only ``interval > 1`` adds to its state.
        form (str): ``'asam'``, the paper's scale-invariant form, or ``'sam'``. Default 'asam'.
        rho_min (float): Radius of the most important channel in the adaptive stage.
            Default 0.01 (ASAM, the paper's) or 0.00025 (SAM).
        rho_max (float): Radius of the least important channel. Default 2.0 or 0.05.
        rho (float): Radius of the uniform stage, and in the adaptive stage of the parameters of
            no channel group. ``rho=0`` is the plain optimizer. Default 2.0 or 0.05.
        eta (float): ASAM's ``T_w = |w| + eta``. Default 0.01.
        ungrouped (str): How the adaptive stage perturbs parameters of no channel group (the heads'
            output convolutions, excluded layers): ``'uniform'`` perturbs them together within
            ``rho``; ``'none'`` does not perturb them. Default 'uniform'.
        exclude (Sequence[str]): Name patterns (``fnmatch``) of parameters that are never
            perturbed, for example ``['*.bias', 'bbox_head']``; a pattern also covers everything
            inside a module that it names. Default none.
        layers (str): ``'all'``, or ``'norm'`` to perturb only normalisation layers (SAM-ON, arXiv
            2306.04226): the other weights are not copied and get no gradient in the first pass.
            Default 'all'.
        perturb_ratio (float): In the adaptive stage, perturb only this fraction of the groups'
            parameters, those whose channels are least important on average. Default 1.
        interval (int): Perturb every ``interval`` steps; the steps in between reuse the part of
            the gradient that the perturbation added (LookSAM, arXiv 2203.02714). Default 1.
        alpha (float): Length of that part, relative to the gradient's norm. Default 0.7.
        sync_perturbation (bool): Under DDP, average the ascent direction over the ranks; by
            default each rank has its own (m-sharpness), which saves one all-reduce a step.
        foreach (bool): Multi-tensor kernels. Default True.
        accumulative_counts, clip_grad: As in MMEngine. Each micro-batch has its own
            perturbation; only the final gradient is clipped.

    Cost: two forward and two backward passes a step, and one copy of the perturbed parameters.
    With ``interval=k`` every k-th step has two passes and the others one; one more copy is kept in
    the optimizer's state, and under DDP it is all-reduced every k-th step. Parameters
    that ``layers='norm'`` and ``perturb_ratio`` leave out need no copy and no first backward pass.
    Measurements are in ``benchmarks/README.md``.

    The stage is ``'uniform'`` until :class:`~adasap_det.hooks.PruningHook` sets another; without
    the hook, the wrapper is plain SAM or ASAM for any model. ``train/sharpness`` is logged as
    ``L(w + eps) - L(w)`` of each batch, ``train/perturbation_norm`` as ``||eps||``.

    A loss that is not finite ends training before it reaches the weights, with a
    ``NonFiniteLossError`` that names the iteration and the component; with a gradient scaler the
    step is skipped, as in plain mixed precision, and the warning names it.

    Raises:
        ValueError: If ``rho_min > rho_max``, a radius is negative, or ``form`` or ``ungrouped``
            is unknown; in the first step if a pattern of ``exclude`` matches no parameter.

    Source: AdaSAP (arXiv 2306.14306); SAM (arXiv 2010.01412); ASAM (arXiv 2102.11600).
    """


@OPTIM_WRAPPERS.register_module()
class AmpAdaSAPOptimWrapper(SharpnessAwareMixin, AmpOptimWrapper):
    """AdaSAPOptimWrapper in mixed precision.

    Args:
        loss_scale (str | float | dict): As in MMEngine's ``AmpOptimWrapper``: ``'dynamic'``
            (default), a fixed scale, or arguments of the gradient scaler.
        dtype (str, optional): ``'float16'`` or ``'bfloat16'``; by default that of autocast.
        **kwargs: All options of :class:`AdaSAPOptimWrapper`: ``optimizer``, ``form``,
            ``rho_min``, ``rho_max``, ``rho``, ``eta``, ``ungrouped``, ``exclude``, ``layers``,
            ``perturb_ratio``, ``interval``, ``alpha``, ``sync_perturbation``, ``foreach``,
            ``accumulative_counts`` and ``clip_grad``.

    Cost, logged scalars, errors and sources are those of :class:`AdaSAPOptimWrapper`.
    """

    def _ascent_backward(self, loss: Tensor, inputs: Sequence[Tensor] | None = None) -> None:
        # Scaled against underflow. The direction is scale-invariant, so nothing is unscaled.
        self.loss_scaler.scale(loss).backward(inputs=inputs)
