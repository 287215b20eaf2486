"""Where the randomness of particles comes from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skflow.tables.column import Floats

__all__ = ["Noise", "chosen"]

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

    def begin(self, step: int) -> None:
        """Say that what is drawn next is for a step, of which each has its own numbers.

        Parameters
        ----------
        step : int
            Its number, from 0.
        """
        if self._seed is not None:
            self._state = np.random.RandomState([self._seed, step])

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
