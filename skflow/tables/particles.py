"""Rows with holes, completed by particles that walk from column to column."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from skflow.tables.chain import Chain
from skflow.tables.column import Floats

__all__ = ["Completed", "complete"]

# Particles are drawn anew where they are worth less than such a share of their number.
_LEAST_WORTH = 0.5

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

    def drawn(self, n_samples: int, random_state: np.random.RandomState) -> Floats:
        """Return particles of equal weight.

        Parameters
        ----------
        n_samples : int
            How many of each row.
        random_state : RandomState
            Where the randomness comes from.

        Returns
        -------
        rows : ndarray of shape (n_rows, n_samples, n_columns)
            In random order.
        """
        n_particles = self.log_weights.shape[1]
        found = np.empty((len(self.rows), n_samples, self.rows.shape[2]))
        for i, log_weights in enumerate(self.log_weights):
            highest = log_weights.max()
            shares = (
                np.exp(log_weights - highest) if np.isfinite(highest) else np.ones(n_particles)
            )
            places = (random_state.permutation(n_samples) + random_state.uniform()) / n_samples
            at = np.searchsorted((shares / shares.sum()).cumsum(), places)
            found[i] = self.rows[i, at.clip(max=n_particles - 1)]
        return found


def complete(
    chain: Chain,
    values: Floats,
    n_particles: int,
    random_state: np.random.RandomState,
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
    random_state : RandomState
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
        _walk(chain, values[i : i + length], n_particles, random_state, to_the_end)
        for i in range(0, len(values), length)
    ]
    return Completed(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _walk(
    chain: Chain,
    values: Floats,
    n_particles: int,
    random_state: np.random.RandomState,
    to_the_end: bool,
) -> Completed:
    cloud = _Cloud(np.repeat(values[:, None], n_particles, axis=1), random_state)
    observed = ~np.isnan(values)
    for k, step in enumerate(chain.steps):
        later = [j for other in chain.steps[k:] for j in other.own]
        at = np.flatnonzero(observed[:, later].any(1) | to_the_end)
        if len(at):
            completed, log_weights = step.extend(cloud.rows[at], values[at], random_state)
            cloud.rows[at] = completed
            cloud.weigh(at, log_weights)
    return cloud.counted()


class _Cloud:
    """Weighted particles of each of several rows."""

    def __init__(self, rows: Floats, random_state: np.random.RandomState) -> None:
        self.rows = rows
        self.random_state = random_state
        self.log_weights = np.zeros(rows.shape[:2])
        self.log_prob = np.zeros(len(rows))
        self.variances = np.zeros(len(rows))

    def weigh(self, at: np.ndarray, log_weights: Floats) -> None:
        """Count weights of some rows' particles, and draw those anew of which few count."""
        self.log_weights[at] += log_weights
        for i in at:
            if self._worth(i) < _LEAST_WORTH:
                self._resample(i)

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
        self.variances[i] += max(1 / worth - 1, 0.0) / n
        self.log_weights[i] = 0

    def _resample(self, i: int) -> None:
        shares = np.exp(self.log_weights[i] - logsumexp(self.log_weights[i]))
        self._count(i)
        n = len(shares)
        at = np.searchsorted(shares.cumsum(), (np.arange(n) + self.random_state.uniform()) / n)
        self.rows[i] = self.rows[i, at.clip(max=n - 1)]
