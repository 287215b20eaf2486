"""Continuous columns with one bound or two."""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy.special import expit, log_expit

from skflow.tables.column import FitSettings, Floats, LineColumn
from skflow.tables.continuous import Continuous

__all__ = ["Bounded"]

# How near to a bound a value counts as, in shares of the range, or of the median distance from
# the bound if there is no other.
_NEAREST = 1e-16
_LARGEST_LOG = 300.0


class Bounded(LineColumn):
    """A column with a density inside its bounds and none outside.

    A flow learns the logit of a value's share of the range, or the logarithm of its distance from
    the bound if there is only one. A value at a bound counts as one that is next to it.

    Parameters
    ----------
    low : float, default=0
        The lower bound, or minus infinity.
    high : float, default=inf
        The upper bound, or infinity.

    Examples
    --------
    >>> from skflow.tables import Bounded
    >>> Bounded(0, 1)
    Bounded(high=1)
    """

    def __init__(self, low: float = 0, high: float = np.inf) -> None:
        self.low = low
        self.high = high

    def refuse(self, values: Floats, name: str) -> None:  # noqa: D102
        if not self.low < self.high or np.isinf([self.low, self.high]).all():
            raise ValueError(
                f"The bounds of column {name} must be low < high, one of them finite at least, "
                f"got low={self.low!r} and high={self.high!r}."
            )
        outside = values[(values < self.low) | (values > self.high)]
        if len(outside):
            raise ValueError(
                f"Column {name} is declared to lie between {self.low!r} and {self.high!r}, but "
                f"has {outside[0]:g}."
            )

    def prepare(self, values: Floats, weights: Floats | None) -> None:  # noqa: D102
        distances = np.abs(values - self._bound)
        far = distances[distances > 0]
        self._unit = float(np.median(far)) if len(far) else 1.0

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
        if self._has_two:
            width = self.high - self.low
            share = ((values - self.low) / width).clip(_NEAREST, 1 - _NEAREST)
            x = np.log(share) - np.log1p(-share)
            log_slopes = -(log_expit(x) + log_expit(-x)) - np.log(width)
        else:
            distance = (self._sign * (values - self._bound)) / self._unit
            logs = np.log(distance.clip(min=_NEAREST))
            x, log_slopes = self._sign * logs, -logs - np.log(self._unit)
        return x, np.where(outside, -np.inf, log_slopes)

    def from_line(self, x: Floats) -> Floats:  # noqa: D102
        if self._has_two:
            values = self.low + (self.high - self.low) * expit(x)
        else:
            # No value that overflows.
            distance = self._unit * np.exp((self._sign * x).clip(max=_LARGEST_LOG))
            values = self._bound + self._sign * distance
        return np.clip(values, self.low, self.high)

    @property
    def _has_two(self) -> bool:
        return bool(np.isfinite([self.low, self.high]).all())

    @property
    def _bound(self) -> float:
        """The only bound."""
        return self.low if np.isfinite(self.low) else self.high

    @property
    def _sign(self) -> float:
        """On which side of the only bound values are."""
        return 1.0 if np.isfinite(self.low) else -1.0
