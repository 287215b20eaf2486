"""Log-determinants of the Jacobians of transformers, and of what is composed of them."""

from __future__ import annotations

from collections import UserList
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skflow._sklearn.readable import readable
from skflow._sklearn.validation import as_numpy, refuse_but_two_dimensions
from skflow.preprocessing.scikit_learn import jacobian_of

__all__ = [
    "column_blocks",
    "label",
    "log_abs_det_jacobian",
    "transform_and_log_det",
    "with_shape",
]


def log_abs_det_jacobian(transformer: Any, X: Any) -> NDArray[np.float64]:
    r"""Return the log-determinant of a transformer's Jacobian at each row.

    Parameters
    ----------
    transformer : transformer, Pipeline of transformers or "passthrough"
        Fitted. One that has a method ``log_abs_det_jacobian(X)`` is asked for it. Of
        scikit-learn's own these are known: StandardScaler, MinMaxScaler, MaxAbsScaler,
        RobustScaler, PowerTransformer, PCA that keeps all components (whitening or not),
        FunctionTransformer without a function or with one whose slope is known, such as
        :func:`numpy.log1p`, and a ColumnTransformer of such ones that maps every column once.
        So is a :class:`~skflow.RelativeGradientFlow`.
    X : array-like of shape (n_samples, n_features)
        Rows as the transformer takes them.

    Returns
    -------
    log_det : ndarray of shape (n_samples,)
        :math:`\log|\det \partial T(x) / \partial x|`, in nats.

    Raises
    ------
    TypeError
        If the Jacobian of the transformer, or of a step in it, is not known.
    ValueError
        If the transformer, or a step in it, is no bijection as its parameters are set.

    Notes
    -----
    Cost: that of ``transformer.transform(X)``, and O(N·D); O(D³) for a PCA.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skflow.preprocessing import log_abs_det_jacobian
    >>> X = load_iris().data
    >>> scaler = StandardScaler().fit(X)
    >>> log_abs_det_jacobian(scaler, X[:2])
    array([0.735..., 0.735...])
    """
    return transform_and_log_det(transformer, with_shape(X), label(transformer))[1]


def transform_and_log_det(transformer: Any, X: Any, name: str) -> tuple[Any, NDArray[np.float64]]:
    """Transform rows, once: noise that a step adds is the noise that later steps see.

    Parameters
    ----------
    transformer : transformer, Pipeline of transformers, "passthrough" or None
        The fitted transformer.
    X : array or frame of shape (n_samples, n_features)
        The rows.
    name : str
        What errors call the transformer.

    Returns
    -------
    Z : array or frame of shape (n_samples, n_features)
        The latents.
    log_det : ndarray of shape (n_samples,)
        In nats.
    """
    if transformer is None or (isinstance(transformer, str) and transformer == "passthrough"):
        return X, np.zeros(X.shape[0])
    if isinstance(transformer, Pipeline):
        log_det = np.zeros(X.shape[0])
        for step_name, step in transformer.steps:
            X, of_step = transform_and_log_det(step, X, f"{label(step, step_name)} of {name}")
            log_det += of_step
        return X, log_det
    if isinstance(transformer, ColumnTransformer):
        return _through_columns(transformer, X, name)
    if hasattr(transformer, "log_abs_det_jacobian") and not isinstance(transformer, type):
        jacobian = transformer.log_abs_det_jacobian
    else:
        jacobian = jacobian_of(transformer, name)
    log_det = as_numpy(jacobian(X)).astype(np.float64)  # first: some transform in place
    return transformer.transform(X), log_det


