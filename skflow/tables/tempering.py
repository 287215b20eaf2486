"""Particles that go from a density that can be drawn from to another one, in stages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from skflow.tables.column import Floats
from skflow.tables.noise import Noise, places, worths

__all__ = ["Evaluate", "temper"]

# Particles are worth so much of their number at each stage; and without one, or at the end, at
# least so much.
_WORTH = 0.5
_LEAST_WORTH = 0.2

# The stages there are at most, and the moves of each particle in a stage.
_MOST_STAGES = 16
_N_MOVES = 5

# By so many halvings the length of a stage is found.
_N_HALVINGS = 12

# The best length of a step along differences, which is divided by the root of twice the columns;
# the share of steps that are as long as the difference, to get from one peak to another; and how
# much shorter others may be, in logarithms.
_LENGTH = 2.38
_SHARE_OF_JUMPS = 0.1
_SHORTER = 2.0

Evaluate = Callable[[NDArray[np.intp], Floats], tuple[Floats, Floats]]
"""Takes which rows they are, and their particles; returns the log-densities of both."""


def temper(
    particles: Floats, evaluate: Evaluate, is_missing: NDArray[np.bool_], noise: Noise
) -> tuple[Floats, Floats, Floats]:
    r"""Bring particles of a first density to a second one.

    The particles go through :math:`q^{1 - t} p^t` with `t` from 0 to 1. At each stage `t` grows as
    far as the particles are worth half their number, they are drawn anew by their weights, and
    each takes some Metropolis steps along differences of others [1]_ [2]_. Rows whose particles
    are worth enough from the start have no stages.

    Parameters
    ----------
    particles : ndarray of shape (n_rows, n_particles, n_columns)
        Drawn from the first density of each row.
    evaluate : callable
        Returns the log-densities, the second of which needs no constant.
    is_missing : ndarray of shape (n_rows, n_columns), of bools
        The columns that move.
    noise : Noise
        Where the randomness comes from.

    Returns
    -------
    particles : ndarray of shape (n_rows, n_particles, n_columns)
        Where they come to.
    log_weights : ndarray of shape (n_rows, n_particles)
        Of which the mean, not of the logarithms, is the integral of the second density.
    variances : ndarray of shape (n_rows,)
        What the stages add to the variance of the logarithm of this mean, if copies of a particle
        have moved far enough to be independent. They have not quite: in a test of two narrow
        peaks the error is a third more than its square root.

    Notes
    -----
    Weighted particles have the second density, but for an error that vanishes as their number
    grows. Cost: one density for each particle, and five more for each stage, of which there are at
    most 16 and mostly 1 to 5.

    References
    ----------
    .. [1] Pierre Del Moral, Arnaud Doucet and Ajay Jasra, "Sequential Monte Carlo samplers",
       Journal of the Royal Statistical Society B 68, 2006.
    .. [2] Cajo J. F. ter Braak, "A Markov chain Monte Carlo version of the genetic algorithm
       differential evolution", Statistics and Computing 16, 2006.
    """
    n_rows, n_particles, n_columns = particles.shape
    base, target = evaluate(np.arange(n_rows), particles)
    particles = particles.copy()
    reached, log_factors, variances = np.zeros(n_rows), np.zeros(n_rows), np.zeros(n_rows)
    for stage in range(_MOST_STAGES):
        rest = (1 - reached)[:, None] * (target - base)
        at = np.flatnonzero((worths(rest) < _LEAST_WORTH) & np.isfinite(rest.max(1)))
        if not len(at):
            break
        noise.stage(stage)
        gains = (target - base)[at]
        steps = _steps(gains, 1 - reached[at], _MOST_STAGES - stage)
        log_weights = steps[:, None] * gains
        log_factors[at] += logsumexp(log_weights, axis=1) - np.log(n_particles)
        variances[at] += (1 / worths(log_weights) - 1) / n_particles
        reached[at] += steps
        starts = noise.uniform(n_rows, 1)[at, 0, 0]
        for i, own, start in zip(at, log_weights, starts, strict=True):
            chosen = places(own, n_particles, start)
            for kept in (particles, base, target):
                kept[i] = kept[i, chosen]
        moving = _Moving(particles[at], base[at], target[at], reached[at], is_missing[at])
        for _ in range(_N_MOVES):
            u = noise.uniform(n_rows, n_particles, 5 + n_columns)[at]
            moving.move(u, partial(evaluate, at))
        particles[at], base[at], target[at] = moving.particles, moving.base, moving.target
    rest = (1 - reached)[:, None] * (target - base)
    return particles, log_factors[:, None] + rest, variances


def _steps(gains: Floats, left: Floats, n_stages: int) -> Floats:
    """Return how far each row goes, so that its particles are worth enough afterwards."""
    short, long = left / n_stages, left.copy()
    for _ in range(_N_HALVINGS):
        middle = (short + long) / 2
        enough = worths(middle[:, None] * gains) >= _WORTH
        short, long = np.where(enough, middle, short), np.where(enough, long, middle)
    return short


class _Moving:
    """Particles that take Metropolis steps, one half along differences of the other."""

    def __init__(
        self,
        particles: Floats,
        base: Floats,
        target: Floats,
        reached: Floats,
        is_missing: NDArray[np.bool_],
    ) -> None:
        self.particles, self.base, self.target = particles, base, target
        self.reached = reached[:, None]
        self.is_missing = is_missing

    def move(self, u: Floats, evaluate: Callable[[Floats], tuple[Floats, Floats]]) -> None:
        """Let each particle take a step, as uniform numbers say."""
        # Copies of a particle stand side by side, so that both halves have their share of them.
        odd = np.arange(self.particles.shape[1]) % 2 == 1
        for own, others in ((odd, ~odd), (~odd, odd)):
            proposed = self._proposed(u[:, own], own, others)
            base, target = evaluate(proposed)
            before = self._log_density(self.base[:, own], self.target[:, own])
            with np.errstate(invalid="ignore"):
                gain = self._log_density(base, target) - before
            accepted = np.log(u[:, own, 0]) < gain  # what is not a number is not accepted
            for kept, new in (
                (self.particles, proposed),
                (self.base, base),
                (self.target, target),
            ):
                part = kept[:, own]
                part[accepted] = new[accepted]
                kept[:, own] = part

    def _log_density(self, base: Floats, target: Floats) -> Floats:
        return (1 - self.reached) * base + self.reached * target

    def _proposed(self, u: Floats, own: NDArray[np.bool_], others: NDArray[np.bool_]) -> Floats:
        """Return the particles, moved by differences of pairs of others."""
        pool = self.particles[:, others]
        rows = np.arange(len(pool))[:, None]
        first, second = (pool[rows, (u[:, :, k] * pool.shape[1]).astype(int)] for k in (1, 2))
        n_missing = self.is_missing.sum(1)[:, None]
        lengths = _LENGTH / np.sqrt(2 * n_missing) * np.exp(-_SHORTER * u[:, :, 3])
        bent = lengths[:, :, None] * (0.75 + 0.5 * u[:, :, 5:])
        jumps = u[:, :, 4] < _SHARE_OF_JUMPS
        scales = np.where(jumps[:, :, None], 1.0, bent)
        moved: Floats = self.particles[:, own] + scales * (first - second)
        return np.where(self.is_missing[:, None], moved, self.particles[:, own])
