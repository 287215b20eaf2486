"""Log-densities of estimators, as every metric of them needs them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["checked_log_density"]


def checked_log_density(scores: Any, estimator: Any) -> NDArray[np.float64]:
    """Return log-densities as an array of float64, if they are such.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
        What ``score_samples`` returned.
    estimator : estimator
        Whose method that is.

    Raises
    ------
    ValueError
        If one is NaN or +inf.
    """
    log_density = np.asarray(scores, dtype=np.float64)
    if np.isnan(log_density).any() or np.isposinf(log_density).any():
        raise ValueError(
            f"score_samples must give neither NaN nor +inf, but that of {estimator!r} did."
        )
    return log_density
