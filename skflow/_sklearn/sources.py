"""Data that are read block by block: memory maps, datasets of pyarrow and arrays of Dask."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import accumulate
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from skflow._sklearn.readable import readable
from skflow._sklearn.room import machine_memory
from skflow._sklearn.validation import (
    as_tensor,
    refuse_all_but_numbers,
    refuse_but_two_dimensions,
)
from skflow.training.sources import in_order

__all__ = ["CheckedSource", "is_dask_array", "is_dataset", "map_dask_array", "source_of"]

# What is read at a time. It lies together on a disk, which takes far less time than rows one by
# one, and is so little that many places of the data come into a window of training.
_PIECE_BYTES = 2**22

# A memory map that takes more of the memory than this is read block by block. Of one that takes
# less the system keeps all pages, once they are read.
_SHARE_OF_MEMORY = 0.5

# What is computed or decoded when it is read is kept in memory if it takes no more than this.
_KEPT_BYTES = 2**26


def _is(X: Any, module: str, name: str) -> bool:
    """Say whether `X` is of a class of a library, which is not imported for that."""
    library = sys.modules.get(module)
    return library is not None and isinstance(X, getattr(library, name))


def is_dask_array(X: Any) -> bool:
    """Say whether `X` is an array of Dask."""
    return _is(X, "dask.array", "Array")


def is_dataset(X: Any) -> bool:
    """Say whether `X` is a dataset of pyarrow."""
    return _is(X, "pyarrow.dataset", "Dataset")


def _precision(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return single precision if the data have it, and else double."""
    return np.dtype(np.float32 if dtype == np.float32 else np.float64)


