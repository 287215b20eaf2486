"""Which kind a column is, if nobody says so."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from skflow._sklearn.formats import Format
from skflow.tables.bounded import Bounded
from skflow.tables.categorical import Categorical
from skflow.tables.column import Column, Floats
from skflow.tables.continuous import Continuous
from skflow.tables.count import Count
from skflow.tables.inflated import Inflated

__all__ = ["KINDS", "kind_of"]

KINDS: dict[str, type[Column]] = {
    "categorical": Categorical,
    "count": Count,
    "continuous": Continuous,
}

# Numbers are codes if there are so few of them, each in so many rows on average.
_MOST_CODES, _ROWS_OF_CODE = 12, 10

# A value is a heap if it is in such a share of the rows, in so many of them, and so many times as
# frequent as values are in the mean.
_LEAST_SHARE, _FEWEST_ROWS, _LEAST_EXCESS = 0.01, 10, 10

# The least of whole numbers that lie close together is a heap from such a share on.
_LEAST_SHARE_OF_COUNT = 0.1


def kind_of(values: Floats, form: Format) -> Column:
    """Return the kind of a column.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        The column as numbers, NaN where it is missing.
    form : Format
        How it is written.
    """
    known = values[~np.isnan(values)]
    levels, counts = np.unique(known, return_counts=True)
    is_code = len(levels) <= min(_MOST_CODES, max(1, len(known) // _ROWS_OF_CODE))
    if form.is_category or is_code or len(levels) <= 2:
        return Categorical()
    is_whole = bool((known == np.round(known)).all()) and not form.date_kind
    enough = max(_FEWEST_ROWS, _LEAST_SHARE * len(known))
    least = max(enough, _LEAST_EXCESS * counts.mean())
    if is_whole and len(levels) < len(known):
        low = int(levels[0])
        is_far = levels[1] - levels[0] > levels[-1] - levels[1]
        if counts[0] >= (enough if is_far else max(least, _LEAST_SHARE_OF_COUNT * len(known))):
            return Inflated(at=low, others=Count(low=low + 1))
        return Count(low=0 if low >= 0 else None)
    heaps = levels[counts >= least]
    if not len(heaps):
        return Continuous()
    return Inflated(at=heaps.tolist(), others=_between(np.setdiff1d(levels, heaps), heaps))


def _between(others: Floats, heaps: Floats) -> Column | None:
    """Return a kind that keeps values on their side of a heap, if all are on one side of it."""
    if not len(others):
        return None
    below, above = heaps[heaps < others[0]], heaps[heaps > others[-1]]
    low = float(below[-1]) if len(below) else -np.inf
    high = float(above[0]) if len(above) else np.inf
    return Bounded(low, high) if np.isfinite([low, high]).any() else None


def declared(columns: Any, names: list[Any]) -> dict[int, Column]:
    """Return the kinds that were declared, by the numbers of their columns.

    Parameters
    ----------
    columns : dict or None
        By the names of columns.
    names : list
        All names.
    """
    found: dict[int, Column] = {}
    for name, kind in ({} if columns is None else columns).items():
        if name not in names:
            raise ValueError(f"columns declares {name!r}, but the columns of X are {names}.")
        if isinstance(kind, str) and kind in KINDS:
            found[names.index(name)] = KINDS[kind]()
        elif isinstance(kind, Column):
            found[names.index(name)] = clone(kind)
        else:
            raise ValueError(
                f"columns[{name!r}] must be one of {sorted(KINDS)} or a kind of skflow.tables, "
                f"such as Bounded(0, 1), got {kind!r}."
            )
    return found
