"""Where the randomness of particles comes from, and what their weights say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from skflow.tables.column import Floats

__all__ = ["Noise", "chosen", "places", "worths"]

_SMALLEST = 1e-12


class Noise:
    """Uniform numbers for the particles of rows.

    Parameters
    ----------
    random_state : RandomState or int
        Where they come from. With an int, the particles of all rows share their numbers, so that
        what a row gets does not depend on others; else rows are independent.
    """

    def __init__(self, random_state: np.random.RandomState | int) -> None:
        self._seed = None if isinstance(random_state, np.random.RandomState) else random_state
        self._state = random_state
        self._step = 0

    def begin(self, step: int) -> None:
        """Say that what is drawn next is for a step, of which each has its own numbers.

        Parameters
        ----------
        step : int
            Its number, from 0.
        """
        self._step = step
        if self._seed is not None:
            self._state = np.random.RandomState([self._seed, step])

    def stage(self, stage: int) -> None:
        """Say that what is drawn next is for a stage of the step, which not all rows have.

        Parameters
        ----------
        stage : int
            Its number, from 0.
        """
        if self._seed is not None:
            self._state = np.random.RandomState([self._seed, self._step, stage])

    def uniform(self, n_rows: int, n_particles: int, n_columns: int = 1) -> Floats:
        """Draw numbers between 0 and 1, both excluded.

        Parameters
        ----------
        n_rows : int
            The number of rows.
        n_particles : int
            The number of particles of each.
        n_columns : int, default=1
            How many numbers each particle needs.

        Returns
        -------
        u : ndarray of shape (n_rows, n_particles, n_columns)
            The numbers.
        """
        assert isinstance(self._state, np.random.RandomState)
        shape = (n_rows if self._seed is None else 1, n_particles, n_columns)
        u = self._state.uniform(_SMALLEST, 1 - _SMALLEST, size=shape)
        return np.broadcast_to(u, (n_rows, n_particles, n_columns))


def chosen(shares: Floats, u: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Choose one of several for each row, as a uniform number says.

    Parameters
    ----------
    shares : ndarray of shape (n_rows, n_choices)
        Of each row, with a sum of one.
    u : ndarray of shape (n_rows,)
        Between 0 and 1, both excluded.

    Returns
    -------
    which : ndarray of shape (n_rows,)
        The choices.
    rest : ndarray of shape (n_rows,)
        What is left of the numbers: uniform between 0 and 1 given the choice.
    """
    below, rows = shares.cumsum(1), np.arange(len(u))
    which: NDArray[np.intp] = np.minimum((u[:, None] >= below).sum(1), shares.shape[1] - 1)
    own = shares[rows, which]
    rest = (u - below[rows, which] + own) / own
    return which, rest.clip(_SMALLEST, 1 - _SMALLEST)


def worths(log_weights: Floats) -> Floats:
    """Return how many equal weights say as much as those of each row, as a share of all.

    Parameters
    ----------
    log_weights : ndarray of shape (n_rows, n_particles)
        Of the particles of each row.

    Returns
    -------
    worths : ndarray of shape (n_rows,)
        Between 0 and 1; 1 where no particle is possible.
    """
    is_possible = np.isfinite(log_weights.max(1))
    known = np.where(is_possible[:, None], log_weights, 0.0)
    found: Floats = 2 * logsumexp(known, axis=1) - logsumexp(2 * known, axis=1)
    return np.exp(found) / log_weights.shape[1]


def places(log_weights: Floats, n_samples: int, start: float) -> NDArray[np.intp]:
    """Return which particles are drawn, as often as their weights say: systematically.

    Parameters
    ----------
    log_weights : ndarray of shape (n_particles,)
        If none of them is possible, all are as good.
    n_samples : int
        How many are drawn.
    start : float
        A uniform number.

    Returns
    -------
    places : ndarray of shape (n_samples,)
        In their order.
    """
    is_possible = np.isfinite(log_weights.max())
    shares = np.exp(log_weights - log_weights.max()) if is_possible else np.ones(len(log_weights))
    at = (np.arange(n_samples) + start) / n_samples
    found: NDArray[np.intp] = np.searchsorted((shares / shares.sum()).cumsum(), at)
    return found.clip(max=len(shares) - 1)
