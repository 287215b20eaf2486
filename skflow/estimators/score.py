"""The mean log-density of rows, by which scikit-learn's searches compare densities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import DensityMixin

from skflow._sklearn.validation import as_numpy, row_weights

__all__ = ["ScoredDensityMixin"]


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
        log_density = as_numpy(self.score_samples(X))
        if sample_weight is None:
            return float(np.mean(log_density, dtype=np.float64))
        return float(np.average(log_density, weights=row_weights(sample_weight, log_density)))
