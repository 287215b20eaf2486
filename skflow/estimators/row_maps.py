"""What methods make of rows of any kind: arrays at once, and all else block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skflow._sklearn.sources import is_dask_array, is_dataset, map_dask_array, source_of
from skflow._sklearn.validation import makes_frames, rows
from skflow.training.sources import in_order, read_ahead

__all__ = ["map_rows"]


def map_rows(
    estimator: Any, X: Any, method: str, function: Callable[[Any], Any], *, keeps_columns: bool
) -> Any:
    """Return what a method makes of rows.

    Parameters
    ----------
    estimator : estimator
        Fitted. Nobody changes it any more.
    X : object
        What the user passed.
    method : str
        The name of the method.
    function : callable
        Does what the method does to an array that was checked.
    keeps_columns : bool
        Whether that is a number for each entry, else for each row.

    Returns
    -------
    mapped : array, dask.array.Array or pyarrow.RecordBatchReader
        Of an array of Dask, one that is not computed yet. Of a dataset of pyarrow, a number for
        each row as an array, and one for each entry as batches that are made when they are taken.
    """
    is_framed = keeps_columns and makes_frames(estimator)  # frames hold all rows
    if is_dask_array(X):
        lazy = map_dask_array(estimator, method, X, keeps_columns=keeps_columns)
        return np.asarray(lazy) if is_framed else lazy
    source = source_of(estimator, X)
    if source is None:
        return function(rows(estimator, X, method=method))
    pieces = (function(piece.numpy()) for _, piece in read_ahead(in_order(source)))
    if is_dataset(X) and keeps_columns and not is_framed:
        return _as_batches(pieces, estimator.get_feature_names_out(), source.numpy_dtype)
    shape = (len(source), source.n_features)[: 1 + keeps_columns]
    mapped, start = np.empty(shape, source.numpy_dtype), 0
    for piece in pieces:
        mapped[start : start + len(piece)] = piece
        start += len(piece)
    return mapped


def _as_batches(pieces: Iterator[NDArray[Any]], names: NDArray[Any], dtype: np.dtype[Any]) -> Any:
    """Return arrays as batches of pyarrow, with a name for each column."""
    import pyarrow

    schema = pyarrow.schema([(str(name), pyarrow.from_numpy_dtype(dtype)) for name in names])
    batches = (
        pyarrow.RecordBatch.from_arrays([pyarrow.array(column) for column in Z.T], schema=schema)
        for Z in pieces
    )
    return pyarrow.RecordBatchReader.from_batches(schema, batches)
