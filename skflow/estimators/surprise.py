"""How surprising each entry of a row is, given the others, from log-densities of rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Along",
    "excess_surprise",
    "grid_of",
    "nodes_along",
    "numbers_in",
    "weighted_mean",
    "widths_of",
]

# Takes values of an entry, of shape (n_lines, n_values), and returns as many log-densities.
Along = Callable[[NDArray[np.float64]], NDArray[np.float64]]

# The values of a column at which conditional densities are looked at first: so many quantiles, and
# as many at equal distances. Each round then divides the two intervals beside the likeliest.
_N_QUANTILES = 17
_N_ROUNDS = 4
_N_BETWEEN = 4


def numbers_in(column: NDArray[Any]) -> NDArray[np.float64]:
    """Return the entries of a column as float64, and NaN for each that is not a number.

    Parameters
    ----------
    column : ndarray of shape (n_samples,)
        Of any type.
    """
    if column.dtype.kind in "biuf":
        return column.astype(np.float64)
    return np.array([_number(entry) for entry in column], dtype=np.float64)


def _number(entry: Any) -> float:
    if isinstance(entry, str | bytes | np.datetime64 | np.timedelta64):
        return np.nan
    try:
        return float(entry)
    except (TypeError, ValueError):
        return np.nan


def grid_of(columns: Iterable[NDArray[Any]]) -> NDArray[np.float64]:
    """Return sorted values between the extremes of each column.

    Parameters
    ----------
    columns : iterable of arrays of shape (n_samples,)
        Entries that are not finite numbers are left out.

    Returns
    -------
    grid : array of shape (n_features, n_nodes)
        NaN in the row of a column that has no finite number.
    """
    grid = []
    for column in columns:
        numbers = numbers_in(column)
        finite = numbers[np.isfinite(numbers)]
        if not len(finite):
            finite = np.array([np.nan])
        quantiles = np.quantile(finite, np.linspace(0, 1, _N_QUANTILES))
        between = np.linspace(quantiles[0], quantiles[-1], _N_QUANTILES + 1, endpoint=False)[1:]
        grid.append(np.sort(np.concatenate([quantiles, between])))
    return np.array(grid)


def excess_surprise(
    log_density: Callable[[NDArray[Any], NDArray[np.intp]], NDArray[np.float64]],
    X: NDArray[np.float64],
    grid: NDArray[np.float64],
    *,
    block_entries: int = 2**20,
) -> NDArray[np.float64]:
    r"""Return by how much each entry's conditional surprise exceeds what is expected of it.

    .. math::
        e_i = \mathbb{E}_{x_i' \sim p(\cdot | x_{-i})}[\log p(x_i', x_{-i})] - \log p(x)

    The expectation is over the range of the grid, by the trapezoidal rule. Where both terms are
    infinite, no value of the entry gives the row a density, and it is zero.

    Parameters
    ----------
    log_density : callable
        Takes rows and, for each of them, the index of the row of `X` that it was made from.
    X : array of shape (n_samples, n_features)
        Finite numbers.
    grid : array of shape (n_features, n_nodes)
        Sorted values of each column.
    block_entries : int, default=2**20
        How many numbers `log_density` is given at once, about.

    Returns
    -------
    excess : array of shape (n_samples, n_features)
        In nats. Cost: 67 log-densities for each entry, in blocks of bounded memory.
    """
    n_samples, n_features = X.shape
    of_rows = log_density(X, np.arange(n_samples))
    expected = np.empty(X.size)
    n_values = grid.shape[1] + 1
    size = max(1, block_entries // (n_values * n_features))
    for start in range(0, X.size, size):
        index, column = np.divmod(np.arange(start, min(start + size, X.size)), n_features)

        def along(
            values: NDArray[np.float64],
            index: NDArray[np.intp] = index,
            column: NDArray[np.intp] = column,
        ) -> NDArray[np.float64]:
            hybrids = np.repeat(X[index], values.shape[1], axis=0)
            hybrids[np.arange(len(hybrids)), np.repeat(column, values.shape[1])] = values.ravel()
            return log_density(hybrids, np.repeat(index, values.shape[1])).reshape(values.shape)

        expected[start : start + size] = _expected_log_density(
            along, grid[column], X[index, column]
        )
    with np.errstate(invalid="ignore"):
        excess = expected.reshape(X.shape) - of_rows[:, None]
    return np.where(np.isnan(excess), 0.0, excess)


def _expected_log_density(
    along: Along, grid: NDArray[np.float64], value: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Integrate over lines: `along` takes values, of shape (n_lines, n_values)."""
    nodes, log_p = nodes_along(along, grid, value)
    return weighted_mean(log_p, widths_of(nodes))


def nodes_along(
    along: Along, grid: NDArray[np.float64], value: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return values of an entry that close in on the likeliest, and their log-densities.

    Parameters
    ----------
    along : callable
        Takes values, of shape (n_lines, n_values), and returns as many log-densities.
    grid : array of shape (n_lines, n_nodes)
        Sorted values to begin with.
    value : array of shape (n_lines,)
        The entry of each line.

    Returns
    -------
    nodes : array of shape (n_lines, n_values)
        Sorted values between the ends of the grid.
    log_p : array of shape (n_lines, n_values)
        Their log-densities.
    """
    inside = np.clip(value, grid[:, 0], grid[:, -1])  # the peak of an ordinary entry is near
    nodes = np.column_stack([grid, inside])
    log_p = along(nodes)
    between = np.arange(1, _N_BETWEEN + 1) / (_N_BETWEEN + 1)
    for _ in range(_N_ROUNDS):
        peak = np.take_along_axis(nodes, log_p.argmax(axis=1, keepdims=True), axis=1)
        below = np.where(nodes < peak, nodes, grid[:, :1]).max(axis=1, keepdims=True)
        above = np.where(nodes > peak, nodes, grid[:, -1:]).min(axis=1, keepdims=True)
        new = np.hstack([peak + (end - peak) * between for end in (below, above)])
        nodes, log_p = np.hstack([nodes, new]), np.hstack([log_p, along(new)])
    order = nodes.argsort(axis=1)
    return np.take_along_axis(nodes, order, axis=1), np.take_along_axis(log_p, order, axis=1)


def widths_of(nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of the trapezoidal rule, times two.

    Parameters
    ----------
    nodes : array of shape (n_lines, n_values)
        Sorted.
    """
    gaps = np.diff(nodes, axis=1)
    widths = np.pad(gaps, ((0, 0), (0, 1))) + np.pad(gaps, ((0, 0), (1, 0)))
    widths[nodes[:, 0] == nodes[:, -1]] = 1.0  # a constant column has one value
    return widths


def weighted_mean(log_p: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of log-densities, by the densities themselves.

    Parameters
    ----------
    log_p : array of shape (n_lines, n_values)
        The log-densities.
    widths : array of shape (n_lines, n_values)
        For how much each of them stands.

    Returns
    -------
    mean : array of shape (n_lines,)
        Minus infinity if all densities are zero.
    """
    highest = log_p.max(axis=1)
    drop = log_p - np.maximum(highest, np.finfo(np.float64).min)[:, None]
    weights = widths * np.exp(drop)
    mean_drop = (weights * np.where(weights > 0, drop, 0.0)).sum(axis=1)
    return highest + mean_drop / np.where(highest > -np.inf, weights.sum(axis=1), 1.0)
