"""Rows that differ in one feature alone, and are typical in all others."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from skflow._sklearn.validation import _get_feature_names, columns, float_columns, plain_array
from skflow.inspection.features import centres

__all__ = ["profile"]

# Of the range of the feature, on both sides.
_MARGIN = 0.02


def profile(
    X: Any, column: int, n_values: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], Any]:
    """Return rows that span one feature and have a typical value of each other.

    That is the median, or of what are no numbers the most frequent value. Missing numbers are left
    out of both.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows.
    column : int
        The feature that they span.
    n_values : int
        How many values of it.

    Returns
    -------
    of_rows : ndarray of shape (n_samples,)
        The feature in `X`.
    values : ndarray of shape (n_values,)
        The feature in the new rows.
    rows : array-like of shape (n_values, n_features)
        A frame of the kind of `X` if it is one, else an array.

    Raises
    ------
    ValueError
        If the feature is none of numbers, or missing in all rows.
    """
    names = _get_feature_names(X)
    if names is None:
        checked = check_array(
            plain_array(X), dtype=np.float64, ensure_all_finite="allow-nan", input_name="X"
        )
        numbers: list[NDArray[np.float64] | None] = list(checked.T)
    else:
        numbers = list(float_columns(X))
    of_rows = numbers[column]
    if of_rows is None:
        raise ValueError(f"feature must be a column of numbers, which {names[column]!r} is not.")
    finite = of_rows[np.isfinite(of_rows)]
    if not len(finite):
        raise ValueError(f"feature must be a column with numbers, but column {column} has none.")
    values = centres(finite, n_values, _MARGIN)
    typical = [np.full(n_values, np.nan if each is None else _median(each)) for each in numbers]
    typical[column] = values
    if names is None:
        return of_rows, values, np.column_stack(typical)
    return of_rows, values, _frame(X, names, typical, [each is None for each in numbers])


def _median(values: NDArray[np.float64]) -> float:
    present = values[~np.isnan(values)]
    return float(np.median(present)) if len(present) else np.nan


def _frame(X: Any, names: Any, typical: list[NDArray[np.float64]], is_category: list[bool]) -> Any:
    """Return a frame of the kind of `X` from its columns, those of categories filled in."""
    content: dict[str, Any] = dict(zip(names, typical, strict=True))
    kinds = {}
    for name, values, category in zip(names, columns(X), is_category, strict=True):
        if category:
            most_frequent = Counter(values.tolist()).most_common(1)[0][0]
            content[name] = [most_frequent] * len(typical[0])
            kinds[name] = getattr(X[name], "dtype", None)
    frame = getattr(type(X), "from_pydict", type(X))(content)  # the former for pyarrow's tables
    if not kinds or not hasattr(X, "dtypes"):
        return frame
    return frame.astype(kinds) if hasattr(frame, "astype") else frame.cast(kinds)
