"""Densities to draw from where another is to be integrated."""

from __future__ import annotations

import warnings
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

__all__ = ["DefensiveMixture"]

Floats = NDArray[np.float64]

# What a component is split into: its share, its degrees of freedom, and its variances' factor.
_PARTS = ((0.5, np.inf, 1.15), (0.4, 5.0, 1.0))

# The share of one component as wide as all rows together, and likewise.
_WIDE_SHARE, _WIDE_DF, _WIDE_FACTOR = 0.1, 3.0, 2.0

# Of more rows, some are enough. A component has so many rows for each of its columns.
_MOST_ROWS, _ROWS_OF_COLUMN = 5000, 10
_SIZES = (1, 2, 4, 8, 16)
_LEAST_VARIANCE = 1e-3


class DefensiveMixture:
    """A mixture about as wide as the rows, each of whose components is normal and Student's t.

    A tenth of it is as wide as all rows together, so that it has probability wherever another
    density of such rows may have some. BIC sets the number of components.
    """

    def fit(self, X: Floats, random_state: np.random.RandomState) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Two rows at least.
        random_state : RandomState instance
            Where the randomness comes from.

        Returns
        -------
        self : DefensiveMixture
            The fitted mixture.
        """
        X = X[random_state.permutation(len(X))[:_MOST_ROWS]]
        self._shift, scale = X.mean(0), X.std(0)
        self._scale = np.where(scale > 0, scale, 1.0)
        standard = (X - self._shift) / self._scale
        mixture = self._likeliest(standard, random_state)
        covariance = np.cov(standard.T, bias=True).reshape(2 * standard.shape[1:])
        covariance = covariance + _LEAST_VARIANCE * np.eye(standard.shape[1])
        parts = [
            (share * weight, mean, factor * each, df)
            for share, df, factor in _PARTS
            for weight, mean, each in zip(
                mixture.weights_, mixture.means_, mixture.covariances_, strict=True
            )
        ]
        parts.append((_WIDE_SHARE, np.zeros(len(covariance)), _WIDE_FACTOR * covariance, _WIDE_DF))
        self._weights = np.array([part[0] for part in parts])
        self._weights /= self._weights.sum()
        self._means = np.array([part[1] for part in parts])
        self._roots = np.linalg.cholesky(np.array([part[2] for part in parts]))
        self._df = np.array([part[3] for part in parts])
        return self

    def sample(self, n_samples: int, random_state: np.random.RandomState) -> Floats:
        """Draw rows.

        Parameters
        ----------
        n_samples : int
            How many.
        random_state : RandomState instance
            Where the randomness comes from.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            The rows.
        """
        chosen = random_state.choice(len(self._weights), n_samples, p=self._weights)
        z = random_state.standard_normal((n_samples, self._means.shape[1]))
        df = np.where(np.isinf(self._df), 1.0, self._df)[chosen]
        spread = np.sqrt(df / random_state.chisquare(df))
        z *= np.where(np.isinf(self._df[chosen]), 1.0, spread)[:, None]
        for k, root in enumerate(self._roots):
            z[chosen == k] = self._means[k] + z[chosen == k] @ root.T
        return self._shift + self._scale * z

    def log_density(self, X: Floats) -> Floats:
        """Return the log-density of rows.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats.
        """
        standard = (X - self._shift) / self._scale
        each = [
            np.log(weight) + _log_t(np.linalg.solve(root, (standard - mean).T), root, df)
            for weight, mean, root, df in zip(
                self._weights, self._means, self._roots, self._df, strict=True
            )
        ]
        log_density: Floats = logsumexp(each, axis=0) - np.log(self._scale).sum()
        return log_density

    def _likeliest(self, X: Floats, random_state: np.random.RandomState) -> GaussianMixture:
        sizes = [k for k in _SIZES if k == 1 or k * _ROWS_OF_COLUMN * X.shape[1] <= len(X)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fits = [
                GaussianMixture(k, reg_covar=_LEAST_VARIANCE, random_state=random_state).fit(X)
                for k in sizes
            ]
        return min(fits, key=lambda fit: fit.bic(X))


def _log_t(z: Floats, root: Floats, df: float) -> Floats:
    """Return the log-density of Student's t, or of a normal one, at whitened rows (D, N)."""
    d, squares = len(z), (z**2).sum(0)
    log_det = np.log(root.diagonal()).sum()
    if np.isinf(df):
        return -0.5 * squares - log_det - 0.5 * d * np.log(2 * np.pi)
    constant = gammaln(0.5 * (df + d)) - gammaln(0.5 * df) - 0.5 * d * np.log(df * np.pi)
    log_density: Floats = constant - log_det - 0.5 * (df + d) * np.log1p(squares / df)
    return log_density
