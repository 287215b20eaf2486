"""How surprising an entry is whose column has levels, heaps or numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from skflow.estimators.surprise import Along, grid_of, nodes_along, weighted_mean, widths_of

__all__ = ["Support", "column_surprise", "support_of_levels", "support_of_numbers"]

# Whole numbers and other numbers with a mass are summed up one by one if they are so few.
_MOST_LEVELS = 200

# Of more of them, those have a term of their own that are in such a share of the rows.
_LEAST_SHARE = 0.01

# How far beside a heap the density of other values is looked at, in shares of their range.
_BESIDE = 1e-9


class Support(NamedTuple):
    """What an expectation over the values of a column adds up."""

    levels: NDArray[np.float64]
    """Sorted values with a term each: those of a category, or heaps."""

    grid: NDArray[np.float64] | None
    """Sorted values to begin an integral over all others with, or None if there are no others."""

    seen: NDArray[np.float64] | None
    """Sorted others, if these have masses, as whole numbers do."""

    @property
    def is_a_line(self) -> bool:
        """Whether it is an integral alone."""
        return not len(self.levels) and self.seen is None

    @property
    def n_values(self) -> int:
        """How many log-densities are asked for at once, at most."""
        return max(len(self.levels), 0 if self.grid is None else len(self.grid) + 1)


def support_of_levels(n_levels: int) -> Support:
    """Return the support of a column of categories.

    Parameters
    ----------
    n_levels : int
        Their codes are 0 to n_levels - 1.
    """
    return Support(np.arange(float(n_levels)), None, None)


def support_of_numbers(
    levels: NDArray[np.float64], counts: NDArray[np.intp], has_mass: NDArray[np.bool_]
) -> Support:
    """Return the support of a column of numbers, of which some or all have masses.

    Parameters
    ----------
    levels : array of shape (n_levels,)
        Sorted values.
    counts : array of shape (n_levels,)
        In how many rows each of them is.
    has_mass : array of bool of shape (n_levels,)
        Which of them have a mass, and not a density.
    """
    is_level = has_mass
    if has_mass.all():
        if len(levels) <= _MOST_LEVELS:
            return Support(levels, None, None)
        is_level = counts >= _LEAST_SHARE * counts.sum()
    others = levels[~is_level]
    (grid,) = grid_of([np.repeat(others, counts[~is_level])])
    return Support(levels[is_level], grid, others if has_mass.all() else None)


def column_surprise(
    along: Along, log_p: NDArray[np.float64], entries: NDArray[np.float64], support: Support
) -> NDArray[np.float64]:
    r"""Return by how much the surprise of entries of a column exceeds what is expected.

    If the column has levels alone, or a line, it is
    :math:`\mathbb{E}[\log p(x_i', x_{-i})] - \log p(x)`, by a sum or an integral. If it has heaps
    and others, it is that of which heap the entry is on, if any, and for one that is on none also
    that of its value among the others. A mass and a density are never compared.

    Parameters
    ----------
    along : callable
        Takes values of the entries, of shape (n_rows, n_values), and returns the log-densities
        that the rows have with them.
    log_p : array of shape (n_rows,)
        The log-densities of the rows as they are.
    entries : array of shape (n_rows,)
        The entries, none of them missing.
    support : Support
        Of the column.

    Returns
    -------
    excess : array of shape (n_rows,)
        In nats. Zero if no value of the entry gives the row a density.
    """
    levels = np.tile(support.levels, (len(entries), 1))
    of_levels = along(levels) if levels.size else levels
    if support.grid is None:
        return _difference(weighted_mean(of_levels, np.ones_like(of_levels)), log_p)
    log_mass, mean = _others(along, entries, support)
    if not levels.size:
        return _difference(mean, log_p)
    log_masses = np.column_stack([of_levels, log_mass])
    # Of each class: a heap, or the others.
    usual = weighted_mean(log_masses, np.ones_like(log_masses))
    is_heap = np.isin(entries, support.levels)
    of_class = _difference(usual, np.where(is_heap, log_p, log_mass))
    among = np.where(is_heap, 0.0, _difference(mean, log_p))
    with np.errstate(invalid="ignore"):
        excess = of_class + among
    impossible = np.where(log_masses.max(1) > -np.inf, np.inf, 0.0)
    return np.where(log_p > -np.inf, np.where(np.isnan(excess), 0.0, excess), impossible)


def _others(
    along: Along, entries: NDArray[np.float64], support: Support
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the log-masses of all that is on no heap, and its mean log-density."""
    assert support.grid is not None
    grid = np.tile(support.grid, (len(entries), 1))
    if support.seen is None:
        beside = _BESIDE * (support.grid[-1] - support.grid[0])

        def density(nodes: NDArray[np.float64]) -> NDArray[np.float64]:
            return along(nodes + beside * np.isin(nodes, support.levels))

        unit = 1.0
    else:
        seen = support.seen
        middles = (seen[1:] + seen[:-1]) / 2

        def density(nodes: NDArray[np.float64]) -> NDArray[np.float64]:
            return along(seen[np.searchsorted(middles, nodes)])

        unit = float(np.diff(seen).min())
    nodes, log_p = nodes_along(density, grid, entries)
    widths = widths_of(nodes)
    with np.errstate(divide="ignore"):
        log_mass: NDArray[np.float64] = logsumexp(log_p + np.log(widths / (2 * unit)), axis=1)
    return log_mass, weighted_mean(log_p, widths)


def _difference(usual: NDArray[np.float64], log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a difference of log-densities, zero where both are infinite."""
    with np.errstate(invalid="ignore"):
        excess = usual - log_p
    return np.where(np.isnan(excess), 0.0, excess)
