"""Rows back through transformers, and through what is composed of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skflow.preprocessing.jacobians import column_blocks, label

__all__ = ["inverse_transform"]


def inverse_transform(transformer: Any, Z: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Map rows back to the columns that a transformer was fitted to.

    Parameters
    ----------
    transformer : transformer, Pipeline, ColumnTransformer, "passthrough" or None
        Fitted.
    Z : array of shape (n_samples, n_columns_out)
        Rows as the transformer leaves them.
    name : str
        What errors call the transformer.

    Returns
    -------
    X : ndarray of shape (n_samples, n_columns)
        The rows.

    Raises
    ------
    TypeError
        If a part of it has no ``inverse_transform``, or has a function without its inverse.
    ValueError
        If a ColumnTransformer drops a column, or maps one more than once.
    """
    if transformer is None or (isinstance(transformer, str) and transformer == "passthrough"):
        return np.asarray(Z, dtype=np.float64)
    if isinstance(transformer, Pipeline):
        for step_name, step in reversed(transformer.steps):
            Z = inverse_transform(step, Z, f"{label(step, step_name)} of {name}")
        return np.asarray(Z, dtype=np.float64)
    if isinstance(transformer, ColumnTransformer):
        return _through_columns(transformer, np.asarray(Z), name)
    if not hasattr(transformer, "inverse_transform"):
        raise TypeError(
            f"Samples cannot be transformed back through {name}: it has no inverse_transform."
        )
    if isinstance(transformer, FunctionTransformer) and _is_one_way(transformer):
        raise TypeError(
            f"Samples cannot be transformed back through {name}: its inverse_func is not given, "
            "and scikit-learn would leave them as they are. Pass inverse_func."
        )
    return np.asarray(transformer.inverse_transform(Z), dtype=np.float64)


def _is_one_way(transformer: FunctionTransformer) -> bool:
    return transformer.func is not None and transformer.inverse_func is None


def _through_columns(
    transformer: ColumnTransformer, Z: NDArray[Any], name: str
) -> NDArray[np.float64]:
    blocks = list(column_blocks(transformer, name))
    X = np.empty((len(Z), transformer.n_features_in_))
    used: list[int] = []
    for block_name, block, positions in blocks:
        block_label = f"{label(block, block_name)} of {name}"
        if isinstance(block, str) and block == "drop":
            raise ValueError(
                f"The columns {positions.tolist()} are dropped by {name}, so that samples do not "
                "have them. Pass them through (remainder='passthrough')."
            )
        outputs = Z[:, transformer.output_indices_[block_name]]
        X[:, positions] = inverse_transform(block, outputs, block_label)
        used += positions.tolist()
    if sorted(used) != list(range(transformer.n_features_in_)):
        raise ValueError(
            f"A column is mapped more than once, or never, by {name}. Give each column to one "
            "transformer."
        )
    return X
