"""Density estimators that are not networks, each with the search that its users make."""

import warnings

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

__all__ = [
    *("GaussianMixtureBIC", "GaussianMixtureHeldOut", "SearchedKernelDensity"),
    *("SheatherJones", "ShrunkGaussian", "Vine"),
]


class GaussianMixtureBIC:
    """A mixture of Gaussians, of as many as the BIC asks for.

    The numbers of components are tried in turn, until some in a row are no better.

    Parameters
    ----------
    random_state : int
    most_components : int, default=40
    patience : int, default=2
        So many in a row end the search.
    covariances : sequence of str, default=("full",)
        The kinds of covariance to choose among, in words of scikit-learn.
    """

    N_COMPONENTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 25, 30, 40)

    def __init__(self, random_state, most_components=40, patience=2, covariances=("full",)):
        self.random_state, self.most_components = random_state, most_components
        self.patience, self.covariances = patience, covariances

    def fit(self, X):
        X = np.asarray(X, float)
        best = np.inf
        for kind in self.covariances:
            least, worse = np.inf, 0
            for n_components in self.N_COMPONENTS:
                if n_components > min(len(X), self.most_components) or worse == self.patience:
                    break
                mixture = GaussianMixture(
                    n_components,
                    covariance_type=kind,
                    max_iter=500,
                    random_state=self.random_state,
                )
                bic = mixture.fit(X).bic(X)
                worse = 0 if bic < least else worse + 1
                least = min(bic, least)
                if bic < best:
                    best, self.mixture_ = bic, mixture
        k, d = self.mixture_.means_.shape
        kind = self.mixture_.covariance_type
        of_covariances = {
            "full": k * d * (d + 1) // 2,
            "tied": d * (d + 1) // 2,
            "diag": k * d,
            "spherical": k,
        }
        self.n_parameters_ = k - 1 + k * d + of_covariances[kind]
        self.n_rows_ = len(X)
        self.detail_ = f"{k} components" + ("" if kind == "full" else f", {kind}")
        return self

    def score_samples(self, X):
        return self.mixture_.score_samples(np.asarray(X, float))


