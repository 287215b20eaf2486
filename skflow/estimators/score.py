"""The mean log-density of rows, by which scikit-learn's searches compare densities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin

from skflow._sklearn.validation import as_numpy, row_weights

__all__ = ["ScoredDensityMixin", "mean_log_density"]


class ScoredDensityMixin(DensityMixin):
    """Score a density estimator by the mean of what its ``score_samples`` returns."""

    def score(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean log-density of the rows of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.
        y : object, default=None
            Ignored; here by convention.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Of the rows, in the mean.

        Returns
        -------
        score : float
            In nats per row, in the units of `X`. Higher is better.
        """
        return mean_log_density(as_numpy(self.score_samples(X)), sample_weight)


def mean_log_density(log_density: NDArray[Any], sample_weight: ArrayLike | None = None) -> float:
    """Return the mean of log-densities, by the weights of rows if they have any.

    Parameters
    ----------
    log_density : array of shape (n_samples,)
        Of each row.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        The weights.
    """
    if sample_weight is None:
        return float(np.mean(log_density, dtype=np.float64))
    weights = row_weights(sample_weight, log_density)
    used = weights > 0  # minus infinity times no weight is NaN
    return float(log_density[used] @ (weights[used] / weights.sum()))
