"""The probability integral transform of targets, and the test whether it is uniform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skflow._sklearn.predictive import ask, like_targets, of_uniform, probabilities, targets
from skflow._sklearn.validation import row_weights

__all__ = ["ProbabilityIntegralTransform", "probability_integral_transform"]


@dataclass(frozen=True)
class ProbabilityIntegralTransform:
    """What :func:`probability_integral_transform` returns.

    Attributes
    ----------
    values : ndarray of shape (n_samples,) or (n_samples, n_targets)
        The predicted probability of a target no larger than the observed one, at each row.
    statistic : float or ndarray of shape (n_targets,)
        The largest difference between the share of values below any level and the level: the
        Kolmogorov-Smirnov statistic.
    pvalue : float or ndarray of shape (n_targets,)
        The probability of a difference at least as large if the model is right.
    """

    values: NDArray[np.float64]
    statistic: float | NDArray[np.float64]
    pvalue: float | NDArray[np.float64]


def probability_integral_transform(
    estimator: Any, X: Any, y: Any, *, sample_weight: Any = None
) -> ProbabilityIntegralTransform:
    """Test the calibration of predictive distributions by their value at the observed targets.

    The distribution function that was predicted for a row, at its target, is uniform between 0 and
    1 over the rows if the model is right [1]_. Values near 0 and 1 are too many if it is
    overconfident, those in the middle if it is too wide, and those on one side if it is biased.

    Read more in the :ref:`User Guide <predictive_distributions>`.

    Parameters
    ----------
    estimator : regressor
        Fitted, with a method ``cdf(X, y)`` that gives P(Y ≤ y | x) for each row; or a search for
        one, or a Pipeline that ends in one.
    X : array-like of shape (n_samples, n_features)
        Rows that it was not fitted to.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Their targets, each of which is tested by itself.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        The weights of rows in the share of values.

    Returns
    -------
    result : ProbabilityIntegralTransform
        With the ``values``, and the ``statistic`` and ``pvalue`` of a Kolmogorov-Smirnov test.

    Raises
    ------
    TypeError
        If the estimator has no method ``cdf``.
    ValueError
        If `X` and `y` do not fit, or what ``cdf`` gives is no probability.

    See Also
    --------
    crps : How sharp the distributions are as well.
    skflow.inspection.PITDisplay : The histogram of the values.

    Notes
    -----
    The test sees the calibration over all rows. A model that ignores `X` passes, if it has the
    distribution of `y`: compare models by :func:`crps` or by log-likelihood, and pass the rows of
    a part of the space to see their calibration alone.

    The p-value supposes independent rows and a continuous target. Where targets repeat, as ratings
    do, a density cannot be calibrated to the last digit, and the test rejects it with enough rows;
    spread such targets by noise of the width of their steps. With weights, the p-value is that of
    as many rows of equal weight as give a mean the same certainty (Kish).

    Cost: that of ``cdf``, and O(n·log n).

    References
    ----------
    .. [1] A. P. Dawid, "Present position and potential developments: some personal views:
       statistical theory: the prequential approach", Journal of the Royal Statistical Society A
       147(2), 1984.

    Examples
    --------
    Two normal distributions about the right mean, of which one is half as wide as it should be:

    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from skflow.metrics import probability_integral_transform
    >>> class Normal:
    ...     def __init__(self, scale):
    ...         self.scale = scale
    ...
    ...     def cdf(self, X, y):
    ...         return norm.cdf(y, loc=X[:, 0], scale=self.scale)
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(size=(1000, 1))
    >>> y = X[:, 0] + rng.normal(size=1000)
    >>> for scale in (1.0, 0.5):
    ...     result = probability_integral_transform(Normal(scale), X, y)
    ...     print(round(result.statistic, 2), result.pvalue > 0.05)
    0.03 True
    0.17 False
    """
    y = targets(y, X)
    values = like_targets(probabilities(ask(estimator, "cdf", X, y), "cdf"), y, "cdf")
    weights = row_weights(sample_weight, y)
    if y.ndim == 1:
        return ProbabilityIntegralTransform(values, *of_uniform(values, weights))
    statistic, pvalue = np.array([of_uniform(column, weights) for column in values.T]).T
    return ProbabilityIntegralTransform(values, statistic, pvalue)