class CheckedSource(ABC):
    """Rows in blocks, checked as scikit-learn checks arrays when they are read.

    Parameters
    ----------
    X : object
        The data.
    estimator : estimator
        Whose rows they are, for messages.
    lengths : iterable of int
        The number of rows of each block.
    dtype : dtype
        That of the data.
    names : object
        Has the shape and the feature names of the data, as scikit-learn looks for them.
    """

    def __init__(
        self, X: Any, estimator: Any, lengths: Any, dtype: np.dtype[Any], names: Any
    ) -> None:
        self.X = X
        self.estimator = estimator
        self.offsets = list(accumulate(lengths, initial=0))
        self.numpy_dtype = _precision(dtype)
        self.names = names
        self.n_features = int(names.shape[1])

    def __len__(self) -> int:
        return self.offsets[-1]

    @property
    def dtype(self) -> torch.dtype:
        """The precision of what is read: single if the data have it, and else double."""
        return torch.float32 if self.numpy_dtype == np.float32 else torch.float64

    @property
    def n_bytes(self) -> int:
        """What all rows would take in memory."""
        return len(self) * self.n_features * self.numpy_dtype.itemsize

    @property
    def is_large(self) -> bool:
        """Whether the rows are better not all in memory."""
        return self.n_bytes > _KEPT_BYTES

    @property
    def piece_length(self) -> int:
        """How many rows are read at a time."""
        return max(1, _PIECE_BYTES // (self.numpy_dtype.itemsize * self.n_features))

    def check(self, *, fitting: bool, least: int) -> None:
        """Check all but the entries: the number of rows and columns, and names.

        Parameters
        ----------
        fitting : bool
            Whether to set the estimator's ``n_features_in_``, ``feature_names_in_`` and
            ``_rows_like``, else compare.
        least : int
            How many rows there must be.
        """
        # An array of as many rows and columns, of which one entry is there.
        shape = np.broadcast_to(np.zeros(1, self.numpy_dtype), (len(self), self.n_features))
        check_array(
            shape, ensure_min_samples=least, ensure_all_finite=False, estimator=self.estimator
        )
        validate_data(self.estimator, self.names, reset=fitting, skip_check_array=True)
        if fitting:
            self.estimator._rows_like = np.zeros((1, self.n_features), self.numpy_dtype)[:0, :]

    def read(self, block: int) -> Iterator[torch.Tensor]:
        """Yield the rows of a block in order, some at a time.

        Parameters
        ----------
        block : int
            Its number.

        Raises
        ------
        ValueError
            If they are not finite numbers, in scikit-learn's words.
        """
        n_left = self.offsets[block + 1] - self.offsets[block]
        for piece in self._pieces(block):
            checked = check_array(
                piece, dtype=self.numpy_dtype, input_name="X", estimator=self.estimator
            )
            n_left -= len(checked)
            yield as_tensor(checked)
        if n_left:
            raise RuntimeError("X has another number of rows than it had: it changed meanwhile.")

    def in_memory(self) -> torch.Tensor:
        """Return all rows."""
        return torch.cat([piece for _, piece in in_order(self)])

    @abstractmethod
    def _pieces(self, block: int) -> Iterator[NDArray[Any]]:
        """Yield the rows of a block in order, some at a time, as they come."""


class _MappedSource(CheckedSource):
    """A memory map of NumPy, in blocks of some megabytes."""

    def __init__(self, X: NDArray[Any], estimator: Any) -> None:
        super().__init__(X, estimator, (), X.dtype, X)
        self.offsets = [*range(0, len(X), self.piece_length), len(X)]

    @property
    def is_large(self) -> bool:
        return self.n_bytes > _SHARE_OF_MEMORY * machine_memory()

    def _pieces(self, block: int) -> Iterator[NDArray[Any]]:
        yield np.asarray(self.X[self.offsets[block] : self.offsets[block + 1]])


class _DaskSource(CheckedSource):
    """An array of Dask, in its own chunks of rows."""

    def __init__(self, X: Any, estimator: Any) -> None:
        refuse_but_two_dimensions(X)
        if np.isnan(X.shape[0]):
            raise ValueError(
                "X is a Dask array with chunks of unknown sizes: call X.compute_chunk_sizes() "
                "before, which reads it once."
            )
        super().__init__(X.rechunk({1: -1}), estimator, X.chunks[0], X.dtype, X)

    def _pieces(self, block: int) -> Iterator[NDArray[Any]]:
        rows = np.asarray(self.X.blocks[block].compute())
        for start in range(0, len(rows), self.piece_length):
            yield rows[start : start + self.piece_length]


class _DatasetSource(CheckedSource):
    """A dataset of pyarrow, in the row groups of its Parquet files, or in its other files."""

    def __init__(self, X: Any, estimator: Any) -> None:
        refuse_all_but_numbers(X.schema.names, X.schema.types, map(_is_number, X.schema.types))
        parts = [part for fragment in X.get_fragments() for part in _parts(fragment)]
        self.fragments = [fragment for fragment, _ in parts]
        empty = X.schema.empty_table()
        dtypes = [column.to_numpy().dtype for column in empty.columns] or [np.float64]
        lengths = [n_rows for _, n_rows in parts]
        super().__init__(X, estimator, lengths, np.result_type(*dtypes), empty)

    def _pieces(self, block: int) -> Iterator[NDArray[Any]]:
        import pyarrow

        batches = self.fragments[block].to_batches(
            self.X.schema,
            batch_size=self.piece_length,
            batch_readahead=1,
            fragment_readahead=1,
            # Which gives back what is freed; pyarrow's own may keep it.
            memory_pool=pyarrow.system_memory_pool(),
        )
        for batch in batches:
            columns = np.empty((batch.num_columns, batch.num_rows), self.numpy_dtype)
            for target, column in zip(columns, batch.columns, strict=True):
                target[:] = column.to_numpy(zero_copy_only=False)
            if batch.num_rows:  # PyTorch transposes in tiles, which takes a fifth of the time
                yield torch.from_numpy(columns).T.contiguous().numpy()


def _parts(fragment: Any) -> list[tuple[Any, int]]:
    """Return the parts of a file that can be read one by one, and their numbers of rows."""
    if not hasattr(fragment, "row_groups"):
        return [(fragment, fragment.count_rows())]
    # Of a part, `count_rows` gives those of the whole file.
    return [(part, part.row_groups[0].num_rows) for part in fragment.split_by_row_group()]


def _is_number(kind: Any) -> bool:
    from pyarrow.types import is_boolean, is_floating, is_integer

    return bool(is_integer(kind) or is_floating(kind) or is_boolean(kind))


def source_of(
    estimator: Any, X: Any, *, fitting: bool = False, least: int = 1
) -> CheckedSource | None:
    """Return data that are read block by block, with all but their entries checked.

    Parameters
    ----------
    estimator : estimator
        As for :func:`skflow._sklearn.validation.rows`.
    X : object
        What the user passed.
    fitting : bool, default=False
        Whether this is a call of fit.
    least : int, default=1
        How many rows there must be.

    Returns
    -------
    source : CheckedSource or None
        None of arrays in memory, of memory maps that memory has room for, and of all else.

    Raises
    ------
    TypeError
        If `X` is a path. It says how to open it.
    """
    source: CheckedSource
    if isinstance(X, str | PathLike):
        raise TypeError(
            f"X is the path {str(X)!r}. Pass what is there: pyarrow.dataset.dataset(path, "
            'format="parquet") of a folder of Parquet files, or numpy.load(path, mmap_mode="r").'
        )
    if is_dataset(X):
        source = _DatasetSource(X, estimator)
    elif is_dask_array(X):
        source = _DaskSource(readable(X), estimator)
    elif isinstance(X, np.memmap) and X.ndim == 2 and X.dtype.kind in "biuf" and X.size:
        source = _MappedSource(X, estimator)
        if not source.is_large:
            return None
    else:
        return None
    source.check(fitting=fitting, least=least)
    return source


def map_dask_array(estimator: Any, method: str, X: Any, *, keeps_columns: bool) -> Any:
    """Return what a method makes of the rows of a Dask array, as one that is not computed yet.

    Parameters
    ----------
    estimator : estimator
        Which nobody changes any more.
    method : str
        The name of the method.
    X : dask.array.Array of shape (n_samples, n_features)
        The rows.
    keeps_columns : bool
        Whether the method returns a number for each entry, else for each row.

    Returns
    -------
    mapped : dask.array.Array of shape (n_samples, n_features) or (n_samples,)
        In the chunks of the rows.
    """
    refuse_but_two_dimensions(readable(X))
    validate_data(estimator, X, reset=False, skip_check_array=True)
    dtype = _precision(X.dtype)
    return X.rechunk({1: -1}).map_blocks(
        _call,
        estimator,
        method,
        dtype=dtype,
        drop_axis=None if keeps_columns else 1,
        meta=np.empty((0,) * (1 + keeps_columns), dtype),
    )


def _call(X: NDArray[Any], estimator: Any, method: str) -> NDArray[Any]:
    if not len(X):
        return np.empty(X.shape if method == "transform" else 0, X.dtype)
    return np.asarray(getattr(estimator, method)(np.asarray(X)))
