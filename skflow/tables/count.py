"""Whole numbers."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp, ndtr, ndtri

from skflow.tables.column import Column, FitSettings, Floats
from skflow.tables.continuous import fitted_flow, given
from skflow.tables.noise import chosen
from skflow.training.stacking import stacking_weights

__all__ = ["Count"]

# Numbers may be rounded to multiples of these, of which the range holds so many at least.
_STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 500, 1000)
_FEWEST_STEPS = 4


class Count(Column):
    r"""A column of whole numbers, each of which has a mass.

    A :class:`~skflow.ConditionalFlow` learns the values with uniform noise between -1/2 and 1/2.
    Values may be rounded: people like multiples of five and of ten. With :math:`F` the
    distribution function of the flow, and :math:`w_s` the share of values that are rounded to
    multiples of s, of which :math:`l_s` is the least that there can be, the mass of k is

    .. math::

       P(k) = \sum_{s \,:\, s | k} w_s
       \frac{F(k + s/2) - F(k - s/2)}{1 - F(l_s - s/2)},

    which is exact: it adds up to one over the whole numbers. The shares are those that make the
    values likeliest, and 1 has half a row at least, so that every number has a mass.

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
        most = max(1.0, np.ptp(values) / _FEWEST_STEPS)
        self._steps = [step for step in _STEPS if step <= most]
        log_masses = torch.from_numpy(self._log_masses(values, features))
        counts = None if weights is None else torch.from_numpy(weights)
        shares = stacking_weights(log_masses, counts).numpy()
        least = 0.5 / (len(values) + 0.5)
        self._shares = least * (np.arange(len(shares)) == 0) + (1 - least) * shares
        return self

    def log_prob(self, values: Floats, features: Floats) -> Floats:  # noqa: D102
        with np.errstate(divide="ignore"):
            log_shares = np.log(self._shares)
        log_mass: Floats = logsumexp(self._log_masses(values, features) + log_shares, axis=1)
        return log_mass

    def sample(self, features: Floats, u: Floats) -> Floats:  # noqa: D102
        shares = np.broadcast_to(self._shares, (len(u), len(self._shares)))
        which, rest = chosen(shares, u)
        steps = np.asarray(self._steps, np.float64)[which]
        # By the upper tail, which may be all that there is.
        above = ndtr(-self._lowest(features, steps))
        z = -ndtri(above * (1 - rest))
        values = steps * np.round(self._flow.from_latents(given(features), z) / steps)
        return values if self.low is None else np.maximum(values, self._least(steps))

    def has_mass(self, values: Floats) -> NDArray[np.bool_]:  # noqa: D102
        return ~np.isnan(values)

    def centre(self, draws: Floats, strategy: str) -> Floats:  # noqa: D102
        return np.round(super().centre(draws, strategy))

    def _log_masses(self, values: Floats, features: Floats) -> Floats:
        """Return the log-masses of values that are rounded to each step, of shape (n, n_steps)."""
        found = np.full((len(values), len(self._steps)), -np.inf)
        for k, step in enumerate(self._steps):
            rows = np.mod(values, step) == 0
            if self.low is not None:
                rows &= values >= self.low
            if rows.any():
                x, at = features[rows], values[rows]
                low, high = (self._latents(at + side * step / 2, x) for side in (-1, 1))
                steps = np.full(len(at), float(step))
                found[rows, k] = _log_mass_between(low, high) - log_ndtr(-self._lowest(x, steps))
        return found

    def _least(self, steps: Floats) -> Floats:
        """Return the least multiples of steps that there can be."""
        assert self.low is not None
        return steps * np.ceil(self.low / steps)

    def _lowest(self, features: Floats, steps: Floats) -> Floats:
        """Return the latents where the masses begin."""
        if self.low is None:
            return np.full(len(features), -np.inf)
        return self._latents(self._least(steps) - steps / 2, features)

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
