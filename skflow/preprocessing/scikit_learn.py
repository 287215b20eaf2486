"""Jacobians of scikit-learn's own transformers, those that are bijections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils.validation import check_is_fitted, validate_data

from skflow._sklearn.validation import as_numpy, power_scale
from skflow.preprocessing.functions import KNOWN_FUNCTIONS, log_slope

__all__ = ["jacobian_of"]


def jacobian_of(transformer: Any, name: str) -> Callable[[Any], NDArray[np.float64]]:
    """Return the function that gives the log-determinant at each row, in nats.

    Parameters
    ----------
    transformer : transformer
        Fitted, of scikit-learn.
    name : str
        What errors call it.

    Raises
    ------
    TypeError
        If its Jacobian is not known.
    ValueError
        If it is no bijection as its parameters are set.
    """
    rule = next((rule for kind, rule in _RULES.items() if isinstance(transformer, kind)), None)
    if rule is None:
        raise TypeError(
            f"The Jacobian of {name} is not known. If it is a bijection, give it a method "
            "log_abs_det_jacobian(X) that returns log|det| at each row, of shape (n_samples,), in "
            "nats. If it is none, the rows have no density in original units: leave it out, or "
            "compare densities in the units that it leaves, with score_samples."
        )
    check_is_fitted(transformer)

    def log_abs_det_jacobian(X: Any) -> NDArray[np.float64]:
        if hasattr(X, "__dlpack__"):  # not a frame, which has names
            X = as_numpy(X)
        with config_context(array_api_dispatch=False):
            X = validate_data(transformer, X, reset=False, dtype=np.float64)
        return np.broadcast_to(rule(transformer, X, name), len(X))

    return log_abs_det_jacobian


def _scaled(transformer: Any, X: NDArray[np.float64], name: str) -> float:
    """Of a transformer that divides by ``scale_``, unless it is None."""
    _refuse_clipping(transformer, name)
    return 0.0 if transformer.scale_ is None else -_sum_log_abs(transformer.scale_)


def _min_max(transformer: MinMaxScaler, X: NDArray[np.float64], name: str) -> float:
    """Of the scaler that multiplies by ``scale_``."""
    _refuse_clipping(transformer, name)
    return _sum_log_abs(transformer.scale_)


def _refuse_clipping(transformer: Any, name: str) -> None:
    if getattr(transformer, "clip", False):
        raise ValueError(f"Clipping is no bijection: set clip=False in {name}.")


def _power(
    transformer: PowerTransformer, X: NDArray[np.float64], name: str
) -> NDArray[np.float64]:
    exponents = np.asarray(transformer.lambdas_, dtype=np.float64) - 1
    if transformer.method == "box-cox":
        log_slopes = exponents * np.log(X)
    else:
        log_slopes = exponents * np.sign(X) * np.log1p(np.abs(X))
    log_det: NDArray[np.float64] = log_slopes.sum(axis=1)
    if transformer.standardize:
        log_det -= _sum_log_abs(power_scale(transformer))
    return log_det


def _pca(transformer: PCA, X: NDArray[np.float64], name: str) -> float:
    if transformer.n_components_ < transformer.n_features_in_:
        raise ValueError(
            f"Only {transformer.n_components_} components of {transformer.n_features_in_} columns "
            f"are kept by {name}, so that the rows have no density in original units. Keep all of "
            "them, which takes as many rows in fit, or leave it out."
        )
    log_det = float(np.linalg.slogdet(as_numpy(transformer.components_).astype(np.float64))[1])
    if transformer.whiten:
        # Components without variance are divided by the least scale that it allows.
        scales = np.sqrt(as_numpy(transformer.explained_variance_))
        log_det -= _sum_log_abs(np.maximum(scales, np.finfo(scales.dtype).eps))
    return log_det


def _function(
    transformer: FunctionTransformer, X: NDArray[np.float64], name: str
) -> NDArray[np.float64] | float:
    if transformer.func is None:
        return 0.0
    slopes = None if transformer.kw_args else log_slope(transformer.func, X)
    if slopes is None:
        raise TypeError(
            f"The Jacobian of {name} is not known. The functions whose slopes are known are "
            f"{KNOWN_FUNCTIONS}, without arguments. For another one, derive a class from "
            "FunctionTransformer that has a method log_abs_det_jacobian(X), which returns "
            "log|det| at each row, of shape (n_samples,), in nats."
        )
    total: NDArray[np.float64] = slopes.sum(axis=1)
    return total


def _quantile(transformer: QuantileTransformer, X: NDArray[np.float64], name: str) -> float:
    raise TypeError(
        f"All values beyond those seen in fit are mapped to one number by {name}, which is no "
        "bijection. Use PowerTransformer instead, or leave it out."
    )


def _sum_log_abs(scales: Any) -> float:
    return float(np.log(np.abs(as_numpy(scales).astype(np.float64))).sum())


_RULES: dict[type, Callable[[Any, NDArray[np.float64], str], NDArray[np.float64] | float]] = {
    StandardScaler: _scaled,
    MaxAbsScaler: _scaled,
    RobustScaler: _scaled,
    MinMaxScaler: _min_max,
    PowerTransformer: _power,
    PCA: _pca,
    FunctionTransformer: _function,
    QuantileTransformer: _quantile,
}
