"""What may stand in the place of each entry of a table, and how surprising the entry is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from skflow._sklearn.formats import Layout
from skflow._sklearn.validation import (
    as_numpy,
    columns,
    in_kind_of,
    is_frame,
    take_columns,
    take_rows,
)
from skflow.estimators.supports import (
    Support,
    column_surprise,
    support_of_levels,
    support_of_numbers,
)
from skflow.estimators.surprise import excess_surprise, grid_of, numbers_in

__all__ = ["Entries"]

Floats = NDArray[np.float64]

# Returns the log-densities of rows. Each was made from a row of `X`, whose index it takes as well.
LogDensity = Callable[[Any, NDArray[np.intp]], Floats]

# How many entries are scored at once, about.
_BLOCK_ENTRIES = 2**20


class Entries:
    """What stands in each column of a table, and may stand there.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows, of any kind.
    estimators : sequence of estimators
        Fitted to such rows. They may have ``has_mass``, which says of each entry of rows whether
        it has a mass, and not a density.
    """

    def __init__(self, X: Any, estimators: Sequence[Any]) -> None:
        self._layout = _layout(X)
        best = [getattr(each, "best_estimator_", each) for each in estimators]  # of searches
        tellers = [each for each in best if hasattr(each, "has_mass")]
        rows = _Rows(X, self._layout)
        self._supports = [
            _support(rows, j, grid, tellers) for j, grid in enumerate(grid_of(columns(X)))
        ]

    def excess_surprise(
        self, log_density: LogDensity, X: Any, label: Callable[[int], str]
    ) -> Floats:
        """Return by how much each entry's conditional surprise exceeds what is expected of it.

        Parameters
        ----------
        log_density : callable
            Takes rows and, for each of them, the index of the row of `X` that it was made from.
        X : array-like of shape (n_samples, n_features)
            Rows like those that there were.
        label : callable
            Names a column by its position.

        Returns
        -------
        excess : array of shape (n_samples, n_features)
            In nats. Zero where an entry is missing.
        """
        rows = _Rows(X, self._layout)
        lines = [s.grid for s in self._supports if s is not None and s.is_a_line]
        if np.isfinite(rows.numbers).all() and len(lines) == rows.numbers.shape[1]:
            return excess_surprise(
                lambda hybrids, of_row: log_density(in_kind_of(X, hybrids), of_row),
                rows.numbers,
                np.array(lines),
            )
        return self._by_columns(log_density, rows, self._read(rows, label))

    def _read(self, rows: _Rows, label: Callable[[int], str]) -> Floats:
        """Return entries as numbers, or say which columns have what cannot be told apart."""
        entries = np.stack([rows.entries(j, label(j)) for j in range(len(self._supports))], 1)
        unknown = np.array([support is None for support in self._supports])
        has_some = ~np.isnan(entries).all(0) | (self._layout is None)
        lacking = np.isinf(entries).any(0) | (unknown & has_some)
        if lacking.any():
            where = ", ".join(label(int(j)) for j in np.flatnonzero(lacking))
            raise ValueError(
                "explain takes finite numbers, categories, dates and holes, and there are "
                f"infinities, or entries that are none of these, in {where}."
            )
        return entries

    def _by_columns(self, log_density: LogDensity, rows: _Rows, entries: Floats) -> Floats:
        excess = np.zeros(entries.shape)
        of_rows = log_density(rows.X, np.arange(len(entries)))
        for j, support in enumerate(self._supports):
            known = np.flatnonzero(~np.isnan(entries[:, j]))
            if support is None or not len(known):
                continue
            size = max(1, _BLOCK_ENTRIES // (support.n_values * entries.shape[1]))
            for start in range(0, len(known), size):
                part = known[start : start + size]

                def along(values: Floats, part: NDArray[np.intp] = part, j: int = j) -> Floats:
                    of_row = np.repeat(part, values.shape[1])
                    hybrids = rows.replaced(of_row, j, values.ravel())
                    return log_density(hybrids, of_row).reshape(values.shape)

                excess[part, j] = column_surprise(along, of_rows[part], entries[part, j], support)
        return excess


class _Rows:
    """Rows of a table, of which entries may be replaced."""

    def __init__(self, X: Any, layout: Layout | None) -> None:
        self.X = X if layout is None or is_frame(X) else as_numpy(X)
        self.layout = layout
        self.numbers = np.column_stack([numbers_in(column) for column in columns(X)])

    def entries(self, j: int, name: str) -> Floats:
        """Return a column as numbers, NaN where an entry is missing."""
        if self.layout is None:
            return self.numbers[:, j]
        return self.layout.formats[j].read(take_columns(self.X, j), name)

    def replaced(self, which: NDArray[np.intp], j: int, values: Floats) -> Any:
        """Return some rows with other entries in one column."""
        if self.layout is None:
            hybrids = self.numbers[which]
            hybrids[:, j] = values
            return in_kind_of(self.X, hybrids)
        return self.layout.replaced(take_rows(self.X, which), j, values)


def _layout(X: Any) -> Layout | None:
    """Return how the columns of a frame or of objects are written, or None if X has numbers."""
    if not is_frame(X):
        if issparse(X):
            return None
        X = as_numpy(X)
        if X.dtype.kind in "biuf":
            return None
    try:
        layout = Layout(X)
    except (TypeError, ValueError):  # entries that are of no kind
        return None
    return layout if layout.library or not is_frame(X) else None


def _support(rows: _Rows, j: int, grid: Floats, tellers: Sequence[Any]) -> Support | None:
    """Return the support of a column, or None if nothing is known of it."""
    form = None if rows.layout is None else rows.layout.formats[j]
    if form is not None and form.is_category:
        return support_of_levels(len(form.levels)) if len(form.levels) else None
    entries = rows.entries(j, "") if form is not None and form.date_kind else rows.numbers[:, j]
    levels, counts = np.unique(entries[np.isfinite(entries)], return_counts=True)
    if not len(levels):
        return None
    if np.isnan(grid[0]):  # of dates
        (grid,) = grid_of([entries])
    if tellers:
        candidates = rows.replaced(np.zeros(len(levels), np.intp), j, levels)
        has_mass = np.any([each.has_mass(candidates)[:, j] for each in tellers], axis=0)
        if has_mass.any():
            return support_of_numbers(levels, counts, has_mass)
    return Support(np.empty(0), grid, None)
