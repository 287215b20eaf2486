"""Predictive distributions p(y | x) of any regressor that has them: asked for, and checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstwo
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array

from skflow._sklearn.validation import as_numpy, n_samples, plain_array

__all__ = [
    "ask",
    "check_levels",
    "effective_size",
    "floats",
    "like_targets",
    "of_uniform",
    "one_target",
    "probabilities",
    "targets",
]

# Of a distribution function in float32.
_ROUNDING = 1e-6


def targets(y: Any, X: Any = None, name: str = "y") -> NDArray[np.float64]:
    """Return targets as an array of float64, checked.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        The targets.
    X : array-like of shape (n_samples, n_features) or None, default=None
        Their rows, of which there must be as many.
    name : str, default="y"
        What errors call the targets.
    """
    checked: NDArray[np.float64] = as_numpy(
        check_array(
            plain_array(y), dtype=np.float64, ensure_2d=False, allow_nd=True, input_name=name
        )
    )
    if checked.ndim not in (1, 2):
        raise ValueError(
            f"{name} must be of shape (n_samples,) or (n_samples, n_targets), got {checked.shape}."
        )
    if X is not None and n_samples(X) != len(checked):
        raise ValueError(f"{name} has {len(checked)} rows, but X has {n_samples(X)}.")
    return checked


def one_target(y: Any, X: Any, instead: str = "") -> NDArray[np.float64]:
    """Return targets in their shape, as :func:`targets` checks them, and refuse several.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, 1)
        The targets.
    X : array-like of shape (n_samples, n_features)
        Their rows.
    instead : str, default=""
        What draws one of several, for the message.
    """
    checked = targets(y, X)
    if checked.size != len(checked):
        advice = f" Draw one of them by {instead}." if instead else ""
        raise ValueError(f"y must be one target, got {checked.shape[1]}.{advice}")
    return checked


def ask(estimator: Any, method: str, X: Any, *arguments: Any) -> NDArray[np.float64]:
    """Call a method of a regressor for rows, through a search or the steps of a Pipeline.

    Parameters
    ----------
    estimator : regressor, Pipeline that ends in one, or search for one
        Fitted.
    method : str
        What it is asked for.
    X : array-like of shape (n_samples, n_features)
        The rows, as the first step takes them.
    *arguments : object
        What else the method takes.

    Raises
    ------
    TypeError
        If the regressor has no such method.
    ValueError
        If an answer is NaN.
    """
    if hasattr(estimator, "best_estimator_"):
        return ask(estimator.best_estimator_, method, X, *arguments)
    if isinstance(estimator, Pipeline):
        before = estimator[:-1]
        return ask(estimator[-1], method, before.transform(X) if len(before) else X, *arguments)
    if isinstance(estimator, type) or not hasattr(estimator, method):
        raise TypeError(
            f"estimator must have a method {method}, by itself or as the last step of a Pipeline, "
            f"got {estimator!r}, which has none."
        )
    answer = np.asarray(as_numpy(getattr(estimator, method)(X, *arguments)), dtype=np.float64)
    if np.isnan(answer).any():
        raise ValueError(f"{method} must give no NaN, but that of {estimator!r} did.")
    return answer


def like_targets(values: Any, y: NDArray[np.float64], name: str, *more: int) -> NDArray[Any]:
    """Return what there is of each target in its shape, with further axes at the end.

    Parameters
    ----------
    values : array-like of shape (n_samples, *more) or (n_samples, n_targets, *more)
        Of one target the axis of targets may be left out, or be there.
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        The targets.
    name : str
        What errors call the values.
    *more : int
        The lengths of further axes.
    """
    values = np.asarray(values)
    shapes = {(*y.shape, *more)}
    if y.size == len(y):
        shapes |= {(len(y), *more), (len(y), 1, *more)}
    if values.shape not in shapes:
        raise ValueError(
            f"{name} must be of shape {(*y.shape, *more)} for targets of shape {y.shape}, "
            f"got {values.shape}."
        )
    return values.reshape(*y.shape, *more)


def floats(values: Any, name: str) -> NDArray[np.float64]:
    """Return a number, or numbers, as an array of float64.

    Parameters
    ----------
    values : float or array-like
        The numbers.
    name : str
        What errors call them.

    Raises
    ------
    TypeError
        If they are no numbers, such as strings that hold some.
    """
    try:
        given = as_numpy(values)
        if given.dtype.kind in "biufO":
            return given.astype(np.float64)
    except (TypeError, ValueError):  # of no shape, or objects that are no numbers
        pass
    raise TypeError(f"{name} must be numbers, got {values!r}.")


def probabilities(values: Any, name: str) -> NDArray[np.float64]:
    """Return numbers from 0 to 1, or out of it by rounding, as an array of float64, checked.

    Parameters
    ----------
    values : array-like
        The numbers.
    name : str
        What errors call them.
    """
    checked = floats(values, name)
    if not np.all((checked >= -_ROUNDING) & (checked <= 1 + _ROUNDING)):
        raise ValueError(
            f"{name} must be between 0 and 1, got values from {checked.min():.6g} to "
            f"{checked.max():.6g}."
        )
    return checked.clip(0, 1)


def check_levels(levels: Any, name: str = "levels") -> NDArray[np.float64]:
    """Return levels of probability as an array of float64, checked.

    Parameters
    ----------
    levels : array-like of shape (n_levels,)
        One or more.
    name : str, default="levels"
        What errors call them.
    """
    checked = floats(levels, name)
    if checked.ndim != 1 or not len(checked) or not np.all((checked > 0) & (checked < 1)):
        raise ValueError(
            f"{name} must be a list of one or more numbers between 0 and 1, got {levels!r}."
        )
    return checked


def effective_size(weights: NDArray[np.float64]) -> float:
    """Return the number of rows of equal weight whose mean is as certain (Kish).

    Parameters
    ----------
    weights : ndarray of shape (n_samples,)
        The weights of the rows.
    """
    return float(weights.sum() ** 2 / (weights**2).sum())


def of_uniform(values: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float]:
    """Return the statistic and the p-value of a Kolmogorov-Smirnov test that values are uniform.

    With equal weights it is that of :func:`scipy.stats.ks_1samp`. Otherwise the distribution
    function is weighted, and the p-value is that of as many rows as :func:`effective_size` has:
    so it is in the limit, if weights and values are independent.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        Numbers between 0 and 1.
    weights : ndarray of shape (n_samples,)
        Their weights.
    """
    order = np.argsort(values)
    ranked, share = values[order], weights[order] / weights.sum()
    above = np.cumsum(share)
    statistic = max(np.max(above - ranked), np.max(ranked - (above - share)))
    pvalue = kstwo.sf(statistic, max(1, round(effective_size(weights))))
    return float(statistic), float(pvalue)
