"""Which rows are held out, and which of them together: those of a group, and equal ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupKFold, check_cv

from skflow._sklearn.validation import columns, n_samples, row_groups

__all__ = [
    *("Splits", "equal_rows", "held_out_by", "paired_folds", "random_folds"),
    *("splits_as_given", "splits_of", "together"),
]

# The rows to fit and the rows to hold out, of each split.
Splits = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


def equal_rows(columns: Iterable[NDArray[Any]], n_rows: int) -> NDArray[np.intp]:
    """Give each row a number that it shares with the rows that equal it, and with no others.

    Parameters
    ----------
    columns : iterable of arrays of shape (n_rows,)
        Numbers, text or anything else. What is missing equals what is missing.
    n_rows : int
        The number of rows.

    Returns
    -------
    of_row : array of shape (n_rows,)
        Numbers from 0 on. Cost: a sort of each column, up to the one by which all rows differ.
    """
    of_row = None
    for column in columns:
        if column.dtype.kind == "O":  # of which some cannot be sorted
            column = np.array([repr(value) for value in column])
        values, of_value = np.unique(column, return_inverse=True)
        if of_row is not None:
            of_value = of_row * len(values) + of_value
        distinct, of_row = np.unique(of_value, return_inverse=True)
        if len(distinct) == n_rows:
            break
    return np.arange(n_rows) if of_row is None else of_row


def together(equal: NDArray[np.intp], groups: Any = None) -> NDArray[np.intp]:
    """Give each row a number that it shares with equal rows, and with those of its group.

    Parameters
    ----------
    equal : array of shape (n_rows,)
        As :func:`equal_rows` returns it.
    groups : array-like of shape (n_rows,) or None, default=None
        The group of each row.

    Returns
    -------
    of_row : array of shape (n_rows,)
        Two rows have the same number if a chain of equal rows and common groups links them.
    """
    if groups is None:
        return equal
    group = row_groups(groups, equal)
    n_equal = equal.max() + 1
    n_nodes = n_equal + group.max() + 1
    links = coo_matrix((np.ones(len(equal)), (equal, n_equal + group)), shape=(n_nodes, n_nodes))
    _, component = connected_components(links, directed=False)
    return component[equal].astype(np.intp)


def splits_as_given(cv: Any, X: Any, y: Any, params: dict[str, Any]) -> Splits:
    """Return the splits of a splitter or an iterable, if they are some of the rows.

    Parameters
    ----------
    cv : cross-validation splitter or iterable
        Taken at its word.
    X : array-like of shape (n_samples, n_features)
        The rows, of any kind.
    y : array-like of shape (n_samples,) or None
        For the splitter.
    params : dict
        Further ones for the splitter, such as `groups`.

    Returns
    -------
    splits : list of pairs of arrays
        The rows to fit and the rows to hold out.

    Raises
    ------
    ValueError
        If they are no pairs of numbers of rows, or if there are none.
    """
    numbers, splits = np.arange(n_samples(X)), []
    try:
        for split in check_cv(cv, y).split(X, y, **params):
            splits.append(_pair(split, numbers))
    except (IndexError, TypeError) as error:
        raise ValueError(
            "cv must give pairs of rows to fit and rows to hold out, by their numbers from 0 to "
            f"{len(numbers) - 1}, got {cv!r}: {error}."
        ) from error
    if not splits:
        raise ValueError(f"cv must give one split at least, got {cv!r}.")
    return splits


def _pair(split: Any, numbers: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    if len(split) != 2:
        raise IndexError(f"a split has {len(split)} parts")
    # An empty list is an array of floats.
    train, test = (np.asarray(part, np.intp if not len(part) else None) for part in split)
    return numbers[train], numbers[test]


def splits_of(
    cv: Any,
    X: Any,
    y: Any,
    params: dict[str, Any],
    random_state: np.random.RandomState,
    *,
    cut: Callable[[NDArray[np.intp], int, np.random.RandomState], Splits],
) -> Splits:
    """Return the splits that a parameter `cv` stands for.

    Parameters
    ----------
    cv : int, cross-validation splitter or iterable
        An int is a number of folds at random, in which equal rows, and those of a group, come
        together. Anything else is taken at its word.
    X : array-like of shape (n_samples, n_features)
        The rows, of any kind.
    y : array-like of shape (n_samples,) or None
        For the splitter.
    params : dict
        Further ones for the splitter, such as `groups`.
    random_state : RandomState
        Determines the folds.
    cut : callable
        :func:`random_folds` or :func:`paired_folds`.

    Returns
    -------
    splits : list of pairs of arrays
        The rows to fit and the rows to hold out.

    Raises
    ------
    ValueError
        If `cv` is an int, and fewer rows than that differ from each other.
    """
    if not isinstance(cv, Integral):
        return splits_as_given(cv, X, y, params)
    n_folds = int(cv)
    labels = together(equal_rows(columns(X), n_samples(X)), params.get("groups"))
    n_labels = len(np.unique(labels))
    if n_labels < n_folds:
        raise ValueError(
            f"cv={cv} asks for as many parts of rows that differ in value and in group, "
            f"and X has {n_labels} (n_samples={n_samples(X)}). Pass more rows, or a splitter, "
            "which may put equal rows into different parts."
        )
    return cut(labels, n_folds, random_state)


def random_folds(
    labels: NDArray[np.intp], n_folds: int, random_state: np.random.RandomState
) -> Splits:
    """Cut rows at random into folds of about the same size, and hold out one at a time.

    Parameters
    ----------
    labels : array of shape (n_rows,)
        Rows of the same label, from 0 on, come into the same fold.
    n_folds : int
        The number of folds, and of splits.
    random_state : RandomState
        Determines the folds.

    Returns
    -------
    splits : list of pairs of arrays
        The rows to fit and the rows to hold out. Each row is held out once.
    """
    shuffled = random_state.permutation(labels.max() + 1)[labels]  # no order among equal sizes
    return list(GroupKFold(n_folds).split(labels, groups=shuffled))


def paired_folds(
    labels: NDArray[np.intp], n_folds: int, random_state: np.random.RandomState
) -> Splits:
    """Cut rows as :func:`random_folds` does, and hold out two folds at a time.

    Parameters
    ----------
    labels : array of shape (n_rows,)
        Rows of the same label, from 0 on, come into the same fold.
    n_folds : int
        The number of folds, and of splits.
    random_state : RandomState
        Determines the folds.

    Returns
    -------
    splits : list of pairs of arrays
        The rows to fit and the rows to hold out. Each row is held out twice.
    """
    parts = [part for _, part in random_folds(labels, n_folds, random_state)]
    splits = []
    for k in range(n_folds):
        held_out = np.union1d(parts[k - 1], parts[k])
        splits.append((np.setdiff1d(np.arange(len(labels)), held_out), held_out))
    return splits


def held_out_by(splits: Splits, n_rows: int) -> NDArray[np.bool_]:
    """Say which rows are held out by which splits.

    Parameters
    ----------
    splits : list of pairs of arrays
        The rows to fit and the rows to hold out.
    n_rows : int
        The number of rows.

    Returns
    -------
    held_out : array of shape (n_rows, n_splits)
        True where they are.
    """
    held_out = np.zeros((n_rows, len(splits)), dtype=bool)
    for k, (_, test) in enumerate(splits):
        held_out[test, k] = True
    return held_out
