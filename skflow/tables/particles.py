"""Rows with holes, completed by particles that walk from column to column."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from skflow.tables.chain import Chain
from skflow.tables.column import Floats
from skflow.tables.noise import Noise, places, worths

__all__ = ["are_exact", "draw_completed", "draw_rows", "estimate_log_prob"]

# Particles are drawn anew where they are worth less than such a share of their number.
_LEAST_WORTH = 0.5

# Weights that differ by rounding alone have no variance.
_LEAST_EXCESS = 1e-9

# Rows that leave a range are drawn so often.
_MOST_DRAWS = 20

# Rows times particles that walk at once.
_MOST_AT_ONCE = 20_000


class _Completed(NamedTuple):
    """Rows with holes, as a chain sees them."""

    rows: Floats
    """Particles, of shape (n_rows, n_particles, n_columns)."""

    log_weights: Floats
    """Of the particles of each row, of shape (n_rows, n_particles)."""

    log_prob: Floats
    """Of what is observed in each row, of shape (n_rows,)."""

    errors: Floats
    """Standard errors of these, of shape (n_rows,)."""

    def within(self, low: Floats, high: Floats) -> _Completed:
        """Give no weight to particles outside of ranges, of rows that have others."""
        # What is observed is the same in all particles of a row, and decides nothing.
        varies = (self.rows != self.rows[:, :1]).any(1)[:, None]
        inside = (((self.rows >= low) & (self.rows <= high)) | ~varies).all(2)
        inside &= np.isfinite(self.log_weights)
        kept = inside | ~inside.any(1, keepdims=True)
        return self._replace(log_weights=np.where(kept, self.log_weights, -np.inf))

    def drawn(self, n_samples: int, noise: Noise) -> Floats:
        """Return some particles of each row, as often as their weights say."""
        starts = noise.uniform(len(self.rows), 1)[:, 0, 0]
        drawn = zip(self.rows, self.log_weights, starts, strict=True)
        return np.stack([row[places(own, n_samples, start)] for row, own, start in drawn])


def draw_completed(
    chain: Chain, values: Floats, n_particles: int, n_samples: int, noise: Noise
) -> Floats:
    """Draw what is missing in rows, given what is observed, within the ranges of the chain.

    Parameters
    ----------
    chain : Chain
        The distribution of a row.
    values : ndarray of shape (n_rows, n_columns)
        NaN where an entry is missing.
    n_particles : int
        How many particles each row has to draw from.
    n_samples : int
        How often each row is completed.
    noise : Noise
        Where the randomness comes from.

    Returns
    -------
    rows : ndarray of shape (n_rows, n_samples, n_columns)
        The completed rows. Where all particles of a row leave a range, it ends there.
    """
    drawn = np.empty((len(values), n_samples, values.shape[1]))
    for part in _parts(len(values), n_particles):
        found = _walk(chain, values[part], n_particles, noise, to_the_end=True)
        noise.begin(len(chain.steps))  # whatever the steps have taken
        drawn[part] = found.within(*chain.ranges).drawn(n_samples, noise)
    is_missing = np.isnan(values)[:, None]
    return np.where(is_missing, drawn.clip(*chain.ranges), drawn)


def are_exact(chain: Chain, values: Floats) -> NDArray[np.bool_]:
    """Say of which rows the density needs no particles.

    It does not if whatever is missing comes after all that is observed.

    Parameters
    ----------
    chain : Chain
        The distribution of a row.
    values : ndarray of shape (n_rows, n_columns)
        NaN where an entry is missing.

    Returns
    -------
    are_exact : ndarray of shape (n_rows,), of bools
        True for a row that needs none.
    """
    missing = np.isnan(values)
    exact = np.ones(len(values), bool)
    for k, step in enumerate(chain.steps):
        has_more = ~missing[:, chain.columns_from(k)].all(1)
        exact &= ~(missing[:, step.own].any(1) & has_more)
    return exact


def estimate_log_prob(
    chain: Chain, values: Floats, n_particles: int, noise: Noise
) -> tuple[Floats, Floats]:
    """Estimate the density of what is observed in rows, by sequential Monte Carlo.

    What is missing is drawn given the columns before it, and what is observed weighs what was
    drawn. The mean weight is an estimate of the density of what is observed, without bias unless
    a step has stages.

    Parameters
    ----------
    chain : Chain
        The distribution of a row.
    values : ndarray of shape (n_rows, n_columns)
        NaN where an entry is missing.
    n_particles : int
        How many particles each row has.
    noise : Noise
        Where the randomness comes from.

    Returns
    -------
    log_prob : ndarray of shape (n_rows,)
        In nats.
    errors : ndarray of shape (n_rows,)
        The standard errors.
    """
    log_prob, errors = np.empty(len(values)), np.empty(len(values))
    for part in _parts(len(values), n_particles):
        found = _walk(chain, values[part], n_particles, noise, to_the_end=False)
        log_prob[part], errors[part] = found.log_prob, found.errors
    return log_prob, errors


def draw_rows(chain: Chain, n_rows: int, noise: Noise) -> Floats:
    """Draw rows within the ranges of the chain: those that leave one are drawn anew.

    Parameters
    ----------
    chain : Chain
        The distribution of a row.
    n_rows : int
        How many.
    noise : Noise
        Where the randomness comes from.

    Returns
    -------
    rows : ndarray of shape (n_rows, n_columns)
        A row that leaves a range time and again ends there.
    """
    low, high = chain.ranges
    rows = np.full((n_rows, len(low)), np.nan)
    outside = np.arange(n_rows)
    for _ in range(_MOST_DRAWS):
        for part in _parts(len(outside), 1):
            nothing = np.full((len(outside[part]), len(low)), np.nan)
            drawn = _walk(chain, nothing, 1, noise, to_the_end=True)
            rows[outside[part]] = drawn.rows[:, 0]
        outside = np.flatnonzero(((rows < low) | (rows > high)).any(1))
        if not len(outside):
            break
    return rows.clip(low, high)


def _parts(n_rows: int, n_particles: int) -> list[slice]:
    """Return which rows walk at once."""
    length = max(1, _MOST_AT_ONCE // n_particles)
    return [slice(i, i + length) for i in range(0, n_rows, length)]


def _walk(
    chain: Chain, values: Floats, n_particles: int, noise: Noise, *, to_the_end: bool
) -> _Completed:
    cloud = _Cloud(np.repeat(values[:, None], n_particles, axis=1))
    observed = ~np.isnan(values)
    for k, step in enumerate(chain.steps):
        noise.begin(k)
        starts = noise.uniform(len(values), 1)[:, 0, 0]
        at = np.flatnonzero(observed[:, chain.columns_from(k)].any(1) | to_the_end)
        if len(at):
            extended = step.extend(cloud.rows[at], values[at], noise)
            cloud.rows[at] = extended.rows
            cloud.variances[at] += extended.variances
            cloud.weigh(at, extended.log_weights, starts[at])
    return cloud.counted()


class _Cloud:
    """Weighted particles of each of several rows."""

    def __init__(self, rows: Floats) -> None:
        self.rows = rows
        self.log_weights = np.zeros(rows.shape[:2])
        self.log_prob = np.zeros(len(rows))
        self.variances = np.zeros(len(rows))

    def weigh(self, at: NDArray[np.intp], log_weights: Floats, u: Floats) -> None:
        """Count weights of some rows' particles, and draw those anew of which few count."""
        self.log_weights[at] += log_weights
        few = worths(self.log_weights[at]) < _LEAST_WORTH
        for i, start in zip(at[few], u[few], strict=True):
            self.rows[i] = self.rows[i, places(self.log_weights[i], self.rows.shape[1], start)]
        self._count(at[few])

    def counted(self) -> _Completed:
        """Return what there is in the end."""
        kept = self.log_weights.copy()
        self._count(np.arange(len(self.rows)))
        return _Completed(self.rows, kept, self.log_prob, np.sqrt(self.variances))

    def _count(self, at: NDArray[np.intp]) -> None:
        """Turn the weights of some rows into a factor of their probability."""
        log_weights, n = self.log_weights[at], self.rows.shape[1]
        self.log_prob[at] += logsumexp(log_weights, axis=1) - np.log(n)
        excess = 1 / worths(log_weights) - 1
        self.variances[at] += np.where(excess > _LEAST_EXCESS, excess / n, 0.0)
        self.log_weights[at] = 0
