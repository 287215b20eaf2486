"""The share of data in a model's regions of highest density."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from sklearn.utils import check_scalar

from skflow._sklearn.predictive import check_levels
from skflow._sklearn.readable import readable
from skflow.preprocessing.samples import sample_in_original_units

__all__ = ["HighestDensityCoverage", "highest_density_coverage"]


@dataclass(frozen=True)
class HighestDensityCoverage:
    """What :func:`highest_density_coverage` returns.

    Attributes
    ----------
    levels : ndarray of shape (n_levels,)
        The probability of each region under the model.
    coverage : ndarray of shape (n_levels,)
        The share of rows in each region.
    standard_error : ndarray of shape (n_levels,)
        The standard deviation that `coverage` would have if the model were right, from the numbers
        of rows and of samples.
    statistic : float
        The largest difference between the coverage and the level, over all levels: the
        Kolmogorov-Smirnov statistic of the log-densities of rows and samples.
    pvalue : float
        The probability of a difference at least as large if the model is right.
    """

    levels: NDArray[np.float64]
    coverage: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    statistic: float
    pvalue: float


def highest_density_coverage(
    estimator: Any,
    X: Any,
    *,
    levels: Sequence[float] | NDArray[np.float64] = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99),
    n_samples: int = 10_000,
    random_state: Any = None,
) -> HighestDensityCoverage:
    r"""Compare the share of rows in the regions of highest density with the model's own.

    The region of highest density of level q is the smallest that has the probability q under
    the model: it holds the rows whose density is above some threshold [1]_. The same share of
    the data falls into it, if the model is right. Less does if the model is overconfident, which
    is too narrow a density, or one that has fitted its training data too well; more if it is too
    wide.

    Read more in the :ref:`User Guide <diagnostics>`.

    Parameters
    ----------
    estimator : density estimator
        Fitted, with methods ``score_samples`` and ``sample``, such as
        :class:`~skflow.RelativeGradientFlow`, :class:`!sklearn.mixture.GaussianMixture` and
        :class:`!sklearn.neighbors.KernelDensity`; or a search for one, or a Pipeline that ends in
        one and whose other steps have ``inverse_transform``. The regions of a Pipeline are those
        of highest density in the space that its last step sees.
    X : array-like of shape (n_samples_X, n_features)
        Rows that it was not fitted to.
    levels : array-like of shape (n_levels,), default=(0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
        The probabilities of the regions, between 0 and 1.
    n_samples : int, default=10_000
        How many samples of the model the thresholds are found by.
    random_state : int, RandomState instance or None, default=None
        Determines the samples. Pass an int for the same result each time.

    Returns
    -------
    result : HighestDensityCoverage
        With the ``coverage`` of each level and its ``standard_error``, and the ``statistic`` and
        ``pvalue`` of a test whether coverage and level agree, for all levels there are.

    Raises
    ------
    TypeError
        If the estimator lacks one of the methods, or a step of a Pipeline cannot go back.
    ValueError
        If a level is not between 0 and 1, or a log-density is NaN.

    See Also
    --------
    classifier_two_sample_test : Looks at the rows, not only at their densities.

    Notes
    -----
    The threshold of level q is the 1 - q quantile of the log-densities of samples. The p-value
    is that of the two-sample Kolmogorov-Smirnov test between the log-densities of rows and of
    samples, by its asymptotic distribution, so that the number of samples is accounted for.
    What is compared with a uniform variable here, the mass of the smallest region that holds a
    row, is one minus what is known as the Box density ordinate transform [2]_.

    Only the densities of rows are looked at, not where the rows are: a model passes that has a
    part which the data lack, if it is as dense as another, or is too wide in one direction and as
    much too narrow in another. Of a density with plateaus, such as a
    :class:`!sklearn.neighbors.KernelDensity` with a "tophat", the regions are not unique, and
    the coverage may be higher than the level.

    Cost: that of drawing and of scoring `n_samples`, and of scoring `X`.

    References
    ----------
    .. [1] R. J. Hyndman, "Computing and graphing highest density regions", The American
       Statistician 50(2), 1996.
    .. [2] T. Gneiting, L. I. Stanberry, E. P. Grimit, L. Held and N. A. Johnson, "Assessing
       probabilistic forecasts of multivariate quantities", TEST 17, 2008.

    Examples
    --------
    A kernel density with a narrow kernel puts its probability close to the rows that it has
    seen, where new rows are not:

    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.neighbors import KernelDensity
    >>> from skflow.datasets import half_moons
    >>> from skflow.metrics import highest_density_coverage
    >>> X_train, X_test = half_moons().sample(2000, random_state=0).reshape(2, 1000, 2)
    >>> good = GaussianMixture(10, random_state=0).fit(X_train)
    >>> bad = KernelDensity(bandwidth=0.01).fit(X_train)
    >>> for model in (good, bad):
    ...     result = highest_density_coverage(model, X_test, levels=[0.9], random_state=0)
    ...     print(result.coverage.round(1))
    [0.9]
    [0.4]
    """
    if isinstance(estimator, type) or not hasattr(estimator, "score_samples"):
        raise TypeError(
            f"estimator must have a method score_samples and be an instance, got {estimator!r}."
        )
    levels = check_levels(levels)
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    of_rows = _log_density(estimator, X)
    samples = sample_in_original_units(estimator, n_samples, random_state)
    with warnings.catch_warnings():
        # Most samples are arrays, though the estimator was fitted to a frame.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        of_samples = _log_density(estimator, samples)
    thresholds = np.quantile(of_samples, 1 - levels, method="inverted_cdf")
    statistic, pvalue = ks_2samp(of_rows, of_samples, method="asymp")
    return HighestDensityCoverage(
        levels=levels,
        coverage=np.mean(of_rows >= thresholds[:, None], axis=1),
        standard_error=np.sqrt(levels * (1 - levels) * (1 / len(of_rows) + 1 / n_samples)),
        statistic=float(statistic),
        pvalue=float(pvalue),
    )


def _log_density(estimator: Any, rows: Any) -> NDArray[np.float64]:
    log_density = np.asarray(estimator.score_samples(readable(rows)), dtype=np.float64)
    if np.isnan(log_density).any():
        raise ValueError(f"score_samples must give no NaN, but that of {estimator!r} did.")
    return log_density
