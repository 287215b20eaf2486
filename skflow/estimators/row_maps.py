"""What methods make of rows of any kind: arrays at once, and all else block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skflow._sklearn.sources import (
    is_dask_array,
    is_dataset,
    map_dask_array,
    source_of,
)
from skflow._sklearn.validation import (
    array_like,
    as_tensor,
    makes_frames,
    resolve_device,
    rows,
)
from skflow.estimators.overflow import checked_finite
from skflow.estimators.state import own_autograd_mode, snapshot
from skflow.flow import Flow
from skflow.flow.blocks import MATRIX_ROWS, block_length
from skflow.training.sources import in_order, read_ahead

__all__ = ["map_blocks", "map_rows"]

# So many pieces of a few megabytes are decoded while others are mapped.
_PIECES_AHEAD = 4

# What methods make of a block of rows, or of latents.
_MAPS: dict[str, Callable[[Flow, torch.Tensor], torch.Tensor]] = {
    "score_samples": lambda flow, x: flow.log_prob(x),
    "transform": lambda flow, x: checked_finite(flow(x)),
    "log_abs_det_jacobian": lambda flow, x: checked_finite(flow.forward_and_log_det(x)[1]),
    "inverse_transform": lambda flow, z: flow.inverse(z),
}


def map_rows(estimator: Any, X: Any, method: str, *, keeps_columns: bool = False) -> Any:
    """Return what a method makes of rows of any kind.

    Parameters
    ----------
    estimator : RelativeGradientFlow
        Whose method it is.
    X : object
        What the user passed.
    method : str
        The name of the method.
    keeps_columns : bool, default=False
        Whether that is a number for each entry, else for each row.

    Returns
    -------
    mapped : array, dask.array.Array or pyarrow.RecordBatchReader
        Of an array of Dask, one that is not computed yet. Of a dataset of pyarrow, a number for
        each row as an array, and one for each entry as batches that are made when they are taken.
    """
    check_is_fitted(estimator)
    fitted = snapshot(estimator)

    def mapped_array(x: Any) -> Any:
        return map_blocks(fitted, x, method, x.shape[: 1 + keeps_columns])

    is_framed = keeps_columns and makes_frames(fitted)  # frames hold all rows
    if is_dask_array(X):
        lazy = map_dask_array(fitted, method, X, keeps_columns=keeps_columns)
        return np.asarray(lazy) if is_framed else lazy
    source = source_of(fitted, X)
    if source is None:
        return mapped_array(rows(fitted, X, method=method))
    read = read_ahead(in_order(source), n_ahead=_PIECES_AHEAD)
    pieces = (mapped_array(piece.numpy()) for _, piece in read)
    if is_dataset(X) and keeps_columns and not is_framed:
        return _as_batches(pieces, fitted.get_feature_names_out(), source.numpy_dtype)
    mapped = np.empty((len(source), source.n_features)[: 1 + keeps_columns], source.numpy_dtype)
    start = 0
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


def map_blocks(estimator: Any, X: Any, method: str, shape: tuple[int, ...]) -> Any:
    """Return what a method makes of an array, in blocks of rows that a processor's cache holds.

    Parameters
    ----------
    estimator : RelativeGradientFlow
        Fitted. Nobody changes it any more.
    X : array or tensor of shape (n_samples, n_features)
        The rows, checked.
    method : str
        The name of the method.
    shape : tuple of int
        That of the result.

    Returns
    -------
    mapped : array
        In the namespace and the precision of `X`.
    """
    data = as_tensor(X)
    device = resolve_device(estimator.device, data.device)
    flow, function = estimator.flow_.to(device), _MAPS[method]
    n_rows = block_length(data.shape[1], least=MATRIX_ROWS)
    with own_autograd_mode(), flow.unchanged():
        mapped = data.new_empty(shape)
        for block, target in zip(data.split(n_rows), mapped.split(n_rows), strict=True):
            target.copy_(function(flow, block.to(device)))
    return array_like(mapped, X)
