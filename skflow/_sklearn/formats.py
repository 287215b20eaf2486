"""Columns of frames and arrays as numbers, and back."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from decimal import Decimal
from importlib import import_module
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skflow._sklearn.validation import is_missing, refuse_but_two_dimensions, take_columns

__all__ = ["Format", "Layout"]

Floats = NDArray[np.float64]


class Format:
    """How one column is written.

    Parameters
    ----------
    column : Series or ndarray of shape (n_samples,)
        The column.
    name : str
        What it is called.
    """

    def __init__(self, column: Any, name: str) -> None:
        entries, gone = _entries(column, name)
        self.dtype = column.dtype
        self.date_kind = entries.dtype.kind if entries.dtype.kind in "mM" else ""
        self.is_category = entries.dtype.kind not in "fiuMm"
        is_declared = getattr(self.dtype, "categories", None) is not None
        self.has_order = not self.is_category and (
            not is_declared or bool(getattr(self.dtype, "ordered", False))
        )
        if not self.is_category:
            return
        known = entries[~gone]
        try:
            self.levels = np.unique(known)
        except (TypeError, ValueError):  # of several types
            by_name = {str(level): level for level in known}
            self.levels = np.array([by_name[name] for name in sorted(by_name)], dtype=object)
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
        entries, gone = _entries(column, name)
        if gone.all():
            return np.full(len(gone), np.nan)
        is_date = entries.dtype.kind in "mM"
        if not self.is_category and is_date != bool(self.date_kind):
            kinds = ("dates", "numbers") if self.date_kind else ("numbers", "dates")
            raise ValueError(f"Column {name} held {kinds[0]} in fit, but now has {kinds[1]}.")
        if self.is_category:
            values = np.array([float(self._codes.get(entry, -1)) for entry in entries])
        elif entries.dtype.kind not in "fiuMm":
            try:
                values = np.array(
                    [
                        np.nan if lacks else float(entry)
                        for entry, lacks in zip(entries, gone, strict=True)
                    ]
                )
            except (TypeError, ValueError):
                raise ValueError(
                    f"Column {name} held numbers in fit, but now has entries that are none."
                ) from None
        elif self.date_kind:
            whole = entries.astype(f"{self.date_kind}8[us]").astype(np.int64)
            values = whole.astype(np.float64)
        else:
            values = entries.astype(np.float64)
        values[gone] = np.nan
        if np.isinf(values).any():
            raise ValueError(f"Column {name} contains infinity.")
        return values

    def knows(self, entries: NDArray[Any]) -> bool:
        """Say whether all entries of categories are among those that there were.

        Parameters
        ----------
        entries : ndarray of shape (n_entries,)
            None of them is missing.
        """
        return not self.is_category or all(entry in self._codes for entry in entries)

    def holds(self, entries: NDArray[Any]) -> bool:
        """Say whether a column of the same type can hold all entries.

        Parameters
        ----------
        entries : ndarray of shape (n_entries,)
            None of them is missing.
        """
        if self._is_whole and entries.dtype.kind == "f":
            return bool((entries == np.round(entries)).all())
        return self.knows(entries)

    @property
    def _is_whole(self) -> bool:
        return getattr(self.dtype, "kind", "") in ("i", "u") or str(self.dtype).startswith(
            ("Int", "UInt")
        )

    def write(self, values: Floats) -> list[Any]:
        """Return numbers as entries of the column, None where they are NaN.

        Parameters
        ----------
        values : ndarray of shape (n_samples,)
            As :meth:`read` returns them.
        """
        if self.is_category:
            return [None if v != v else self.levels[int(v)] for v in values]
        if self.date_kind:
            make = np.datetime64 if self.date_kind == "M" else np.timedelta64
            return [None if v != v else make(int(v), "us") for v in values]
        if self._is_whole:
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
        self.formats = [
            Format(take_columns(X, j), repr(name)) for j, name in enumerate(self.names)
        ]

    def part(self, which: Sequence[int]) -> Layout:
        """Return the layout of some of the columns.

        Parameters
        ----------
        which : sequence of int
            Their numbers, in order.
        """
        part = copy(self)
        part.names = [self.names[j] for j in which]
        part.formats = [self.formats[j] for j in which]
        return part

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
            form.read(take_columns(X, j), repr(name))
            for j, (name, form) in enumerate(zip(self.names, self.formats, strict=True))
        ]
        return np.stack(columns, 1)

    def write(self, values: Floats, given: Any = None) -> Any:
        """Return numbers as a table like the one that there was.

        Parameters
        ----------
        values : ndarray of shape (n_rows * n_repeats, n_columns)
            Numbers, NaN where an entry is missing.
        given : DataFrame or ndarray of shape (n_rows, n_columns) or None, default=None
            Rows that were completed, so many times in a row: what was there stays as it was.
        """
        columns, dtypes = [], []
        for j, form in enumerate(self.formats):
            entries = form.write(values[:, j])
            dtype = form.dtype
            if given is not None:
                kept, gone = _entries(take_columns(given, j), repr(self.names[j]))
                if form.is_category or kept.dtype.kind in "fiuMm":  # no numbers as text
                    _keep(entries, kept, gone)
                if not form.holds(kept[~gone]):
                    dtype = None  # that of the column cannot hold them
            columns.append(entries)
            dtypes.append(dtype)
        if not self.library:
            dtype = self.dtype if self.dtype == object else np.float64
            return np.array(columns, dtype=dtype).T
        library = _imported(self.library)
        index = {}
        if self.library == "pandas" and hasattr(given, "index") and len(given) == len(values):
            index = {"index": given.index}
        return library.DataFrame(
            {
                name: _series(library, column, dtype, index)
                for name, column, dtype in zip(self.names, columns, dtypes, strict=True)
            }
        )

    def replaced(self, X: Any, column: int, values: Floats) -> Any:
        """Return a table with other entries in one column, and all else as it is.

        Categories and dates keep the type that they had at first, and numbers become float64.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            With the columns that there were.
        column : int
            The number of the column.
        values : ndarray of shape (n_samples,)
            Numbers as :meth:`read` returns them, none of them missing.
        """
        form = self.formats[column]
        is_number = not form.is_category and not form.date_kind
        entries = values.tolist() if is_number else form.write(values)
        name = _library(X)
        if not name:
            X = X.copy()
            X[:, column] = entries
            return X
        library = _imported(name)
        dtype = None if is_number or name != self.library else form.dtype
        if name == "polars":
            return X.with_columns(_series(library, entries, dtype, {}).alias(X.columns[column]))
        X = X.copy()
        X.isetitem(column, _series(library, entries, dtype, {"index": X.index}))
        return X


def _keep(entries: list[Any], given: NDArray[Any], gone: NDArray[np.bool_]) -> None:
    """Put what was given in the place of what was written, each so many times in a row."""
    if len(given):
        n_repeats = len(entries) // len(given)
        for i in np.flatnonzero(~gone):
            entries[i * n_repeats : (i + 1) * n_repeats] = [given[i]] * n_repeats


def _library(X: Any) -> str:
    """Return the library of a frame, or "" for an array."""
    if hasattr(X, "iloc"):
        return "pandas"
    return "polars" if hasattr(X, "get_column") else ""


def _imported(library: str) -> Any:
    """Return a library of frames; what comes from a file may ask for no other."""
    if library not in ("pandas", "polars"):
        raise ValueError(f"{library!r} is no library of frames.")
    return import_module(library)


def _entries(column: Any, name: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return a column's entries, and which of them are missing."""
    entries, gone = _read(column)
    if entries.dtype.kind == "c":
        raise ValueError(f"Column {name} holds complex numbers. Make columns of their parts.")
    if entries.dtype.kind == "O":
        odd = [type(entry).__name__ for entry in entries[~gone] if not _is_a_level(entry)]
        if odd:
            raise ValueError(
                f"Column {name} has entries of type {odd[0]}, which are no numbers, strings or "
                "dates. Make columns of their parts."
            )
    return entries, gone


