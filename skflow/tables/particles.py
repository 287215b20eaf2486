"""Rows with holes, completed by particles that walk from column to column."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from skflow.tables.chain import Chain
from skflow.tables.column import Floats
from skflow.tables.noise import Noise

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
        n_rows, n_particles = self.log_weights.shape
        found = np.empty((n_rows, n_samples, self.rows.shape[2]))
        starts = noise.uniform(n_rows, 1)[:, 0, 0]
        for i, log_weights in enumerate(self.log_weights):
            # If none of them is possible, all are as good.
            known = log_weights if np.isfinite(log_weights.max()) else np.zeros(n_particles)
            shares = np.exp(known - known.max())
            places = (np.arange(n_samples) + starts[i]) / n_samples
            at = np.searchsorted((shares / shares.sum()).cumsum(), places)
            found[i] = self.rows[i, at.clip(max=n_particles - 1)]
        return found


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
        later = [j for other in chain.steps[k:] for j in other.own]
        exact &= ~(missing[:, step.own].any(1) & ~missing[:, later].all(1))
    return exact


def complete(
    chain: Chain,
    values: Floats,
    n_particles: int,
    noise: Noise,
    *,
    to_the_end: bool,
) -> Completed:
    """Complete rows by sequential importance sampling with resampling.

    What is missing is drawn given the columns before it, and what is observed weighs what was
    drawn. The mean weight is an unbiased estimate of the density of what is observed.

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
        later = [j for other in chain.steps[k:] for j in other.own]
        noise.begin(k)
        at = np.flatnonzero(observed[:, later].any(1) | to_the_end)
        if len(at):
            completed, log_weights = step.extend(cloud.rows[at], values[at], noise)
            cloud.rows[at] = completed
            cloud.weigh(at, log_weights, noise.uniform(len(values), 1)[at, 0, 0])
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
        for i, start in zip(at, u, strict=True):
            if self._worth(i) < _LEAST_WORTH:
                self._resample(i, start)

    def counted(self) -> Completed:
        """Return what there is in the end."""
        kept = self.log_weights.copy()
        for i in range(len(self.rows)):
            self._count(i)
        errors = np.sqrt(self.variances)
        return Completed(self.rows, kept, self.log_prob, errors)

    def _worth(self, i: int) -> float:
        log_weights = self.log_weights[i]
        if not np.isfinite(log_weights.max()):
            return 1.0
        worth = 2 * logsumexp(log_weights) - logsumexp(2 * log_weights)
        return float(np.exp(worth)) / len(log_weights)

    def _count(self, i: int) -> None:
        worth = self._worth(i)
        n = len(self.log_weights[i])
        self.log_prob[i] += logsumexp(self.log_weights[i]) - np.log(n)
        excess = 1 / worth - 1
        self.variances[i] += excess / n if excess > _LEAST_EXCESS else 0.0
        self.log_weights[i] = 0

    def _resample(self, i: int, start: float) -> None:
        shares = np.exp(self.log_weights[i] - logsumexp(self.log_weights[i]))
        self._count(i)
        n = len(shares)
        at = np.searchsorted(shares.cumsum(), (np.arange(n) + start) / n)
        self.rows[i] = self.rows[i, at.clip(max=n - 1)]
