"""How rare a score is among those of rows that were held out: conformal prediction.

After V. Vovk, A. Gammerman and G. Shafer, "Algorithmic Learning in a Random World", Springer 2005.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["central_distances", "n_as_low", "n_refused", "p_values"]


def n_as_low(scores: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return how many calibration scores are as low as each score.

    Parameters
    ----------
    scores : array of shape (n_samples,)
        Low scores are rare.
    calibration : array of shape (n_calibration,)
        Those of rows that were held out.
    """
    return np.searchsorted(np.sort(calibration), scores, side="right")


def p_values(scores: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return the p-value of each score, :math:`(1 + \#\{j : s_j \le s\}) / (1 + n)`.

    Of rows that are like the calibration rows, no more than a share of `p` has a p-value of `p` or
    less, if no calibration row was fitted.

    Parameters
    ----------
    scores : array of shape (n_samples,)
        Low scores are rare.
    calibration : array of shape (n_calibration,)
        Those of rows that were held out.
    """
    return (1 + n_as_low(scores, calibration)) / (1 + len(calibration))


def n_refused(share: float, n_calibration: int) -> int:
    """Return how many of the calibration scores, the lowest ones, have p-values up to a share.

    Parameters
    ----------
    share : float
        Between 0 and 1.
    n_calibration : int
        The number of scores.
    """
    n = n_calibration
    return int(np.count_nonzero(np.arange(1, n + 1) / (n + 1) <= share))


def central_distances(scores: NDArray[np.float64], coverage: float) -> NDArray[np.float64]:
    """Return how far from the median central intervals reach, as probabilities.

    Parameters
    ----------
    scores : array of shape (n_calibration, n_targets)
        How far from one half the distribution functions of held-out rows are. High scores are
        rare.
    coverage : float
        The share of rows to cover, between 0 and 1.

    Returns
    -------
    distances : array of shape (n_targets,)
        One half, which is the whole line, if there are too few scores.
    """
    n_outside = n_refused(1 - coverage, len(scores))
    if not n_outside:
        return np.full(scores.shape[1], 0.5)
    return np.sort(scores, axis=0)[-n_outside]
