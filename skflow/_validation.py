"""Arrays, random states, devices and parameters, checked at the door.

The one file that may use a private name of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import _fit_context
from sklearn.utils import check_array, check_random_state
from sklearn.utils._metadata_requests import _routing_enabled
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import _check_method_params, validate_data

__all__ = [
    "HasMethods",
    "Interval",
    "StrOptions",
    "_fit_context",
    "as_tensor",
    "column_label",
    "latents",
    "params_of_rows",
    "power_scale",
    "resolve_device",
    "routed_fit_params",
    "rows",
    "rows_back",
    "torch_generator",
    "unchanged_on_error",
]


def rows(estimator: Any, X: Any, *, fitting: bool = False, least: int = 1) -> NDArray[Any]:
    """Check `X` and return it as an array of float32 or float64, without a copy if it is one.

    Parameters
    ----------
    estimator : estimator
        Its ``n_features_in_`` and ``feature_names_in_`` are set when `fitting`, else compared.
    X : array-like of shape (n_samples, n_features)
    fitting : bool, default=False
    least : int, default=1
        How many rows there must be.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
    """
    checked: NDArray[Any] = validate_data(
        estimator,
        X,
        reset=fitting,
        dtype=[np.float64, np.float32],
        ensure_min_samples=least,
    )
    return checked


def latents(X: Any, n_features: int) -> NDArray[Any]:
    """Check latents, of shape (n_samples, n_features), as :func:`rows` checks rows."""
    checked: NDArray[Any] = check_array(X, dtype=[np.float64, np.float32], input_name="X")
    if checked.shape[1] != n_features:
        raise ValueError(
            f"X has {checked.shape[1]} columns, but the flow was fitted to {n_features}: "
            "there is one latent for each column of the data."
        )
    return checked


def rows_back(transformer: Any, X: Any) -> NDArray[Any]:
    """Check rows to transform back, of as many columns as the transformer was fitted to."""
    checked: NDArray[Any] = check_array(X, dtype=[np.float64, np.float32], input_name="X")
    if checked.shape[1] != transformer.n_features_in_:
        raise ValueError(
            f"X has {checked.shape[1]} features, but {type(transformer).__name__} is expecting "
            f"{transformer.n_features_in_} features as input."
        )
    return checked


def routed_fit_params(meta_estimator: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Return what is for ``fit`` of `estimator`: what it requests, or without routing all."""
    if not _routing_enabled():
        return params
    routed: dict[str, Any] = process_routing(meta_estimator, "fit", **params)["estimator"]["fit"]
    return routed


def params_of_rows(X: Any, params: dict[str, Any], indices: Any) -> dict[str, Any]:
    """Take the values of some rows of `X` from parameters that have one for each row."""
    taken: dict[str, Any] = _check_method_params(X, params, indices)
    return taken


def column_label(estimator: Any, column: int) -> str:
    """Name a column as the user knows it: by its position, and its name if it has one."""
    names = getattr(estimator, "feature_names_in_", None)
    return f"column {column}" if names is None else f"column {column} ({names[column]!r})"


def power_scale(transformer: Any) -> NDArray[Any]:
    """Return what a standardising PowerTransformer divides its columns by."""
    scale: NDArray[Any] = transformer._scaler.scale_
    return scale


class _Writable:
    """A view of an array that PyTorch takes for writable, although it is only read."""

    def __init__(self, X: NDArray[Any]) -> None:
        interface = X.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}
        self._X = X  # which owns the memory


def as_tensor(X: NDArray[Any]) -> torch.Tensor:
    """View an array as a tensor, to be read only.

    Memory maps and other read-only arrays are not copied, either; only what PyTorch cannot
    stride through is.
    """
    if any(stride < 0 for stride in X.strides):
        X = X.copy()
    if not X.flags.writeable:
        X = np.asarray(_Writable(X))
    return torch.from_numpy(X)


def torch_generator(random_state: Any, device: torch.device) -> torch.Generator:
    """Make a private generator from scikit-learn's kind of random state."""
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    return torch.Generator(device).manual_seed(seed)


def resolve_device(device: str) -> torch.device:
    """Turn the parameter `device` into one that is there.

    Raises
    ------
    ValueError
        If it is not a device's name, or that device is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>', got {device!r}."
        ) from None
    if resolved.type == "cuda":
        count = torch.cuda.device_count()
        if (resolved.index or 0) >= count:
            raise ValueError(
                f"device={device!r} is not there: PyTorch sees {count} CUDA device(s). "
                "Use device='auto' to take one if there is one."
            )
    elif resolved.type != "cpu":
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>', got {device!r}."
        )
    return resolved


@contextmanager
def unchanged_on_error(estimator: Any) -> Iterator[None]:
    """Give an estimator its attributes back if the block fails."""
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
