"""Columns of frames and arrays as numbers, and back."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skflow._sklearn.validation import refuse_but_two_dimensions
from skflow.tables.column import Floats

__all__ = ["Format", "Layout"]


class Format:
    """How one column is written.

    Parameters
    ----------
    column : Series or ndarray of shape (n_samples,)
        The column.
    """

    def __init__(self, column: Any) -> None:
        entries, is_missing = _entries(column)
        self.dtype = column.dtype
        self.is_date = entries.dtype.kind in "Mm"
        self.is_category = entries.dtype.kind not in "fiuMm"
        self.is_bool = False
        if not self.is_category:
            return
        known = entries[~is_missing]
        try:
            self.levels = np.unique(known)
        except TypeError:  # of several types
            by_name = {str(level): level for level in known}
            self.levels = np.array([by_name[name] for name in sorted(by_name)], dtype=object)
        self.is_bool = all(isinstance(level, bool | np.bool_) for level in self.levels)
        self._codes = {level: code for code, level in enumerate(self.levels)}

    def read(self, column: Any, name: str) -> Floats:
        """Return a column as numbers: NaN where it is missing, and -1 for unknown categories.

        Parameters
        ----------
        column : Series or ndarray of shape (n_samples,)
            The column.
        name : str
            What it is called.
        """
        entries, is_missing = _entries(column)
        if self.is_category:
            values = np.array([float(self._codes.get(entry, -1)) for entry in entries])
        elif entries.dtype.kind not in "fiuMm":
            try:
                values = np.array(
                    [
                        np.nan if gone else float(entry)
                        for entry, gone in zip(entries, is_missing, strict=True)
                    ]
                )
            except (TypeError, ValueError):
                raise ValueError(
                    f"Column {name} held numbers in fit, but now has entries that are none."
                ) from None
        elif self.is_date:
            values = (
                entries.astype(
                    "datetime64[us]" if entries.dtype.kind == "M" else "timedelta64[us]"
                )
                .astype(np.int64)
                .astype(np.float64)
            )
        else:
            values = entries.astype(np.float64)
        values[is_missing] = np.nan
        if np.isinf(values).any():
            raise ValueError(f"Column {name} contains infinity.")
        return values

    def write(self, values: Floats) -> list[Any]:
        """Return numbers as entries of the column, None where they are NaN.

        Parameters
        ----------
        values : ndarray of shape (n_samples,)
            As :meth:`read` returns them.
        """
        if self.is_category:
            return [None if v != v else self.levels[int(v)] for v in values]
        if self.is_date:
            return [None if v != v else np.datetime64(int(v), "us") for v in values]
        kind = getattr(self.dtype, "kind", "")
        if kind in ("i", "u") or str(self.dtype).startswith(("Int", "UInt")):
            return [None if v != v else round(float(v)) for v in values]
        return [None if v != v else float(v) for v in values]


class Layout:
    """The columns of a frame or of an array: their names and formats.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_samples, n_features)
        The table that all others must look like.
    """

    def __init__(self, X: Any) -> None:
        refuse_but_two_dimensions(X)
        self.library = _library(X)
        self.dtype = getattr(X, "dtype", None)
        self.names: list[Any] = list(X.columns) if self.library else list(range(np.shape(X)[1]))
        self.formats = [Format(_column(X, j)) for j in range(len(self.names))]

    def read(self, X: Any) -> Floats:
        """Return a table as numbers.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            With the columns that there were.

        Returns
        -------
        values : ndarray of shape (n_samples, n_features)
            NaN where an entry is missing.
        """
        columns = [
            form.read(_column(X, j), repr(name))
            for j, (name, form) in enumerate(zip(self.names, self.formats, strict=True))
        ]
        return np.stack(columns, 1)

    def write(self, values: Floats, which: Sequence[int] | None = None) -> Any:
        """Return numbers as a table like the one that there was.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_columns)
            Numbers, NaN where an entry is missing.
        which : sequence of int or None, default=None
            The columns that these are; by default, all.
        """
        which = range(len(self.names)) if which is None else which
        names = [self.names[j] for j in which]
        entries = [self.formats[j].write(values[:, k]) for k, j in enumerate(which)]
        if not self.library:
            dtype = self.dtype if self.dtype == object else np.float64
            return np.array(entries, dtype=dtype).T
        library = import_module(self.library)
        dtypes = [self.formats[j].dtype for j in which]
        return library.DataFrame(
            {
                name: _series(library, column, dtype)
                for name, column, dtype in zip(names, entries, dtypes, strict=True)
            }
        )


def _library(X: Any) -> str:
    """Return the library of a frame, or "" for an array."""
    if hasattr(X, "iloc"):
        return "pandas"
    return "polars" if hasattr(X, "to_physical") or hasattr(X, "get_column") else ""


def _column(X: Any, j: int) -> Any:
    if hasattr(X, "iloc"):
        return X.iloc[:, j]
    return X.to_series(j) if hasattr(X, "to_series") else np.asarray(X)[:, j]


def _entries(column: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return a column's entries, and which of them are missing."""
    if hasattr(column, "isna"):
        is_missing = np.asarray(column.isna())
        kind = getattr(column.dtype, "kind", "O")
        if is_missing.any() and kind in "iuf" and str(column.dtype)[0].isupper():
            return column.to_numpy(np.float64, na_value=np.nan), is_missing
        plain = kind in "iufMm" and not str(column.dtype)[0].isupper()
        return np.asarray(column if plain else column.astype(object)), is_missing
    if hasattr(column, "is_null"):
        is_missing = np.asarray(column.is_null())
        if column.dtype.is_numeric():
            return column.cast(float).to_numpy(), is_missing | np.isnan(column.cast(float))
        entries = column.to_numpy() if column.dtype.is_temporal() else column.to_list()
        entries = np.asarray(entries, None if column.dtype.is_temporal() else object)
        return entries, is_missing
    entries = np.asarray(column)
    if entries.dtype.kind in "fiu":
        return entries, np.isnan(entries)
    if entries.dtype.kind == "M":
        return entries, np.isnat(entries)
    is_missing = np.array([entry is None or entry != entry for entry in entries], bool)
    return entries, is_missing


def _series(library: Any, entries: list[Any], dtype: Any) -> Any:
    if library.__name__ == "pandas":
        return library.Series(entries, dtype=dtype)
    return library.Series(entries).cast(dtype)