def _is_a_level(entry: Any) -> bool:
    """Say whether an entry can be told apart from others, as lists and arrays cannot."""
    try:
        hash(entry)
    except TypeError:
        return False
    return True


def _read(column: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    if hasattr(column, "isna"):
        return _pandas_entries(column)
    if hasattr(column, "is_null"):
        return _polars_entries(column)
    entries = np.asarray(column)
    if entries.dtype.kind in "fiu":
        return entries, np.isnan(entries)
    if entries.dtype.kind in "mM":
        return entries, np.isnat(entries)
    gone = np.array([is_missing(entry) for entry in entries], bool)
    return _numbers(entries, gone), gone


def _numbers(entries: NDArray[Any], gone: NDArray[np.bool_]) -> NDArray[Any]:
    """Return objects as numbers, if all of those that are there are numbers."""
    known = entries[~gone]
    if not len(known) or not all(_is_number(entry) for entry in known):
        return entries
    numbers = np.full(len(entries), np.nan)
    numbers[~gone] = known.astype(np.float64)
    return numbers


def _is_number(entry: Any) -> bool:
    return isinstance(entry, Real | Decimal) and not isinstance(entry, bool | np.bool_)


def _pandas_entries(column: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    gone = np.asarray(column.isna())
    if isinstance(column.dtype, np.dtype) and column.dtype.kind not in "bO":
        return np.asarray(column), gone
    if getattr(column.dtype, "kind", "O") in "iuf":  # numbers that may be missing
        return column.to_numpy(np.float64, na_value=np.nan), gone
    if getattr(column.dtype, "kind", "O") in "mM":  # with a time zone
        return column.to_numpy(f"{column.dtype.kind}8[ns]"), gone
    return _numbers(np.asarray(column.astype(object)), gone), gone


def _polars_entries(column: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    gone = column.is_null().to_numpy()
    if column.dtype.is_numeric():
        entries = column.cast(float).to_numpy()
        return entries, gone | np.isnan(entries)
    if column.dtype.is_temporal():
        return column.to_numpy(), gone
    entries = np.empty(len(column), object)
    entries[:] = column.to_list()
    return entries, gone


def _series(library: Any, entries: list[Any], dtype: Any, index: dict[str, Any]) -> Any:
    if library.__name__ == "pandas":
        return library.Series(entries, dtype=dtype, **index)
    # Polars takes dates of Python's alone.
    entries = [e.item() if isinstance(e, np.datetime64 | np.timedelta64) else e for e in entries]
    return library.Series(entries) if dtype is None else library.Series(entries).cast(dtype)
