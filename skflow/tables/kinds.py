"""Which kind a column is, if nobody says so."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from skflow._sklearn.formats import Format
from skflow.tables.bounded import Bounded
from skflow.tables.categorical import Categorical
from skflow.tables.column import Column, Floats
from skflow.tables.continuous import Continuous
from skflow.tables.count import STEPS, Count
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

# Whole numbers that lie close together are heaps from such a share on, if they are so many times
# as frequent as their neighbours, of which so many are looked at on either side, with a row more,
# as few rows may be few by chance. The least of them is one from another share on as well, by its
# excess.
_LEAST_SHARE_OF_COUNT, _LEAST_SHARE_OF_LEAST = 0.05, 0.1
_LEAST_RATIO, _N_NEIGHBOURS = 3, 2


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
    if is_whole and len(levels) < len(known):
        return _count(levels, counts)
    least = max(_FEWEST_ROWS, _LEAST_SHARE * len(known), _LEAST_EXCESS * counts.mean())
    heaps = levels[counts >= least]
    if not len(heaps):
        return Continuous()
    return Inflated(at=heaps.tolist(), others=_between(np.setdiff1d(levels, heaps), heaps))


def _count(levels: Floats, counts: NDArray[np.intp]) -> Column:
    """Return the kind of whole numbers, some of which may be heaps."""
    heaps = levels[_are_heaps(levels, counts)] + 0.0  # no negative zero
    low = 0 if levels[0] >= 0 else None
    if len(heaps) in (0, len(levels)):
        return Count(low=low)
    others = np.setdiff1d(levels, heaps)
    if heaps[0] < others[0]:
        low = int(heaps[heaps < others[0]][-1]) + 1
    high = int(heaps[heaps > others[-1]][0]) - 1 if heaps[-1] > others[-1] else None
    return Inflated(at=heaps.tolist(), others=Count(low=low, high=high))


def _are_heaps(levels: Floats, counts: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Say which whole numbers are much more frequent than a smooth law could have them."""
    n, are_heaps = int(counts.sum()), np.zeros(len(levels), bool)
    for k in np.flatnonzero(counts >= _LEAST_SHARE_OF_COUNT * n):
        # Those beside it, also among what people round to: multiples of five, of ten and so on.
        steps = np.array([step for step in STEPS if levels[k] % step == 0])
        is_beside = np.isin(levels, levels[k] + np.r_[-steps, steps])
        is_beside[max(0, k - _N_NEIGHBOURS) : k + 1 + _N_NEIGHBOURS] = True
        is_beside[k] = False
        are_heaps[k] = counts[k] >= _LEAST_RATIO * (counts[is_beside].max() + 1)
    # The least of whole numbers is often the most frequent one.
    are_heaps[0] |= counts[0] >= max(_LEAST_SHARE_OF_LEAST * n, _LEAST_EXCESS * counts.mean())
    # Codes lie far from all others.
    gaps = np.diff(levels)
    are_heaps[0] |= gaps[0] > levels[-1] - levels[1]
    are_heaps[-1] |= gaps[-1] > levels[-2] - levels[0]
    return are_heaps & (counts >= max(_FEWEST_ROWS, _LEAST_SHARE * n))


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
