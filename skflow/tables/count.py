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

__all__ = ["STEPS", "Count"]

# Numbers may be rounded to multiples of these, of which the range holds so many at least.
STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 500, 1000)
_FEWEST_STEPS = 4

_LEAST_MASS = np.nextafter(0, 1)

# Where the ends of a number are nearer to each other as latents, their difference has few digits
# or none, and the density times the step has all of them.
_LEAST_WIDTH = 1e-6


class Count(Column):
    r"""A column of whole numbers, each of which has a mass.

    A :class:`~skflow.ConditionalFlow` learns the values with uniform noise between -1/2 and 1/2.
    Values may be rounded: people like multiples of five and of ten. With :math:`F` the
    distribution function of the flow, and :math:`w_s` the share of values that are rounded to
    multiples of s, the mass of k is

    .. math::

       P(k) = \sum_{s \,:\, s | k} w_s
       \frac{F(k + s/2) - F(k - s/2)}{\sum_{s | j} F(j + s/2) - F(j - s/2)},

    where j goes through all numbers that there can be: those from `low` to `high`, but for the
    heaps of :class:`Inflated`. It is exact: it adds up to one over these numbers. The shares are
    those that make the values likeliest, and 1 has half a row at least, so that every number has
    a mass.

    Parameters
    ----------
    low : int or None, default=None
        The least number that there can be. None is no bound.
    high : int or None, default=None
        The greatest number that there can be. None is no bound.

    Examples
    --------
    >>> from skflow.tables import Count
    >>> Count(low=0)
    Count(low=0)
    """

    def __init__(self, low: int | None = None, high: int | None = None) -> None:
        self.low = low
        self.high = high

    _heaps: Floats = np.empty(0)

    def refuse(self, values: Floats, name: str) -> None:  # noqa: D102
        low, high = self._bounds
        if low > high:
            raise ValueError(
                f"The bounds of column {name} must be low <= high, got low={self.low!r} and "
                f"high={self.high!r}."
            )
        broken = values[values != np.round(values)]
        if len(broken):
            raise ValueError(
                f"Column {name} is declared to be a count, which takes whole numbers, but has "
                f"{broken[0]:g}."
            )
        outside = values[(values < low) | (values > high)]
        if len(outside):
            bound = f"low={self.low}" if outside[0] < low else f"high={self.high}"
            raise ValueError(
                f"Column {name} is declared to be a count with {bound}, but has {outside[0]:g}."
            )

    def leave_out(self, values: Floats) -> None:  # noqa: D102
        self._heaps = np.unique(values)

    def learn(  # noqa: D102
        self, values: Floats, features: Floats, weights: Floats | None, settings: FitSettings
    ) -> Self:
        noise = np.random.RandomState(settings.random_state).uniform(-0.5, 0.5, len(values))
        self._flow = fitted_flow(values + noise, features, weights, settings)
        most = max(1.0, np.ptp(values) / _FEWEST_STEPS)
        steps = [s for s in STEPS if s <= most and (s == 1 or (values % s == 0).any())]
        self._steps = np.array(steps, np.float64)
        each = [self._stretches_of(step) for step in steps]
        self._stretches = np.full((len(steps), max(map(len, each)), 2), np.nan)
        for k, stretches in enumerate(each):
            self._stretches[k, : len(stretches)] = stretches
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
        steps, stretches = self._steps[which], self._stretches[which]
        z = self._latents(stretches, features)
        log_masses = _log_mass_between(z[..., 0], z[..., 1])
        masses = np.exp(log_masses - logsumexp(log_masses, axis=1, keepdims=True))
        stretch, rest = chosen(masses, rest)
        rows = np.arange(len(u))
        low, high = z[rows, stretch].T
        found = self._flow.from_latents(given(features), _between(low, high, rest))
        # Where rounding has crossed the end of a stretch.
        low, high = stretches[rows, stretch].T
        return np.clip(steps * np.round(found / steps), low + steps / 2, high - steps / 2)

    def has_mass(self, values: Floats) -> NDArray[np.bool_]:  # noqa: D102
        return ~np.isnan(values)

    def centre(self, draws: Floats, strategy: str) -> Floats:  # noqa: D102
        return np.round(super().centre(draws, strategy))

    @property
    def _bounds(self) -> tuple[float, float]:
        low = -np.inf if self.low is None else float(self.low)
        return low, np.inf if self.high is None else float(self.high)

    def _log_masses(self, values: Floats, features: Floats) -> Floats:
        """Return the log-masses of values that are rounded to each step, of shape (n, n_steps)."""
        low, high = self._bounds
        is_there = (values >= low) & (values <= high) & ~np.isin(values, self._heaps)
        is_multiple = is_there[:, None] & (np.mod(values[:, None], self._steps) == 0)
        own = values[:, None, None, None] + self._steps[:, None, None] / 2 * np.array([-1, 1])
        ends = np.concatenate(
            [own, np.broadcast_to(self._stretches, (len(values), *self._stretches.shape))], axis=2
        )
        z = self._latents(np.where(is_multiple[:, :, None, None], ends, np.nan), features)
        log_masses = _log_mass_between(z[..., 0], z[..., 1])
        narrow = is_multiple & (z[:, :, 0, 1] - z[:, :, 0, 0] < _LEAST_WIDTH)
        rows, steps = np.nonzero(narrow)
        if len(rows):
            log_density = self._flow.score_samples(given(features)[rows], values[rows])
            log_masses[rows, steps, 0] = log_density + np.log(self._steps[steps])
        with np.errstate(invalid="ignore"):
            found = log_masses[..., 0] - logsumexp(log_masses[..., 1:], axis=2)
        return np.where(is_multiple, np.minimum(found, 0), -np.inf)

    def _stretches_of(self, step: float) -> Floats:
        """Return where stretches of multiples begin and end, between bounds and heaps."""
        low, high = self._bounds
        low, high = step * np.ceil(low / step), step * np.floor(high / step)
        heaps = self._heaps[(self._heaps % step == 0) & (self._heaps >= low)]
        heaps = heaps[heaps <= high]
        sides = np.stack([heaps - step / 2, heaps + step / 2], 1).ravel()
        ends = np.concatenate([[low - step / 2], sides, [high + step / 2]]).reshape(-1, 2)
        return ends[ends[:, 0] < ends[:, 1]]

    def _latents(self, values: Floats, features: Floats) -> Floats:
        """Return the latents of several values of each row, some of which are not finite."""
        z, is_finite = values.copy(), np.isfinite(values)
        rows = np.nonzero(is_finite)[0]
        if len(rows):
            z[is_finite] = self._flow.to_latents(given(features)[rows], values[is_finite])
        return z


def _log_mass_between(low: Floats, high: Floats) -> Floats:
    """Return the logarithm of the normal distribution's mass, far out in a tail as well."""
    flips = low > 0
    low, high = np.where(flips, -high, low), np.where(flips, -low, high)
    below, above = log_ndtr(low), log_ndtr(high)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_mass: Floats = above + np.log(-np.expm1(np.minimum(below - above, 0)))
    return np.where(np.isnan(log_mass), -np.inf, log_mass)


def _between(low: Floats, high: Floats, u: Floats) -> Floats:
    """Return standard normal numbers between bounds, as uniform numbers say."""
    # By the upper tail, which may be all that there is; or by the lower one.
    is_upper = (low > 0) | np.isinf(high)
    low, high = np.where(is_upper, -high, low), np.where(is_upper, -low, high)
    u = np.where(is_upper, 1 - u, u)
    p = ndtr(low) + u * (ndtr(high) - ndtr(low))
    z = ndtri(np.maximum(p, _LEAST_MASS)).clip(low, high)
    return np.where(is_upper, -z, z)
