"""Continuous columns between two bounds."""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy.special import expit, log_expit

from skflow.tables.column import FitSettings, Floats, LineColumn
from skflow.tables.continuous import Continuous

__all__ = ["Bounded"]

# How near to a bound a value counts as, in shares of the range.
_NEAREST = 1e-9


class Bounded(LineColumn):
    """A column with a density between two bounds and none outside.

    A flow learns the logit of a value's share of the range. A value at a bound counts as one that
    is next to it.

    Parameters
    ----------
    low, high : float
        The bounds, both finite.

    Examples
    --------
    >>> from skflow.tables import Bounded
    >>> Bounded(0, 1)
    Bounded(high=1, low=0)
    """

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high

    def refuse(self, values: Floats, name: str) -> None:  # noqa: D102
        if not -np.inf < self.low < self.high < np.inf:
            raise ValueError(
                f"The bounds of column {name} must be finite numbers low < high, got "
                f"low={self.low!r} and high={self.high!r}."
            )
        outside = values[(values < self.low) | (values > self.high)]
        if len(outside):
            raise ValueError(
                f"Column {name} is declared to lie between {self.low!r} and {self.high!r}, but "
                f"has {outside[0]:g}."
            )

    def learn(  # noqa: D102
        self, values: Floats, features: Floats, weights: Floats | None, settings: FitSettings
    ) -> Self:
        inner, _ = self.to_line(values)
        self._line = Continuous().learn(inner, features, weights, settings)
        return self

    def log_prob(self, values: Floats, features: Floats) -> Floats:  # noqa: D102
        inner, log_slopes = self.to_line(values)
        return self._line.log_prob(inner, features) + log_slopes

    def sample(self, features: Floats, u: Floats) -> Floats:  # noqa: D102
        return self.from_line(self._line.sample(features, u))

    def to_line(self, values: Floats) -> tuple[Floats, Floats]:  # noqa: D102
        outside = (values < self.low) | (values > self.high)
        share = (values - self.low) / (self.high - self.low)
        share = share.clip(_NEAREST, 1 - _NEAREST)
        x = np.log(share) - np.log1p(-share)
        log_slopes = -(log_expit(x) + log_expit(-x)) - np.log(self.high - self.low)
        return x, np.where(outside, -np.inf, log_slopes)

    def from_line(self, x: Floats) -> Floats:  # noqa: D102
        values = self.low + (self.high - self.low) * expit(x)
        return np.clip(values, self.low, self.high)
