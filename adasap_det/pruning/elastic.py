"""The sizes that the elastic stage trains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ElasticSizes:
    """Draws the size of the network for each pass of the elastic stage.

    Args:
        keep_ratio_range: Least and largest ratio of the dense model's cost that is drawn; all
            ratios between are drawn alike.
        whole_share: Share of the passes in which nothing is removed. Default a quarter.
        smallest_share: Share of the passes at the least ratio, beside those that fall near it.
            Default none.
        seed: Seed of the draws.

    Raises:
        ValueError: If a value is out of range.
    """

    keep_ratio_range: tuple[float, float] = (0.2, 1.0)
    whole_share: float = 0.25
    smallest_share: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        least, largest = self.keep_ratio_range
        if not 0 < least < largest <= 1:
            raise ValueError(
                f'elastic.keep_ratio_range is the least and the largest ratio of the dense cost '
                f'that is trained, with 0 < least < largest <= 1, got {self.keep_ratio_range}'
            )
        for name in ('whole_share', 'smallest_share'):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f'elastic.{name} must lie in [0, 1), got {getattr(self, name)}')
        if self.whole_share + self.smallest_share >= 1:
            raise ValueError(
                f'elastic.whole_share={self.whole_share} and smallest_share={self.smallest_share} '
                f'leave no pass for the sizes between; lower one of them'
            )

    def draw(self, step: int, *, index: int = 0, count: int = 1) -> float:
        """Ratio of the dense cost that remains in one pass, 1 where nothing is removed.

        The passes of one step are stratified: with two of them, one has a small network and one a
        large one.

        Args:
            step: Number of the optimizer's step.
            index: Which of the passes of this step, over all micro-batches and ranks.
            count: How many there are.
        """
        start = np.random.default_rng([self.seed, step]).random()
        place = (start + index / count) % 1
        if place < self.whole_share:
            return 1.0
        least, largest = self.keep_ratio_range
        place = (place - self.whole_share) / (1 - self.whole_share)
        at_least = self.smallest_share / (1 - self.whole_share)
        if place < at_least:
            return least
        return largest - (largest - least) * (place - at_least) / (1 - at_least)