def _through_columns(
    transformer: ColumnTransformer, X: Any, name: str
) -> tuple[Any, NDArray[np.float64]]:
    log_det = np.zeros(X.shape[0])
    outputs, used = [], []
    for block_name, block, positions in column_blocks(transformer, name):
        if isinstance(block, str) and block == "drop":
            raise ValueError(
                f"The columns {positions.tolist()} are dropped by {name}, so that the rows have "
                "no density in original units. Pass them through (remainder='passthrough'), or "
                "select columns beforehand."
            )
        taken = _take(transformer, X, positions)
        output, of_block = transform_and_log_det(
            block, taken, f"{label(block, block_name)} of {name}"
        )
        outputs.append(np.asarray(output))
        used.append(positions)
        log_det += of_block
    if sorted(np.concatenate(used)) != list(range(transformer.n_features_in_)):
        raise ValueError(
            f"A column is mapped more than once by {name}, which is no bijection. Give each "
            "column to one transformer."
        )
    Z = transformer.transform(X)
    if not np.array_equal(np.hstack(outputs), np.asarray(Z)):
        raise ValueError(
            f"The rows that {name} gives differ from one call to the next. Set random_state to an "
            "int in its transformers."
        )
    return Z, log_det


def column_blocks(
    transformer: ColumnTransformer, name: str
) -> Iterator[tuple[str, Any, NDArray[np.intp]]]:
    """Yield the blocks of a ColumnTransformer that have columns.

    Parameters
    ----------
    transformer : ColumnTransformer
        The fitted transformer.
    name : str
        What errors call it.

    Yields
    ------
    block_name : str
        As the transformer calls it.
    block : transformer or str
        The fitted transformer, "passthrough" or "drop".
    positions : ndarray of shape (n_columns,)
        Of its columns.

    Raises
    ------
    ValueError
        If the transformer has weights.
    """
    check_is_fitted(transformer)
    if transformer.transformer_weights:
        raise ValueError(f"Leave out the transformer_weights of {name}, or scale with a scaler.")
    for block_name, block, columns in transformer.transformers_:
        positions = _positions(transformer, columns)
        if len(positions):
            yield block_name, block, positions


def _positions(transformer: ColumnTransformer, columns: Any) -> NDArray[np.intp]:
    """Return the positions of columns, which are given by position, name, slice or mask.

    Parameters
    ----------
    transformer : transformer
        The fitted transformer.
    columns : object
        The columns, as scikit-learn takes them.
    """
    names = list(getattr(transformer, "feature_names_in_", []))
    positions = np.arange(transformer.n_features_in_)
    if isinstance(columns, slice):
        start, stop = columns.start, columns.stop
        if isinstance(start, str):
            start = names.index(start)
        if isinstance(stop, str):
            stop = names.index(stop) + 1  # slices of names include their end
        return positions[start : stop : columns.step]
    if isinstance(columns, UserList):
        columns = columns.data  # the remainder in scikit-learn 1.6, which warns when it is read
    listed = np.atleast_1d(columns).tolist()
    if all(isinstance(column, str) for column in listed):
        listed = [names.index(column) for column in listed]
    return positions[np.array(listed)] if listed else positions[:0]


def _take(transformer: ColumnTransformer, X: Any, positions: NDArray[np.intp]) -> Any:
    if hasattr(transformer, "feature_names_in_") and not isinstance(X, np.ndarray):
        return X[list(transformer.feature_names_in_[positions])]
    return np.asarray(X)[:, positions]


def label(transformer: Any, name: str | None = None) -> str:
    """Say what a transformer is, and which step if it has a `name`.

    Parameters
    ----------
    transformer : transformer
        The fitted transformer.
    name : str or None, default=None
        The name of the step.
    """
    kind = transformer if isinstance(transformer, str) else type(transformer).__name__
    return kind if name is None else f"step {name!r} ({kind})"


def with_shape(X: Any) -> Any:
    """Make an array of a list, and leave arrays and frames as they are.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows.

    Raises
    ------
    ValueError
        If it has other than two dimensions.
    """
    X = readable(X)
    if not hasattr(X, "shape"):
        of_any_shape: dict[str, Any] = {"ensure_2d": False, "allow_nd": True}
        of_any_shape |= {"ensure_min_samples": 0, "ensure_min_features": 0}
        X = check_array(X, dtype=None, ensure_all_finite=False, **of_any_shape)
    refuse_but_two_dimensions(X)
    return X
