"""Coverage and width of predicted intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from skflow._sklearn.predictive import ask, check_levels, effective_size, like_targets, targets
from skflow._sklearn.validation import as_numpy, row_weights

__all__ = ["IntervalCoverage", "interval_coverage"]


@dataclass(frozen=True)
class IntervalCoverage:
    """What :func:`interval_coverage` returns.

    Attributes
    ----------
    levels : ndarray of shape (n_levels,)
        The probability that each interval should hold.
    coverage : ndarray of shape (n_levels,) or (n_levels, n_targets)
        The share of rows whose target is in their interval.
    standard_error : ndarray of shape (n_levels,)
        The standard deviation that `coverage` would have if the intervals were right: that of a
        binomial share.
    width : ndarray of shape (n_levels,) or (n_levels, n_targets)
        The mean width of the intervals, in the units of the target.
    """

    levels: NDArray[np.float64]
    coverage: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    width: NDArray[np.float64]

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        intervals: Sequence[Any] | NDArray[Any],
        *,
        levels: Sequence[float] | NDArray[np.float64],
        sample_weight: Any = None,
    ) -> Self:
        """Compare intervals that were predicted before with targets.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
            The targets.
        intervals : sequence of array-like of shape (n_samples, 2) or (n_samples, n_targets, 2)
            For each level the lower and the upper bound at each row. Bounds may be infinite.
        levels : array-like of shape (n_levels,)
            The probabilities that the intervals should hold.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            The weights of rows.

        Returns
        -------
        result : IntervalCoverage
            Coverage and width of each level.

        Raises
        ------
        ValueError
            If there is not one array of intervals for each level, or they do not fit the targets.
        """
        y = targets(y_true, name="y_true")
        levels = check_levels(levels)
        weights = row_weights(sample_weight, y)
        if issparse(intervals) or not hasattr(intervals, "__len__"):
            raise TypeError(f"intervals must be a sequence of arrays, got {intervals!r}.")
        if len(intervals) != len(levels):
            raise ValueError(
                f"intervals must hold one array for each of {len(levels)} levels, "
                f"got {len(intervals)}."
            )
        used = weights > 0  # an infinite width times no weight is NaN
        coverage: list[Any] = []
        width: list[Any] = []
        for each in intervals:
            bounds = like_targets(as_numpy(each), y, "intervals", 2).astype(np.float64)
            if np.isnan(bounds).any():
                raise ValueError("intervals must have no NaN.")
            lower, upper = bounds[..., 0], bounds[..., 1]
            of_rows = (lower <= y) & (y <= upper), np.maximum(upper - lower, 0)
            for means, values in zip((coverage, width), of_rows, strict=True):
                means.append(np.average(values[used], axis=0, weights=weights[used]))
        standard_error = np.sqrt(levels * (1 - levels) / effective_size(weights))
        return cls(levels, np.array(coverage), standard_error, np.array(width))


def interval_coverage(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    levels: Sequence[float] | NDArray[np.float64] = (0.5, 0.8, 0.9, 0.95),
    sample_weight: Any = None,
) -> IntervalCoverage:
    r"""Compare the share of targets in predicted intervals with the share that should be there.

    Of two models whose coverage is right, that with the narrower intervals knows more. A narrow
    interval that holds too few targets is overconfident.

    Read more in the :ref:`User Guide <predictive_distributions>`.

    Parameters
    ----------
    estimator : regressor
        Fitted, with a method ``predict_interval(X, coverage)`` that gives the lower and the upper
        bound for each row; or a search for one, or a Pipeline that ends in one. For those with
        other methods, see :meth:`IntervalCoverage.from_predictions`.
    X : array-like of shape (n_samples, n_features)
        Rows that it was not fitted to.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Their targets, each of which has intervals of its own.
    levels : array-like of shape (n_levels,), default=(0.5, 0.8, 0.9, 0.95)
        The probabilities that the intervals should hold, between 0 and 1.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        The weights of rows in coverage and width.

    Returns
    -------
    result : IntervalCoverage
        With the ``coverage`` of each level, its ``standard_error`` and the mean ``width``.

    Raises
    ------
    TypeError
        If the estimator has no method ``predict_interval``.
    ValueError
        If a level is not between 0 and 1, `X` and `y` do not fit, or a bound is NaN.

    See Also
    --------
    probability_integral_transform : All levels together, with a test.
    highest_density_coverage : Of a density without targets.

    Notes
    -----
    The standard error is :math:`\sqrt{q(1 - q) / n}` at level q for n rows, and with weights w,
    for :math:`n = (\sum w)^2 / \sum w^2` (Kish). It is that of the rows alone: intervals that are
    calibrated on m held-out rows have a coverage of their own, which differs from the level by
    about :math:`\sqrt{q(1 - q) / m}`.

    Coverage over all rows says nothing about some of them. Pass those of a part of the space to
    see theirs.

    Cost: that of ``predict_interval`` for each level.

    Examples
    --------
    Normal distributions of the right width, and of 0.8 of it:

    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from skflow.metrics import interval_coverage
    >>> class Normal:
    ...     def __init__(self, scale):
    ...         self.scale = scale
    ...
    ...     def predict_interval(self, X, coverage):
    ...         return np.transpose(norm.interval(coverage, loc=X[:, 0], scale=self.scale))
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(size=(1000, 1))
    >>> y = X[:, 0] + rng.normal(size=1000)
    >>> for scale in (1.0, 0.8):
    ...     result = interval_coverage(Normal(scale), X, y, levels=[0.5, 0.9])
    ...     print(result.coverage.round(2), result.width.round(1))
    [0.48 0.89] [1.3 3.3]
    [0.39 0.8 ] [1.1 2.6]
    """
    y = targets(y, X)
    levels = check_levels(levels)
    intervals = [ask(estimator, "predict_interval", X, float(level)) for level in levels]
    return IntervalCoverage.from_predictions(
        y, intervals, levels=levels, sample_weight=sample_weight
    )
