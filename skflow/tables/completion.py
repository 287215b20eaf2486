"""A chain that fills the holes of the rows it was fitted to, and is fitted once more."""

from __future__ import annotations

import numpy as np
from sklearn.utils.parallel import Parallel, delayed

from skflow.tables.block import N_COMPLETIONS
from skflow.tables.chain import Announce, Chain
from skflow.tables.column import Floats
from skflow.tables.noise import Noise
from skflow.tables.particles import draw_completed

__all__ = ["fit_completed"]

# Particles of each row that its completions are drawn from: fewer of many rows.
_MOST_PARTICLES = 50
_LEAST_PARTICLES = 10
_ALL_PARTICLES = 500_000


def fit_completed(
    chain: Chain,
    values: Floats,
    weights: Floats | None,
    n_jobs: int | None = None,
    announce: Announce | None = None,
) -> Chain:
    """Fit a chain to rows with holes once more, completed by itself.

    In the first fit, continuous columns are completed without the others, and features that are
    missing are medians. Now the chain completes rows by all that is observed of them. This is a
    step of expectation maximisation, with draws for the expectation [1]_.

    Parameters
    ----------
    chain : Chain
        Fitted to the rows.
    values : ndarray of shape (n_samples, n_columns)
        NaN where an entry is missing.
    weights : ndarray of shape (n_samples,) or None
        How many rows each row counts for.
    n_jobs : int or None, default=None
        How many steps are learned at once.
    announce : callable or None, default=None
        Called as each step begins; see :meth:`Chain.announced`.

    Returns
    -------
    chain : Chain
        The same one.

    References
    ----------
    .. [1] Greg Wei and Martin Tanner, "A Monte Carlo implementation of the EM algorithm and the
       poor man's data augmentation algorithms", Journal of the American Statistical Association
       85, 1990.
    """
    if not np.isnan(values).any():
        return chain
    noise = Noise(np.random.RandomState(chain.settings.random_state))
    n_particles = min(max(_ALL_PARTICLES // len(values), _LEAST_PARTICLES), _MOST_PARTICLES)
    drawn = draw_completed(chain, values, n_particles, N_COMPLETIONS, noise)
    chain.steps = Parallel(n_jobs=n_jobs)(
        delayed(step.fit_anew)(values, drawn, weights)
        for step in chain.announced(announce, again=True)
    )
    return chain
