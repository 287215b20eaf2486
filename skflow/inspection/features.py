"""The columns that a display shows: which they are, their names, and where they lie."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from skflow._sklearn.validation import _get_feature_names, plain_array

__all__ = [
    "centres",
    "check_same_columns",
    "chosen_columns",
    "feature_names",
    "like_frame",
    "limits",
    "numbers",
]


def numbers(X: Any) -> NDArray[Any]:
    """Return rows as an array of float32 or float64, checked.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows.
    """
    X = plain_array(X)
    checked: NDArray[Any] = check_array(X, dtype=[np.float64, np.float32], input_name="X")
    return checked


def feature_names(X: Any, estimator: Any) -> list[str]:
    """Return the names of the columns: those of a frame, of the estimator, or x0, x1, ...

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows.
    estimator : estimator
        The one that is drawn.
    """
    names = _get_feature_names(X)
    if names is None:
        n_features = np.shape(X)[1]
        names = getattr(estimator, "feature_names_in_", [])
        if len(names) != n_features:
            names = [f"x{i}" for i in range(n_features)]
    return list(names)


def like_frame(X: Any, rows: NDArray[Any]) -> Any:
    """Return rows as a frame of the kind of `X` with its names; as they are if it has none.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows.
    rows : ndarray of shape (n_samples, n_features)
        The rows.
    """
    names = _get_feature_names(X)
    if names is None:
        return rows
    make = getattr(type(X), "from_pydict", type(X))  # the former for pyarrow's tables
    return make(dict(zip(names, rows.T, strict=True)))


def chosen_columns(features: Any, names: list[str], parameter: str = "features") -> list[int]:
    """Return the positions of the columns that `features` has by position or by name.

    Parameters
    ----------
    features : list of int or str, or None
        The columns that are asked for.
    names : list of str
        The names of all columns.
    parameter : str, default="features"
        What errors call the columns that are asked for.

    Raises
    ------
    ValueError
        If one is not there, or there twice.
    """
    if isinstance(features, str) or not isinstance(features, Iterable):
        raise ValueError(
            f"features must be a sequence of positions or names of columns, got {features!r}."
        )
    columns = [_position(feature, names, parameter) for feature in features]
    if not columns or len(set(columns)) < len(columns):
        raise ValueError(f"features must be different columns, got {features!r}.")
    return columns


def check_same_columns(X: NDArray[Any], samples: NDArray[Any]) -> None:
    """Raise an error if the samples of an estimator are none of rows like those of `X`.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows.
    samples : ndarray of shape (n_samples, n_features)
        What has been sampled.
    """
    if samples.ndim != 2:
        raise ValueError(
            f"The method sample of the estimator must give rows, got an array of shape "
            f"{samples.shape}."
        )
    if samples.shape[1] != X.shape[1]:
        raise ValueError(
            f"X has {X.shape[1]} columns, but the samples of the estimator have "
            f"{samples.shape[1]}."
        )


def limits(values: NDArray[Any], margin: float = 0.1) -> tuple[float, float]:
    """Return the range of some numbers, made wider by a share of it at both ends.

    Parameters
    ----------
    values : ndarray
        The values.
    margin : float
        The share of their range that is added on both sides.
    """
    low, high = float(values.min()), float(values.max())
    extra = margin * (high - low) if high > low else 0.5
    return low - extra, high + extra


def centres(values: NDArray[Any], n_cells: int, margin: float = 0.1) -> NDArray[np.float64]:
    """Return the centres of equal cells over the range of some numbers.

    Parameters
    ----------
    values : ndarray
        The values.
    n_cells : int
        The number of cells.
    margin : float
        The share of their range that is added on both sides.
    """
    low, high = limits(values, margin)
    return low + (high - low) * (np.arange(n_cells) + 0.5) / n_cells


def _position(feature: Any, names: list[str], parameter: str) -> int:
    if isinstance(feature, str) and feature in names:
        return names.index(feature)
    if isinstance(feature, Integral) and 0 <= int(feature) < len(names):
        return int(feature)
    raise ValueError(
        f"{parameter} has {feature!r}, but X has the columns 0 to {len(names) - 1}, named "
        f"{names[0]!r} to {names[-1]!r}."
    )
