"""Rows of any kind as numbers that trees can split: categories as codes, holes as NaN."""

from __future__ import annotations

from collections import Counter
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skflow._sklearn.features import numbers
from skflow._sklearn.readable import readable
from skflow._sklearn.validation import (
    are_numeric,
    check_columns,
    column_label,
    is_frame,
    is_missing,
    n_samples,
    take_columns,
)

__all__ = ["CategoryCoder"]

# HistGradientBoosting tells 255 codes apart: one is for all rare levels, and one for holes.
_MISSING = 254.0
_MOST_LEVELS = 253


class CategoryCoder(BaseEstimator):
    """Turn the columns of frames into numbers, with a code for each level of a category.

    Columns of numbers stay as they are, and dates become numbers of seconds. Strings, categories
    and all else are levels, told apart by how they are written: codes are in their order, and the
    rarest levels share the last one if there are more than 253. Levels that were not there in
    `fit` become NaN, like what is missing.
    """

    def fit(self, *samples: Any) -> Self:
        """Learn the levels of all samples together.

        Parameters
        ----------
        *samples : array-likes of shape (n_samples, n_features)
            Arrays of numbers, or frames, of the same columns.
        """
        kinds = []
        for k, X in enumerate(map(readable, samples)):
            if is_frame(X):
                check_columns(self, X, fitting=k == 0)
                kinds.append(_kinds(X))
            else:
                kinds.append(["number"] * numbers(self, X, fitting=k == 0).shape[1])
        self.levels_: list[dict[str | None, float] | None] = []
        for j, of_samples in enumerate(zip(*kinds, strict=True)):
            if len(set(of_samples)) > 1:
                raise ValueError(
                    f"X and Y must have columns of the same kinds, but {column_label(self, j)} "
                    f"holds a {of_samples[0]} in X and a {of_samples[1]} in Y."
                )
            is_category = of_samples[0] == "category"
            self.levels_.append(_levels(samples, j) if is_category else None)
        self.is_category_ = np.array([levels is not None for levels in self.levels_])
        rows = np.concatenate([self.transform(X) for X in samples])
        self.fill_ = np.where(self.is_category_, _MISSING, [_beyond(column) for column in rows.T])
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return rows of numbers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With the columns that were there in `fit`.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_features)
            In float64, with NaN where an entry is missing.
        """
        if not is_frame(X):
            return numbers(self, X)
        check_columns(self, X)
        codes = np.empty((n_samples(X), X.shape[1]))
        for j, levels in enumerate(self.levels_):
            codes[:, j] = (
                _floats(X, j, column_label(self, j))
                if levels is None
                else [levels.get(level, np.nan) for level in _written(X, j)]
            )
        if np.isinf(codes).any():
            raise ValueError(
                "Columns must not hold infinities: leave them out, or mark them missing."
            )
        return codes

    def filled(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what `transform` gives with values of their own in place of NaN.

        Trees of scikit-learn take NaN, but no column that has nothing else, as there may be
        among some of the rows.

        Parameters
        ----------
        codes : ndarray of shape (n_samples, n_features)
            What `transform` has returned.
        """
        return np.where(np.isnan(codes), self.fill_, codes)


def _beyond(column: NDArray[np.float64]) -> float:
    """Return a number that is far above all others in a column."""
    numbers = column[~np.isnan(column)]
    if not len(numbers):
        return 0.0
    with np.errstate(over="ignore"):
        return float(min(11 * numbers.max() - 10 * numbers.min() + 1, np.finfo(np.float64).max))


def _kinds(X: Any) -> list[str]:
    """Return what each column of a frame holds."""
    kinds = []
    for j, is_number in enumerate(are_numeric(X)):
        is_date = not is_number and np.asarray(take_columns(X, j)).dtype.kind in "mM"
        kinds.append("number" if is_number else "date" if is_date else "category")
    return kinds


def _floats(X: Any, j: int, label: str) -> NDArray[np.float64]:
    values = np.asarray(take_columns(X, j))
    if values.dtype.kind in "mM":
        seconds = values.astype(f"{values.dtype.kind}8[s]").astype(np.float64)
        return np.where(np.isnat(values), np.nan, seconds)
    if values.dtype.kind == "O":
        values = np.array([np.nan if is_missing(value) else value for value in values], object)
    if values.dtype.kind != "c" and values.ndim == 1:
        try:
            return values.astype(np.float64)
        except (TypeError, ValueError):  # strings, and objects that are no numbers
            pass
    raise ValueError(f"X has entries in {label} that are no numbers, where fit had numbers alone.")


def _written(X: Any, j: int) -> list[str | None]:
    """Return how each entry of a column is written, and None for each that is missing."""
    return [
        None if is_missing(entry) else str(entry)
        for entry in np.asarray(take_columns(X, j), object)
    ]


def _levels(samples: tuple[Any, ...], j: int) -> dict[str | None, float]:
    """Return the code of each level, in which None, what is missing, has none."""
    counts = Counter(level for X in samples for level in _written(X, j) if level is not None)
    common = sorted(level for level, _ in counts.most_common(_MOST_LEVELS))
    codes: dict[str | None, float] = dict.fromkeys(counts, float(len(common)))
    codes.update((level, float(code)) for code, level in enumerate(common))
    return codes
