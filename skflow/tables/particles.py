"""Rows with holes, completed by particles that walk from column to column."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from skflow.tables.chain import Chain
from skflow.tables.column import Floats
from skflow.tables.noise import Noise, places, worths

__all__ = ["Completed", "are_exact", "complete"]

# Particles are drawn anew where they are worth less than such a share of their number.
_LEAST_WORTH = 0.5

# Weights that differ by rounding alone have no variance.
_LEAST_EXCESS = 1e-9

# Rows times particles that walk at once.
_MOST_AT_ONCE = 20_000


class Completed(NamedTuple):
    """Rows with holes, as a chain sees them."""

    rows: Floats
    """Particles, of shape (n_rows, n_particles, n_columns)."""

    log_weights: Floats
    """Of the particles of each row, of shape (n_rows, n_particles)."""

    log_prob: Floats
    """Of what is observed in each row, of shape (n_rows,)."""

    errors: Floats
    """Standard errors of these, of shape (n_rows,)."""

    def within(self, low: Floats, high: Floats) -> Completed:
        """Give no weight to particles outside of ranges, of rows that have others.

        Parameters
        ----------
        low, high : ndarray of shape (n_columns,)
            The ranges.

        Returns
        -------
        completed : Completed
            With other weights.
        """
        # What is observed is the same in all particles of a row, and decides nothing.
        varies = (self.rows != self.rows[:, :1]).any(1)[:, None]
        inside = (((self.rows >= low) & (self.rows <= high)) | ~varies).all(2)
        inside &= np.isfinite(self.log_weights)
        kept = inside | ~inside.any(1, keepdims=True)
        return self._replace(log_weights=np.where(kept, self.log_weights, -np.inf))

    def drawn(self, n_samples: int, noise: Noise) -> Floats:
        """Return particles of equal weight.

        Parameters
        ----------
        n_samples : int
            How many of each row.
        noise : Noise
            Where the randomness comes from.

        Returns
        -------
        rows : ndarray of shape (n_rows, n_samples, n_columns)
            Some of the particles, as often as their weights say.
        """
        starts = noise.uniform(len(self.rows), 1)[:, 0, 0]
        drawn = zip(self.rows, self.log_weights, starts, strict=True)
        return np.stack([row[places(own, n_samples, start)] for row, own, start in drawn])


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


def complete(
    chain: Chain,
    values: Floats,
    n_particles: int,
    noise: Noise,
    *,
    to_the_end: bool,
) -> Completed:
    """Complete rows by sequential Monte Carlo.

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
    to_the_end : bool
        Whether to draw what comes after the last column that is observed.

    Returns
    -------
    completed : Completed
        The particles and what they say.
    """
    length = max(1, _MOST_AT_ONCE // n_particles)
    parts = [
        _walk(chain, values[i : i + length], n_particles, noise, to_the_end)
        for i in range(0, len(values), length)
    ]
    return Completed(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _walk(
    chain: Chain,
    values: Floats,
    n_particles: int,
    noise: Noise,
    to_the_end: bool,
) -> Completed:
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

    def counted(self) -> Completed:
        """Return what there is in the end."""
        kept = self.log_weights.copy()
        self._count(np.arange(len(self.rows)))
        return Completed(self.rows, kept, self.log_prob, np.sqrt(self.variances))

    def _count(self, at: NDArray[np.intp]) -> None:
        """Turn the weights of some rows into a factor of their probability."""
        log_weights, n = self.log_weights[at], self.rows.shape[1]
        self.log_prob[at] += logsumexp(log_weights, axis=1) - np.log(n)
        excess = 1 / worths(log_weights) - 1
        self.variances[at] += np.where(excess > _LEAST_EXCESS, excess / n, 0.0)
        self.log_weights[at] = 0
