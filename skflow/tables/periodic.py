"""Angles, hours and other columns that come round."""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy.special import logsumexp

from skflow.tables.column import Column, FitSettings, Floats, spread
from skflow.tables.continuous import Continuous

__all__ = ["Periodic"]

# Turns to either side that are added up, and bins among which the emptiest is looked for.
_N_TURNS = 2
_N_BINS = 36


class Periodic(Column):
    """A column whose values come round after a period, such as an angle.

    The density is that of a :class:`~skflow.ConditionalFlow` on the line, wrapped around the
    circle: the sum over the turns. So it has the same value, and the same slope, at both ends of
    the period. The line begins where the circle is emptiest.

    Parameters
    ----------
    period : float
        The period. Samples lie between `low` and ``low + period``.
    low : float, default=0
        Where the period begins.

    Examples
    --------
    >>> from skflow.tables import Periodic
    >>> Periodic(360)
    Periodic(period=360)
    """

    def __init__(self, period: float, low: float = 0) -> None:
        self.period = period
        self.low = low

    def refuse(self, values: Floats, name: str) -> None:  # noqa: D102
        if not 0 < self.period < np.inf or not np.isfinite(self.low):
            raise ValueError(
                f"The period of column {name} must be a positive number and its low a finite one, "
                f"got period={self.period!r} and low={self.low!r}."
            )

    def learn(  # noqa: D102
        self, values: Floats, features: Floats, weights: Floats | None, settings: FitSettings
    ) -> Self:
        self._cut = 0.0
        turned = self._on_line(values)
        counts, edges = np.histogram(turned, _N_BINS, (0, self.period), weights=weights)
        # Of a run of bins that are equally empty, the middle: neighbours count a little.
        smooth = counts + (np.roll(counts, 1) + np.roll(counts, -1)) / 2
        emptiest = int(smooth.argmin())
        self._cut = float(edges[emptiest] + edges[1] / 2)
        self._line = Continuous().learn(self._on_line(values), features, weights, settings)
        return self

    def log_prob(self, values: Floats, features: Floats) -> Floats:  # noqa: D102
        turns = range(-_N_TURNS, _N_TURNS + 1)
        x = self._on_line(values)
        each = [self._line.log_prob(x + k * self.period, features) for k in turns]
        log_prob: Floats = logsumexp(each, axis=0)
        return log_prob

    def sample(self, features: Floats, u: Floats) -> Floats:  # noqa: D102
        x = self._line.sample(features, u) + self._cut
        return self.low + np.mod(x, self.period)

    def range_of_draws(self, values: Floats) -> tuple[float, float]:  # noqa: D102
        return -np.inf, np.inf

    def as_features(self, values: Floats) -> Floats:  # noqa: D102
        angle = 2 * np.pi * (values - self.low) / self.period
        return spread(values, [np.cos(angle), np.sin(angle)])

    def centre(self, draws: Floats, strategy: str) -> Floats:  # noqa: D102
        # The direction of the mean of points on the circle, whatever the strategy.
        angles = 2 * np.pi * (draws - self.low) / self.period
        angle = np.arctan2(np.sin(angles).mean(1), np.cos(angles).mean(1))
        return self.low + np.mod(angle / (2 * np.pi) * self.period, self.period)

    def _on_line(self, values: Floats) -> Floats:
        return np.mod(values - self.low - self._cut, self.period)
