"""Elementwise functions of NumPy and SciPy, and the logarithms of their slopes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["KNOWN_FUNCTIONS", "LOG_SLOPES", "log_slope"]

LogSlope = Callable[[NDArray[np.float64]], NDArray[np.float64] | float]

_LOG_2, _LOG_10, _LOG_2_PI = math.log(2), math.log(10), math.log(2 * math.pi)


def _log_cosh(x: NDArray[np.float64]) -> NDArray[np.float64]:
    size: NDArray[np.float64] = np.abs(x)
    return size + np.log1p(np.exp(-2 * size)) - _LOG_2  # does not overflow


# Those that are strictly monotone, wherever they are defined.
LOG_SLOPES: dict[Any, LogSlope] = {
    np.log: lambda x: -np.log(x),
    np.log1p: lambda x: -np.log1p(x),
    np.log2: lambda x: -np.log(x) - math.log(_LOG_2),
    np.log10: lambda x: -np.log(x) - math.log(_LOG_10),
    np.exp: lambda x: x,
    np.expm1: lambda x: x,
    np.exp2: lambda x: x * _LOG_2 + math.log(_LOG_2),
    np.sqrt: lambda x: -_LOG_2 - 0.5 * np.log(x),
    np.cbrt: lambda x: -math.log(3) - 2 / 3 * np.log(np.abs(x)),
    np.arcsinh: lambda x: -np.log(np.hypot(1, x)),
    np.sinh: _log_cosh,
    np.tanh: lambda x: -2 * _log_cosh(x),
    np.arctanh: lambda x: -np.log1p(-x) - np.log1p(x),
    np.negative: lambda x: 0.0,
    special.logit: lambda x: -np.log(x) - np.log1p(-x),
    special.expit: lambda x: special.log_expit(x) + special.log_expit(-x),
    special.ndtr: lambda x: -0.5 * (np.square(x) + _LOG_2_PI),
    special.ndtri: lambda x: 0.5 * (np.square(special.ndtri(x)) + _LOG_2_PI),
}

KNOWN_FUNCTIONS = ", ".join(sorted(function.__name__ for function in LOG_SLOPES))


def log_slope(function: Any, x: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the logarithm of the absolute slope of a function at each entry.

    Parameters
    ----------
    function : callable
        Elementwise.
    x : ndarray of any shape
        The rows.

    Returns
    -------
    log_slope : ndarray of the shape of `x`, or None
        None if the slope of the function is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from skflow.preprocessing.functions import log_slope
    >>> log_slope(np.log1p, np.array([0.0, 1.0]))
    array([-0.    , -0.6931...])
    """
    try:
        known = LOG_SLOPES.get(function)
    except TypeError:  # it has no hash
        return None
    if known is None:
        return None
    with np.errstate(divide="ignore"):
        return np.broadcast_to(known(x), x.shape)
