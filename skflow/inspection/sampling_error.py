"""What sampling error allows a share of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

__all__ = ["CONFIDENCE", "band"]

# Of the bands that are drawn, at each point by itself.
CONFIDENCE = 0.95


def band(probability: Any, n_rows: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the range of the share of rows that meet what each meets with a probability.

    Parameters
    ----------
    probability : float or ndarray
        The probability.
    n_rows : float
        The number of independent rows.

    Returns
    -------
    low, high : ndarrays of the shape of `probability`
        The quantiles of the share that leave the same probability out on both sides.
    """
    n = max(1, round(n_rows))
    tail = 0.5 * (1 - CONFIDENCE)
    low, high = (binom.ppf(level, n, probability) / n for level in (tail, 1 - tail))
    return np.asarray(low), np.asarray(high)