class GaussianMixtureHeldOut:
    """A mixture of Gaussians with full covariances, of as many as a tenth of the rows asks for.

    The best of three starts for each number of components. The rows that chose are not fitted.

    Parameters
    ----------
    random_state : int
    """

    N_COMPONENTS = (2, 5, 8, 12, 16, 20, 25, 30, 40, 50, 65, 80, 100)

    def __init__(self, random_state):
        self.random_state = random_state

    def fit(self, X):
        X = np.random.default_rng(self.random_state).permutation(np.asarray(X, float))
        held_out, X = np.split(X, [len(X) // 10])
        mixtures = [
            GaussianMixture(k, max_iter=300, n_init=3, random_state=self.random_state).fit(X)
            for k in self.N_COMPONENTS
            if k <= len(X) / 3
        ]
        scores = [mixture.score(held_out) for mixture in mixtures]
        self.mixture_ = mixtures[int(np.argmax(scores))]
        k, d = self.mixture_.means_.shape
        self.n_parameters_ = k - 1 + k * d + k * d * (d + 1) // 2
        self.n_rows_ = len(X)
        self.best_validation_score_ = max(scores)
        self.detail_ = f"{k} components"
        return self

    def score_samples(self, X):
        return self.mixture_.score_samples(np.asarray(X, float))


class ShrunkGaussian:
    """A Gaussian whose covariance is shrunk towards a round one, after Ledoit and Wolf."""

    def fit(self, X):
        self.covariance_ = LedoitWolf().fit(np.asarray(X, float))
        self.n_rows_, d = X.shape
        self.n_parameters_ = d + d * (d + 1) // 2
        self.detail_ = f"shrinkage {self.covariance_.shrinkage_:.3g}"
        return self

    def score_samples(self, X):
        mean, covariance = self.covariance_.location_, self.covariance_.covariance_
        return np.atleast_1d(multivariate_normal(mean, covariance).logpdf(np.asarray(X, float)))


class SheatherJones:
    """Gaussian kernels on one column, with the improved bandwidth of Sheather and Jones.

    A plug-in bandwidth after Botev, Grotowski and Kroese (2010), which does not take the density
    to look like a Gaussian. KDEpy finds it as a share of its grid, and multiplies it by the range
    of the rows, which is less: up to version 1.1.12 at least it comes out too small, at less than
    half of what it should be for standard normal rows (its issues 199 and 201).

    Parameters
    ----------
    corrected : bool, default=True
        Whether to undo that. Otherwise, the bandwidth is what KDEpy says.
    """

    # Of rows that are as wide as the first, KDEpy's grid is as wide as the second.
    _RANGE, _GRID = 12.0, 24.0

    def __init__(self, corrected=True):
        self.corrected = corrected

    def fit(self, X):
        from KDEpy.bw_selection import improved_sheather_jones

        X = np.asarray(X, float)
        if self.corrected:
            unit = np.ptp(X) / self._RANGE
            bandwidth = unit * improved_sheather_jones(X / unit) * self._GRID / self._RANGE
        else:
            bandwidth = improved_sheather_jones(X)
        self.kernels_ = KernelDensity(bandwidth=bandwidth, rtol=1e-4).fit(X)
        self.n_rows_, self.n_parameters_ = len(X), X.size
        self.detail_ = f"bandwidth {bandwidth:.3g}"
        return self

    def score_samples(self, X):
        return self.kernels_.score_samples(np.asarray(X, float))


class SearchedKernelDensity:
    """Gaussian kernels, with the bandwidth of the highest leave-one-out likelihood.

    On more than `SEARCH_ROWS` rows, the bandwidth is searched on so many and scaled to the number
    of rows by the usual rate, to the power -1 / (D + 4). At most `FIT_ROWS` rows are fitted.

    Parameters
    ----------
    random_state : int
    narrowest : float, default=0.02
        The narrowest bandwidth that is searched, in standard deviations.
    """

    SEARCH_ROWS = 5000
    FIT_ROWS = 50_000
    WIDEST = 2.0
    STEP = 100 ** (1 / 30)  # from one bandwidth to the next

    def __init__(self, random_state, narrowest=0.02):
        self.random_state, self.narrowest = random_state, narrowest

    def fit(self, X):
        X = np.random.default_rng(self.random_state).permutation(np.asarray(X, float))
        X, searched = X[: self.FIT_ROWS], X[: self.SEARCH_ROWS]
        n_steps = round(np.log(self.WIDEST / self.narrowest) / np.log(self.STEP))
        bandwidths = np.geomspace(self.narrowest, self.WIDEST, n_steps + 1)
        scores = leave_one_out(searched, bandwidths)
        shrink = (len(X) / len(searched)) ** (-1 / (X.shape[1] + 4))
        bandwidth = bandwidths[scores.argmax()] * shrink
        # Densities to one in ten thousand, in a third of the time.
        self.kernels_ = KernelDensity(bandwidth=bandwidth, rtol=1e-4).fit(X)
        self.best_validation_score_ = scores.max()
        self.n_rows_, self.n_parameters_ = len(X), X.size
        self.detail_ = f"bandwidth {bandwidth:.3g}"
        return self

    def score_samples(self, X):
        return self.kernels_.score_samples(np.asarray(X, float))


def leave_one_out(X, bandwidths):
    """Return the mean log-density of the rows under the kernels of all others."""
    n, d = X.shape
    sums = np.zeros(len(bandwidths))
    for start in range(0, n, 500):
        block = X[start : start + 500]
        squares = cdist(block, X, "sqeuclidean")
        squares[np.arange(len(block)), start + np.arange(len(block))] = np.inf
        least = squares.min(1, keepdims=True)
        further = (squares - least).astype(np.float32)  # whose exponentials are much faster
        for k, bandwidth in enumerate(bandwidths):
            rest = np.exp(further * np.float32(-0.5 / bandwidth**2)).sum(1, dtype=float)
            sums[k] += np.log(rest).sum() - 0.5 * least.sum() / bandwidth**2
            sums[k] -= len(block) * d * np.log(bandwidth)
    return sums / n - np.log(n - 1) - 0.5 * d * np.log(2 * np.pi)


class Vine:
    """A vine of nonparametric pair copulas over kernel margins: pyvinecopulib's estimator.

    With its defaults: transformed local likelihood, truncated after twenty trees.

    Parameters
    ----------
    random_state : int
    n_threads : int
    """

    FIT_ROWS = 20_000

    def __init__(self, random_state, n_threads):
        self.random_state, self.n_threads = random_state, n_threads

    def fit(self, X):
        from pyvinecopulib.sklearn import VineDensity

        X = np.random.default_rng(self.random_state).permutation(np.asarray(X, float))
        X = X[: self.FIT_ROWS]
        self.vine_ = VineDensity(random_state=self.random_state, n_jobs=self.n_threads).fit(X)
        self.n_rows_, self.n_parameters_ = len(X), ""
        self.detail_ = "truncated after 20 trees" if X.shape[1] > 21 else ""
        return self

    def score_samples(self, X):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the logarithm of zero
            return self.vine_.score_samples(np.asarray(X, float))
