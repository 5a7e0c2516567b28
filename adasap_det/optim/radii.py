"""The radius of each channel in the adaptive stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .perturbation import Membership, Rows, adaptive_radius


class ChannelRadii:
    """The ball that each row of a parameter belongs to, and the balls' radii.

    Ball 0 holds everything outside the channel groups, ball ``c + 1`` is that of channel ``c``.

    Attributes:
        rows: Ball of each row, by id of the parameter; missing parameters are in ball 0.
        scores, radii: Importance and radius of each channel, shape ``(C,)``; None until known.
    """

    def __init__(self) -> None:
        self.rows: dict[int, Rows] = {}
        self.scores: Tensor | None = None
        self.radii: Tensor | None = None

    def set_rows(self, rows: Mapping[nn.Parameter, Rows]) -> None:
        """Set the channel that each row belongs to, -1 for none; drops the importance."""
        self.rows = {id(p): Rows(row.dim, row.ball + 1) for p, row in rows.items()}
        self.scores = self.radii = None

    def set_scores(
        self, scores: Tensor, *, rho_min: float, rho_max: float, inverse: bool = False
    ) -> Tensor:
        """Turn importance, shape ``(C,)``, into radii (AdaSAP's equation for rho_i)."""
        self.scores = scores
        self.radii = adaptive_radius(
            scores.float(), rho_min=rho_min, rho_max=rho_max, inverse=inverse
        )
        return self.radii

    def membership(
        self, weights: Sequence[nn.Parameter], *, rest: float
    ) -> tuple[list[Membership], Tensor]:
        """Ball of each of the parameters, and the radii of all balls.

        Args:
            weights: Parameters to perturb.
            rest: Radius of ball 0.

        Raises:
            RuntimeError: If the importance is not known.
        """
        if self.radii is None:
            raise RuntimeError(
                'the adaptive stage needs the importance of each channel, which PruningHook sets; '
                "add custom_hooks=[dict(type='PruningHook', ...)] or leave the stage at 'uniform'"
            )
        device = weights[0].device
        radii = torch.cat([torch.tensor([rest], device=device), self.radii.to(device)])
        return [self.rows.get(id(weight), 0) for weight in weights], radii
