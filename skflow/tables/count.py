"""Whole numbers."""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri

from skflow.tables.column import Column, FitSettings, Floats
from skflow.tables.continuous import fitted_flow, given

__all__ = ["Count"]


class Count(Column):
    r"""A column of whole numbers, each of which has a mass.

    A :class:`~skflow.ConditionalFlow` learns the values with uniform noise between -1/2 and 1/2.
    The mass of k is what its distribution function :math:`F` rises by around it,

    .. math::

       P(k) = \frac{F(k + 1/2) - F(k - 1/2)}{1 - F(l - 1/2)},

    which is exact: it adds up to one over the whole numbers from the least one, :math:`l`.

    Parameters
    ----------
    low : int or None, default=None
        The least number that there can be. None is no bound.

    Examples
    --------
    >>> from skflow.tables import Count
    >>> Count(low=0)
    Count(low=0)
    """

    def __init__(self, low: int | None = None) -> None:
        self.low = low

    def refuse(self, values: Floats, name: str) -> None:  # noqa: D102
        broken = values[values != np.round(values)]
        if len(broken):
            raise ValueError(
                f"Column {name} is declared to be a count, which takes whole numbers, but has "
                f"{broken[0]:g}."
            )
        if self.low is not None and len(values) and values.min() < self.low:
            raise ValueError(
                f"Column {name} is declared to be a count with low={self.low}, but has "
                f"{values.min():g}."
            )

    def learn(  # noqa: D102
        self, values: Floats, features: Floats, weights: Floats | None, settings: FitSettings
    ) -> Self:
        noise = np.random.RandomState(settings.random_state).uniform(-0.5, 0.5, len(values))
        self._flow = fitted_flow(values + noise, features, weights, settings)
        return self

    def log_prob(self, values: Floats, features: Floats) -> Floats:  # noqa: D102
        low, high = (self._latents(values + d, features) for d in (-0.5, 0.5))
        log_mass = _log_mass_between(low, high)
        if self.low is None:
            return log_mass
        return np.where(values < self.low, -np.inf, log_mass - log_ndtr(-self._lowest(features)))

    def sample(self, features: Floats, u: Floats) -> Floats:  # noqa: D102
        # By the upper tail, which may be all that there is.
        above = 1.0 if self.low is None else ndtr(-self._lowest(features))
        z = -ndtri(above * (1 - u))
        values = np.round(self._flow.from_latents(given(features), z))
        return values if self.low is None else values.clip(min=self.low)

    def centre(self, draws: Floats, strategy: str) -> Floats:  # noqa: D102
        return np.round(super().centre(draws, strategy))

    def _lowest(self, features: Floats) -> Floats:
        assert self.low is not None
        return self._latents(np.full(len(features), self.low - 0.5), features)

    def _latents(self, values: Floats, features: Floats) -> Floats:
        return self._flow.to_latents(given(features), values)


def _log_mass_between(low: Floats, high: Floats) -> Floats:
    """Return the logarithm of the normal distribution's mass, far out in a tail as well."""
    flips = low > 0
    low, high = np.where(flips, -high, low), np.where(flips, -low, high)
    below, above = log_ndtr(low), log_ndtr(high)
    with np.errstate(divide="ignore"):
        log_mass: Floats = above + np.log(-np.expm1(np.minimum(below - above, 0)))
    return log_mass
