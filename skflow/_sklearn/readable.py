"""Tables and columns as they can be read, and those that would be misread refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["listed", "readable"]

_NO_COMPLEX = "Complex data not supported: make columns of the real and imaginary parts."


def readable(X: Any) -> Any:
    """Return what can be read as an array or a frame: tensors without their history.

    Parameters
    ----------
    X : object
        What the user passed, of any kind. Tensors of half precision are made float64, as NumPy
        does not know all of them.

    Raises
    ------
    TypeError
        If it is a class, a mapping, a frame or a dataset that is not computed yet, or a tensor
        that is not dense.
    ValueError
        If it is a masked array that hides entries, of which most functions would take what is
        below, or if it is complex.
    """
    if isinstance(X, type):
        raise TypeError(f"An array or a frame is needed, got the class {X.__name__}.")
    if isinstance(X, torch.Tensor):
        if X.layout != torch.strided:
            raise TypeError(
                "A sparse tensor was passed, but dense data is required: X.to_dense()."
            )
        if X.is_complex():
            raise ValueError(_NO_COMPLEX)
        X = X.detach()
        return X.double() if X.dtype in {torch.float16, torch.bfloat16} else X
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
        n_hidden = int(np.ma.getmaskarray(X).sum())
        raise ValueError(
            f"{n_hidden} entries of a masked array are hidden, and masks are not "
            "read. Fill them, by X.filled(np.nan) where NaN may stand for what is missing, or "
            "leave such rows out."
        )
    if getattr(getattr(X, "dtype", None), "kind", "") == "c":
        raise ValueError(_NO_COMPLEX)
    if isinstance(X, Mapping) and not hasattr(X, "shape"):  # some sparse matrices are one
        raise TypeError(
            f"X must be an array or a frame, got a mapping of type {type(X).__name__}. Make a "
            "frame of it, such as pandas.DataFrame(X)."
        )
    if type(X).__name__ == "LazyFrame":
        raise TypeError("X is a frame that is not computed yet: pass X.collect().")
    if type(X).__module__ == "pyarrow._dataset" and hasattr(X, "to_table"):
        raise TypeError(
            "X is a dataset that is not in memory: pass X.to_table(). RelativeGradientFlow alone "
            "reads it block by block."
        )
    return X


def listed(columns: Any) -> list[Any]:
    """Return what names columns as a list, also if it is one name, or nothing that could be.

    Parameters
    ----------
    columns : object
        What the user passed.
    """
    is_one = not isinstance(columns, Iterable) or isinstance(columns, str)
    return [columns] if is_one or getattr(columns, "ndim", 1) == 0 else list(columns)
