"""Two-pass sharpness-aware steps around any optimizer and any unmodified model."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from adasap_det.utils.modules import unwrap
from adasap_det.utils.random_state import RandomState, same_randomness

from .activation_checkpointing import uses_activation_checkpointing
from .deferred_scalars import DeferredScalars
from .looksam import LookSAMDirection
from .loss_check import MOST_SKIPPED, NonFiniteLossError, describe
from .param_selection import LAYERS, check_exclude, least_important, perturbable_parameters
from .part_of_batch import part_of_batch
from .perturbation import FORMS, Rows
from .perturber import Perturber
from .radii import RadiusOptions
from .removal import ChannelRemoval
from .second_pass import ModelCall, capture_call, capture_output, frozen_buffers, perturbed_weights
from .sharding import check_not_sharded

STAGES = ('plain', 'adaptive', 'uniform', 'inverse')
BY_CHANNEL = ('adaptive', 'inverse')
UNGROUPED = ('uniform', 'none')
ASCENTS = ('gradient', 'subbatch')

RISE_KEY = 'adasap_rise'
"""Key of the state of the rise in that of the wrapper."""


class SharpnessAwareMixin(OptimWrapper):
    """The sharpness-aware step, laid over any of MMEngine's optimizer wrappers.

    ``optim_context`` records the call that the model's own ``train_step`` makes, so that
    ``update_params`` can make it again at the perturbed weights. Where the ascent takes a part of
    the batch, the weights are perturbed when that call begins, until ``update_params`` has the
    gradient. Neither the model nor the training loop knows of it, and the wrapper that DDP puts
    around the model needs no change.
    """

    def __init__(
        self,
        *args: object,
        form: str = 'asam',
        rise: float | None = None,
        uniform_rise: float | None = None,
        radius_ratio: float | None = None,
        rho_min: float | None = None,
        rho_max: float | None = None,
        rho: float | None = None,
        radius_map: str = 'rank',
        eta: float = 0.01,
        ascent: str = 'gradient',
        subbatch_ratio: float = 0.25,
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
        for name, value, known in (
            ('form', form, FORMS),
            ('ascent', ascent, ASCENTS),
            ('ungrouped', ungrouped, UNGROUPED),
            ('layers', layers, LAYERS),
        ):
            if value not in known:
                raise ValueError(f'optim_wrapper.{name} must be one of {known}, got {value!r}')
        for name, ratio in (('perturb_ratio', perturb_ratio), ('subbatch_ratio', subbatch_ratio)):
            if not 0 < ratio <= 1:
                raise ValueError(f'optim_wrapper.{name} must lie in (0, 1], got {ratio}')
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(f'optim_wrapper.interval must be an integer >= 1, got {interval!r}')
        if interval > 1 and ascent != 'gradient':
            raise ValueError(
                f'optim_wrapper.interval={interval} reuses what the second of two passes on a '
                f"batch added, and ascent={ascent!r} makes one: use ascent='gradient'"
            )
        if not 0 <= alpha < math.inf:
            raise ValueError(f'optim_wrapper.alpha must be finite and >= 0, got {alpha}')
        if eta < 0:
            raise ValueError(f'optim_wrapper.eta must be >= 0, got {eta}')
        self.radius_options = RadiusOptions.resolve(
            form=form,
            radius_map=radius_map,
            rise=rise,
            uniform_rise=uniform_rise,
            radius_ratio=radius_ratio,
            rho_min=rho_min,
            rho_max=rho_max,
            rho=rho,
        )
        self.form = form
        self.eta = eta
        self.ascent = ascent
        self.subbatch_ratio = subbatch_ratio
        self.ungrouped = ungrouped
        self.exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        self.layers = layers
        self.perturb_ratio = perturb_ratio
        self.interval = interval
        self.sync_perturbation = sync_perturbation
        self.gradient_observers: list[Callable[[], None]] = []
        """Called in every step, with gradients that are neither scaled, clipped nor added to. They
        are those at the real weights on this rank's batch, or of the step where it has no others;
        not those of a step whose only pass goes without some channels.
        """

        self._exclude_checked = False
        self._stage = 'uniform'
        self._scalars = DeferredScalars(self.message_hub)
        self._perturber = Perturber(
            self.radius_options,
            form=form,
            eta=eta,
            foreach=foreach,
            ungrouped=ungrouped == 'uniform',
            scalars=self._scalars,
        )
        self._call: ModelCall | None = None
        self._ascending = False
        self._perturbed = ExitStack()  # undoes the perturbation of a step with one pass
        self._real_loss: Tensor | None = None  # of a step with one pass, where it was computed
        self._observed = False  # whether a pass at the real weights was, in this step
        self._reduced = False  # whether one without some channels was that had no other beside it
        self.removal: ChannelRemoval | None = None
        """Channels that the pass at the perturbed weights goes without, where any are."""

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
        self._perturber.channels.set_rows(rows)

    def set_scores(self, scores: Sequence[Tensor]) -> Tensor:
        """Turn the channels' importance into radii for the adaptive stage, or the inverse one.

        Args:
            scores: Importance of the channels of each group, shape ``(size,)`` a group, in the
                order in which :meth:`set_channels` counts them.

        Returns:
            The radii, shape ``(C,)``; with ``rise`` in units of the largest.
        """
        inverse = self._stage == 'inverse'
        return self._perturber.channels.set_scores(scores, inverse=inverse)

    @property
    def by_channel(self) -> bool:
        """Whether each channel has a radius of its own in this stage."""
        return self._stage in BY_CHANNEL

    @property
    def predicted_rise(self) -> Tensor:
        """By how much the last perturbation raises the loss to first order, a scalar.

        Raises:
            RuntimeError: If there was none.
        """
        if self._perturber.predicted is None:
            raise RuntimeError('no step has perturbed the weights yet')
        return self._perturber.predicted

    @property
    def perturbs(self) -> bool:
        """Whether the stage perturbs; with radius 0 every step is the plain optimizer's."""
        return self._stage != 'plain' and self.radius_options.perturbs(
            by_channel=self.by_channel, ungrouped=self.ungrouped == 'uniform'
        )

    @property
    def two_pass(self) -> bool:
        """Whether the next step has two passes, as every ``interval``-th step."""
        if not self.perturbs or self.ascent != 'gradient':
            return False
        step = self._inner_count // self._accumulative_counts
        return step % self.interval == 0 or not self._looksam.is_known(self.optimizer)

    @property
    def _removes(self) -> bool:
        return self.removal is not None and self.removal.removed > 0

    @property
    def _changes_weights(self) -> bool:
        """Whether the model's own call runs at other weights than the real ones."""
        return not self.two_pass and (
            self._removes or (self.perturbs and self.ascent != 'gradient')
        )

    # ------------------------------------------------------------------ the step

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context of the first forward pass; ``train_step`` of the model enters it.

        Raises:
            RuntimeError: If the model's parameters are split over the ranks (FSDP, DeepSpeed).
            ValueError: If a pattern of ``exclude`` matches no parameter of the model.
        """
        self._call = self._real_loss = None
        check_not_sharded(model)
        self._check_exclude(model)
        with ExitStack() as stack:
            if self.two_pass:
                stack.enter_context(self._ascent_sync(model))
                call = stack.enter_context(capture_call(model))
                self._ascending = True
            else:
                call = stack.enter_context(capture_output(model))
                if self._changes_weights:
                    stack.enter_context(self._perturbed_call(model))
            try:
                stack.enter_context(super().optim_context(model))
            finally:
                self._ascending = False
            yield
        self._call = call

    def _check_exclude(self, model: nn.Module) -> None:
        if not self._exclude_checked:
            check_exclude(unwrap(model), self.exclude)
            self._exclude_checked = True

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
            with self._perturbed:  # in steps with one pass that perturbs
                where = 'perturbed' if self._changes_weights else 'real'
                self._check_losses(**{where: (loss, None if call is None else call.output)})
                self.backward(self.scale_loss(loss))
            self._reduced |= self._removes
            if self._real_loss is not None:
                self._measured(loss - self._real_loss)
        else:
            self._second_pass(loss, call)
        if self.should_update():
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))
        self._scalars.end_iteration()

    def _second_pass(self, loss: Tensor, call: ModelCall | None) -> None:
        """Leave the gradient at the perturbed weights."""
        if call is None or call.count != 1:
            calls = 'was not entered' if call is None else f'saw {call.count} calls of the model'
            raise RuntimeError(
                f'{type(self).__name__} repeats the forward pass at the perturbed weights and '
                f'needs `with optim_wrapper.optim_context(model): model(...)` around exactly one '
                f'call of the model; optim_context {calls}. A compiled train_step, or a model '
                f'that trains through OptimWrapperDict with its own train_step, must do so too.'
            )
        first, call.output = call.output, None
        # Nothing here keeps the gradient or the perturbation alive during the second pass.
        with self._moved(call.model, *self._perturbation(loss, call.model)):
            with super().optim_context(call.model):
                second = call.replay()
            perturbed, _ = unwrap(call.model).parse_losses(second)
            self._check_losses(real=(loss, first), perturbed=(perturbed, second))
            del first, second
            self.backward(self.scale_loss(perturbed))
        self._measured(perturbed - loss)

    def closure_step(self, model: nn.Module, closure: Callable[[], Tensor]) -> Tensor:
        """A step in a plain PyTorch loop, for any module.

        Args:
            model: The model, without distributed wrapper.
            closure: Returns the loss, a scalar; called again at the perturbed weights, with the
                same random numbers.

        Returns:
            The loss at the weights, without a graph; without the removed channels where nothing is
            perturbed, as the step then has one pass.

        Raises:
            ValueError: With another ``ascent`` than ``'gradient'``, ``interval > 1`` or
                accumulated gradients, or if a pattern of ``exclude`` matches no parameter.
        """
        self._check_exclude(model)
        if self.ascent != 'gradient' or self.interval > 1 or self._accumulative_counts > 1:
            raise ValueError(
                "closure_step makes one two-pass step: use ascent='gradient', interval=1 and "
                'accumulative_counts=1'
            )
        state = RandomState.capture()
        if self.perturbs:
            loss = closure()
            with self._moved(model, *self._perturbation(loss, model)), same_randomness(state):
                perturbed = closure()
                self._check_losses(real=(loss, None), perturbed=(perturbed, None))
                self.backward(perturbed)
            self._measured(perturbed - loss)
        else:
            with self._moved(model, [], []) if self._removes else nullcontext():
                loss = closure()
                self._check_losses(real=(loss, None))
                self.backward(loss)
            self._reduced |= self._removes
        self.step()
        self.zero_grad()
        self._scalars.end_iteration()
        return loss.detach()

    def _measured(self, rise: Tensor) -> None:
        if self._removes:  # which raises the loss, too
            return
        self._perturber.measured(rise.detach(), by_channel=self.by_channel)

    @torch.compiler.disable
    def step(self, **kwargs: Any) -> None:
        """The optimizer's step, with the reused direction in steps without a second pass."""
        self._skipped = 0 if self._finite else self._skipped + 1
        self._finite = True
        if self.gradient_observers and not self._observed and not self._reduced:
            with self._unscaled():
                self._observe()
        self._observed = self._reduced = False
        with ExitStack() as stack:
            if self.perturbs and self.interval > 1:
                stack.enter_context(self._looksam.around_step(self.optimizer))
            else:
                self._looksam.forget()
            super().step(**kwargs)

    def _observe(self) -> None:
        for observe in self.gradient_observers:
            observe()

    @torch.compiler.disable
    def _check_losses(self, **losses: tuple[Tensor, Any]) -> None:
        """Stop before a loss that is not finite reaches the weights: the one wait for the device.

        In mixed precision a gradient scaler skips such a step by itself, and lowers its scale.

        Args:
            losses: ``real``, at the weights, and ``perturbed``: the loss, and what the model
                returned.
        """
        values = {where: loss.detach().float().mean() for where, (loss, _) in losses.items()}
        if bool(torch.isfinite(torch.stack(list(values.values()))).all()):
            return
        where = next(k for k, value in values.items() if not bool(torch.isfinite(value)))
        iteration = int(self.message_hub.get_info('iter') or 0)
        message = describe(*losses[where], iteration=iteration, perturbed=where == 'perturbed')
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

    # ------------------------------------------------------------------ the perturbation

    @contextmanager
    def _perturbed_call(self, model: nn.Module) -> Iterator[None]:
        """Perturb the weights when the model is called; :attr:`_perturbed` restores them.

        Batch norm's statistics stay those of the real weights, on the part of the batch.
        """
        self._perturbed.close()  # of a step that ended in an error

        def perturb(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            handle.remove()
            found = self._perturbation_before(model, args, kwargs) if self.perturbs else ([], [])
            self._perturbed.enter_context(self._moved(model, *found))

        handle = model.register_forward_pre_hook(perturb, with_kwargs=True)
        try:
            yield
        except BaseException:
            self._perturbed.close()
            raise
        finally:
            handle.remove()

    def _perturbation_before(
        self, model: nn.Module, args: tuple, kwargs: dict[str, Any]
    ) -> tuple[list[nn.Parameter], list[Tensor]]:
        """The perturbation of a step with one pass, before the model's own call."""
        part = part_of_batch(args, kwargs, self.subbatch_ratio)
        loss = self._loss_of(model, *part)
        self._real_loss = loss.detach()
        return self._perturbation(loss, model)

    @contextmanager
    def _moved(
        self, model: nn.Module, weights: list[nn.Parameter], eps: list[Tensor]
    ) -> Iterator[None]:
        """The perturbed weights without the removed channels; buffers are left as they were."""
        with ExitStack() as stack:
            # Autocast keeps copies of weights for as long as it is on.
            stack.callback(torch.clear_autocast_cache)
            changed = [] if self.removal is None else self.removal.parameters
            stack.enter_context(perturbed_weights(weights, eps, changed=changed))
            del eps  # nothing keeps the perturbation alive during the pass
            if self.removal is not None:
                stack.enter_context(self.removal.applied())
            stack.enter_context(frozen_buffers(model))  # backward reads them, too
            torch.clear_autocast_cache()
            yield

    @staticmethod
    def _loss_of(model: nn.Module, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        """Loss of a call of the model, with the random numbers of the call that follows."""
        args, kwargs = copy.deepcopy((args, kwargs))
        bare = unwrap(model)
        with same_randomness(RandomState.capture()):
            return bare.parse_losses(bare(*args, **kwargs))[0]

    def _ascent_backward(self, loss: Tensor, inputs: Sequence[Tensor] | None = None) -> None:
        """Gradient of the first pass. Not :meth:`backward`, which counts steps."""
        loss.backward(inputs=inputs)

    def _gradient_scale(self, loss: Tensor) -> Tensor | None:
        """Scale of the gradients of :meth:`_ascent_backward` and of the step, if any."""
        return None

    @contextmanager
    def _unscaled(self) -> Iterator[None]:
        """Unscale the gradients of the step inside."""
        grads = [
            (p, p.grad)
            for group in self.optimizer.param_groups
            for p in group['params']
            if p.grad is not None
        ]
        scale = self._gradient_scale(grads[0][1]) if grads else None
        if scale is None:
            yield
            return
        try:
            for p, grad in grads:
                p.grad = grad / scale
            yield
        finally:
            for p, grad in grads:
                p.grad = grad

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
        if not wanted and not self.gradient_observers:
            return [], []
        # What is not perturbed needs no gradient, unless it is observed, DDP expects it, or
        # activation checkpointing, whose backward pass computes all.
        partial = (
            len(wanted) < len(every)
            and not self.gradient_observers
            and not self.sync_perturbation
            and not uses_activation_checkpointing(bare)
        )
        accumulated = [p.grad for p in every]
        for p in every:
            p.grad = None
        try:
            with self._ascent_sync(model):
                self._ascent_backward(loss, wanted if partial else None)
            grads = [p.grad for p in every if p.grad is not None]
            scale = self._gradient_scale(loss)
            if scale is not None and grads:
                torch._foreach_div_(grads, scale)
            self._observe()
            self._observed = True
            return wanted, [p.grad for p in wanted]
        finally:
            for p, grad in zip(every, accumulated, strict=True):
                p.grad = grad

    def _wanted(self, bare: nn.Module) -> list[nn.Parameter]:
        """Parameters that this step perturbs."""
        wanted = perturbable_parameters(bare, exclude=self.exclude, layers=self.layers)
        channels = self._perturber.channels
        if self.by_channel and self.ungrouped == 'none':
            wanted = [p for p in wanted if id(p) in channels.rows]
        if self.by_channel and self.perturb_ratio < 1 and channels.scores is not None:
            wanted = least_important(
                wanted, channels.rows, channels.scores, perturb_ratio=self.perturb_ratio
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
        return self._perturbed_by(wanted, found)

    def _perturbed_by(
        self, wanted: Sequence[nn.Parameter], found: Sequence[Tensor | None]
    ) -> tuple[list[nn.Parameter], list[Tensor]]:
        weights = [p for p, grad in zip(wanted, found, strict=True) if grad is not None]
        grads = [grad for grad in found if grad is not None]
        if not weights:
            return [], []
        return weights, self._perturber.perturbation(weights, grads, by_channel=self.by_channel)

    # ------------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state, and what the rise was corrected by."""
        state = super().state_dict()
        if self.radius_options.rise is not None:
            state[RISE_KEY] = self._perturber.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        state_dict = dict(state_dict)
        self._perturber.load_state_dict(state_dict.pop(RISE_KEY, {}))
        super().load_state_dict(state_dict)


@OPTIM_WRAPPERS.register_module()
class AdaSAPOptimWrapper(SharpnessAwareMixin):
    """Sharpness-aware steps with one radius per channel (adaptive) or one for all (uniform).

    Args:
        optimizer (Optimizer): Any torch optimizer; only ``interval > 1`` adds to its state.
        form (str): ``'asam'``, the paper's scale-invariant form, or ``'sam'``. Default 'asam'.
        rise (float): How far a step of the adaptive stage may raise the loss: all radii are scaled
            so that it does, by the gradient and by what earlier steps measured; no channel is
            moved by more than half the length of its weights. ``rise=0`` is the plain optimizer.
            Default 0.4.
        uniform_rise (float): The same for the uniform stage. Default 0.2.
        radius_ratio (float): Largest radius of a channel divided by the smallest. Default 20.
        rho_min (float): In place of the three above, absolute radii: that of the most important
            channel in the adaptive stage. Default, where another radius is given, 0.01 (ASAM, the
            paper's) or 0.00025 (SAM).
        rho_max (float): Radius of the least important channel. Default likewise 2.0 or 0.05.
        rho (float): Radius of the uniform stage, and in the adaptive stage of the parameters of
            no channel group. ``rho=0`` is the plain optimizer. Default likewise 2.0 or 0.05.
        radius_map (str): How the radius falls with the importance: ``'rank'``, evenly with the
            rank among all channels; ``'linear'``, the paper's; ``'layer'``, linearly within each
            channel group. Default 'rank'.
        eta (float): ASAM's ``T_w = |w| + eta``. Default 0.01.
        ascent (str): What the perturbation climbs along: ``'gradient'``, that of the batch, with
            two passes, or ``'subbatch'``, that of a part of the batch. Default 'gradient'.
        subbatch_ratio (float): Part of the batch for ``'subbatch'``, at least two images.
            Default 0.25.
        ungrouped (str): How the adaptive stage perturbs parameters of no channel group (the heads'
            output convolutions, excluded layers): ``'uniform'`` perturbs them together, like as
            many of the most important channels (with absolute radii within ``rho``); ``'none'``
            does not perturb them. Default 'uniform'.
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
    the optimizer's state, and under DDP it is all-reduced every k-th step. Parameters that
    ``layers='norm'`` and ``perturb_ratio`` leave out need no copy and no first backward pass.
    Measurements are in ``benchmarks/README.md``.

    Batch norm's running statistics are those of the real weights with every ``ascent``; with
    ``'subbatch'`` the logged loss is the perturbed one.

    The stage is ``'uniform'`` until :class:`~adasap_det.hooks.PruningHook` sets another; without
    the hook, the wrapper is plain SAM or ASAM for any model. Logged are ``train/rise``, measured as
    ``L(w + eps) - L(w)`` of each batch, beside ``train/rise_aim``, the percentiles of the radii as
    ``train/rho_p01``, ``rho_p50`` and ``rho_p99`` (``train/rho`` in the uniform stage), and
    ``train/perturbation_norm``, ``||eps||``.

    A loss that is not finite ends training before it reaches the weights, with a
    ``NonFiniteLossError`` that names the iteration and the component; with a gradient scaler the
    step is skipped, as in plain mixed precision, and the warning names it.

    Raises:
        ValueError: If a rise and an absolute radius are given, ``rho_min > rho_max``, a value is
            out of range or a name unknown, or ``interval > 1`` with another ``ascent`` than
            ``'gradient'``; in the first step if a pattern of ``exclude`` matches no parameter.

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
            ``rise``, ``uniform_rise``, ``radius_ratio``, ``rho_min``, ``rho_max``, ``rho``,
            ``radius_map``, ``eta``, ``ascent``, ``subbatch_ratio``, ``ungrouped``, ``exclude``,
            ``layers``, ``perturb_ratio``, ``interval``, ``alpha``, ``sync_perturbation``,
            ``foreach``, ``accumulative_counts`` and ``clip_grad``.

    Cost, logged scalars, errors and sources are those of :class:`AdaSAPOptimWrapper`.
    """

    def _ascent_backward(self, loss: Tensor, inputs: Sequence[Tensor] | None = None) -> None:
        self.loss_scaler.scale(loss).backward(inputs=inputs)  # against underflow

    def _gradient_scale(self, loss: Tensor) -> Tensor | None:
        if not self.loss_scaler.is_enabled():
            return None
        return self.loss_scaler.scale(torch.ones((), device=loss.device))
