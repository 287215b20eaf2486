"""The densities that an ensemble consists of by default, and what those beside flows are."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp
from sklearn import config_context
from sklearn.base import BaseEstimator, DensityMixin, TransformerMixin
from sklearn.covariance import ledoit_wolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from skflow._sklearn.validation import as_numpy, rows
from skflow.estimators.density import RelativeGradientFlow
from skflow.preprocessing import sample_in_original_units

__all__ = [
    "MixtureByBIC",
    "SearchedKernelDensity",
    "ShrunkWhitening",
    "StandardNormal",
    "default_members",
]

# What is added to the variances of standardised columns. Without it, values that repeat would
# have a density without bound.
_LEAST_VARIANCE = 1e-3

_COVARIANCE_TYPES = ("full", "tied", "diag")
_NUMBERS_OF_COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16)
_MOST_STEPS = 200

# In standard deviations of whitened rows.
_BANDWIDTHS = np.geomspace(0.03, 1.5, 24)
_MOST_ROWS_TO_SEARCH = 1000


def default_members() -> list[tuple[str, Any]]:
    """Return the members of an ensemble that names none: flows, and what few rows may call for.

    Returns
    -------
    members : list of (str, estimator)
        All but the flows are Pipelines, which take the columns as they are.
    """
    return [
        ("flow", RelativeGradientFlow()),
        ("heavy_tailed_flow", RelativeGradientFlow(base_distribution="student_t")),
        ("gaussian", make_pipeline(StandardScaler(), ShrunkWhitening(), StandardNormal())),
        ("mixture", make_pipeline(StandardScaler(), MixtureByBIC())),
        ("kernel", make_pipeline(StandardScaler(), ShrunkWhitening(), SearchedKernelDensity())),
    ]


class ShrunkWhitening(TransformerMixin, BaseEstimator):
    """Make columns uncorrelated, by a covariance that is shrunk as Ledoit and Wolf say.

    So there are as many latents as columns, also of fewer rows than these. Cost: O(N·D² + D³).
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Estimate the covariance of standardised rows, and factorise it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Standardised rows.
        y : object, default=None
            Ignored; here by convention.

        Returns
        -------
        self : ShrunkWhitening
            The fitted transformer.
        """
        X = _numbers(self, X, fitting=True)
        covariance, _ = ledoit_wolf(X)
        self.mean_ = X.mean(axis=0)
        self.factor_ = np.linalg.cholesky(covariance + _LEAST_VARIANCE * np.eye(X.shape[1]))
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Whiten rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Standardised rows.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
            Their covariance is about the identity.
        """
        centred = _numbers(self, X) - self.mean_
        white: NDArray[np.float64] = solve_triangular(self.factor_, centred.T, lower=True).T
        return white

    def inverse_transform(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the rows that :meth:`transform` maps to these.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            White rows.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Standardised rows.
        """
        coloured: NDArray[np.float64] = X @ self.factor_.T + self.mean_
        return coloured

    def log_abs_det_jacobian(self, X: Any) -> NDArray[np.float64]:
        """Return the log-determinant of the Jacobian of :meth:`transform`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Standardised rows.

        Returns
        -------
        log_det : ndarray of shape (n_samples,)
            In nats, the same for each row.
        """
        return np.full(len(X), -np.log(np.diag(self.factor_)).sum())


class StandardNormal(DensityMixin, BaseEstimator):
    """A normal density of independent columns, with zero means and unit variances."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Count the columns; there is nothing to estimate.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            White rows.
        y : object, default=None
            Ignored; here by convention.

        Returns
        -------
        self : StandardNormal
            The fitted density.
        """
        _numbers(self, X, fitting=True)
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the log-density at each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            White rows.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats.
        """
        X = _numbers(self, X)
        log_density: NDArray[np.float64] = -0.5 * (
            (X**2).sum(axis=1) + X.shape[1] * math.log(2 * math.pi)
        )
        return log_density

    def sample(self, n_samples: int = 1, random_state: Any = None) -> NDArray[np.float64]:
        """Draw rows.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        random_state : int, RandomState instance or None, default=None
            Determines the rows.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            White rows.
        """
        rng = check_random_state(random_state)
        return np.asarray(rng.standard_normal((n_samples, self.n_features_in_)))


class _ChosenDensity(DensityMixin, BaseEstimator):
    """Scores and samples by the density of scikit-learn that ``fit`` chose."""

    @property
    @abstractmethod
    def _density(self) -> Any:
        """The fitted density."""

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the log-density at each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of the kind that ``fit`` took.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats.
        """
        log_density: NDArray[np.float64] = self._density.score_samples(_numbers(self, X))
        return log_density

    def sample(self, n_samples: int = 1, random_state: Any = None) -> NDArray[np.float64]:
        """Draw rows.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        random_state : int, RandomState instance or None, default=None
            Determines the rows.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows of the kind that ``fit`` took.
        """
        return sample_in_original_units(self._density, n_samples, random_state)


class MixtureByBIC(_ChosenDensity):
    """A mixture of normal densities of standardised rows, the one with the lowest BIC.

    Covariances are full, the same for all components, or diagonal. Of each kind, the number of
    components rises until two in turn are worse than those before them. Cost: O(N·K·D² + K·D³) a
    step of expectation maximisation, for K components.

    Parameters
    ----------
    random_state : int, RandomState instance or None, default=None
        Determines where the mixtures start.

    Attributes
    ----------
    mixture_ : GaussianMixture
        The best one.
    """

    def __init__(self, random_state: Any = None) -> None:
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit mixtures, and keep the best.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Standardised rows.
        y : object, default=None
            Ignored; here by convention.

        Returns
        -------
        self : MixtureByBIC
            The fitted density.
        """
        X = _numbers(self, X, fitting=True)
        rng = check_random_state(self.random_state)
        sizes = [k for k in _NUMBERS_OF_COMPONENTS if 2 * k <= len(X)]
        lowest = math.inf
        for covariance_type in _COVARIANCE_TYPES:
            previous, n_worse = math.inf, 0
            for n_components in sizes:
                mixture, bic = _mixture_and_bic(X, n_components, covariance_type, rng)
                if bic < lowest:
                    lowest, self.mixture_ = bic, mixture
                n_worse = n_worse + 1 if bic > previous else 0
                if n_worse == 2:
                    break
                previous = bic
        return self

    @property
    def _density(self) -> GaussianMixture:
        return self.mixture_


class SearchedKernelDensity(_ChosenDensity):
    """A kernel density of white rows, with the bandwidth by which others make a row likeliest.

    Of many rows, a thousand choose it, evenly spread. Cost: O(N·D) for each of them.

    Attributes
    ----------
    kernels_ : KernelDensity
        The density.
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Choose the bandwidth.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            White rows.
        y : object, default=None
            Ignored; here by convention.

        Returns
        -------
        self : SearchedKernelDensity
            The fitted density.
        """
        X = _numbers(self, X, fitting=True)
        self.kernels_ = KernelDensity(bandwidth=_best_bandwidth(X)).fit(X)
        return self

    @property
    def _density(self) -> KernelDensity:
        return self.kernels_


def _numbers(estimator: Any, X: Any, *, fitting: bool = False) -> NDArray[np.float64]:
    """Check rows, and return them as an array of NumPy in double precision."""
    least = 2 if fitting else 1
    checked = as_numpy(rows(estimator, X, fitting=fitting, least=least))
    return checked.astype(np.float64, copy=False)


def _mixture_and_bic(
    X: NDArray[np.float64], n_components: int, covariance_type: str, rng: np.random.RandomState
) -> tuple[GaussianMixture, float]:
    mixture = GaussianMixture(
        n_components,
        covariance_type=covariance_type,
        reg_covar=_LEAST_VARIANCE,
        max_iter=_MOST_STEPS,
        random_state=rng.randint(np.iinfo(np.int32).max),
    )
    # The rows are an array of NumPy, and for no other does a mixture start from clusters.
    with config_context(array_api_dispatch=False), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is a density nonetheless
        mixture.fit(X)
        return mixture, float(mixture.bic(X))


def _best_bandwidth(X: NDArray[np.float64]) -> float:
    """Return the bandwidth by which the other rows make a row likeliest, on average."""
    n_rows, n_features = X.shape
    scored = np.linspace(0, n_rows - 1, min(n_rows, _MOST_ROWS_TO_SEARCH)).astype(int)
    norms = (X**2).sum(axis=1)
    scores = -len(scored) * n_features * np.log(_BANDWIDTHS)
    for i in np.array_split(scored, math.ceil(len(scored) * n_rows / 1e6)):
        squares = (norms[i, None] + norms - 2 * X[i] @ X.T).clip(0)
        squares[np.arange(len(i)), i] = np.inf  # no row foretells itself
        for k, bandwidth in enumerate(_BANDWIDTHS):
            scores[k] += logsumexp(-0.5 * squares / bandwidth**2, axis=1).sum()
    return float(_BANDWIDTHS[scores.argmax()])
