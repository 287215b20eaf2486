"""Whether a table has changed, and which of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp
from sklearn.utils import check_random_state, check_scalar

from skflow._sklearn.codes import CategoryCoder
from skflow.metrics.classifier import told_apart

__all__ = ["DriftResult", "drift"]

# Expected rows in a cell, below which the chi-squared distribution is not to be trusted.
_LEAST_EXPECTED = 5


@dataclass(frozen=True)
class DriftResult:
    """What :func:`drift` returns.

    Attributes
    ----------
    statistic : float
        How well a classifier tells the samples apart by all columns together: the area under its
        ROC curve on rows that it has not seen, 0.5 by chance.
    pvalue : float
        The probability of a statistic at least this high if nothing has changed.
    columns : list of shape (n_features,)
        The names of the columns if there are any, else their positions.
    column_statistic : ndarray of shape (n_features,)
        How far each column has moved by itself, from 0 to 1: the largest difference of
        probabilities that the samples give to the same event. For numbers the events are those of
        being at most some value; for categories all there are.
    column_pvalue : ndarray of shape (n_features,)
        The probability of a column's statistic, or of one that says as much, if the column has
        not changed. Each is for its column alone: multiply by the number of columns to ask
        whether *any* has moved.
    """

    statistic: float
    pvalue: float
    columns: list[Any]
    column_statistic: NDArray[np.float64]
    column_pvalue: NDArray[np.float64]


def drift(
    X: Any, Y: Any, *, classifier: Any = None, n_folds: int = 5, random_state: Any = None
) -> DriftResult:
    """Test whether two tables have the same distribution, as a whole and column by column.

    The tables may be frames with categories, dates and missing entries. As a whole they are
    compared by :func:`classifier_two_sample_test`, which sees changes of how columns depend on
    each other, too. Each column is then compared by itself, so that what has moved is seen. If
    the whole has changed, and no column has, it is their dependence.

    Read more in the :ref:`User Guide <drift>`.

    Parameters
    ----------
    X : array-like of shape (n_samples_X, n_features)
        One table, such as the data that a model was fitted to: an array of numbers, or a frame.
        NaN, None and the missing values of frames are a value like others.
    Y : array-like of shape (n_samples_Y, n_features)
        The other one, such as data of today, with the same columns.
    classifier : classifier, default=None
        As :func:`classifier_two_sample_test` takes it. It is given numbers: categories as codes,
        dates in seconds, and NaN for what is missing. None is
        :class:`!sklearn.ensemble.HistGradientBoostingClassifier` with 50 trees of 8 leaves, which
        is told what is a category.
    n_folds : int, default=5
        The number of parts that the rows are divided into, as for
        :func:`classifier_two_sample_test`.
    random_state : int, RandomState instance or None, default=None
        Determines the parts, and the classifier if it is None. Pass an int for the same result
        each time.

    Returns
    -------
    result : DriftResult
        With the ``statistic`` and the ``pvalue`` of the whole, and for each of the ``columns`` its
        ``column_statistic`` and ``column_pvalue``.

    Raises
    ------
    ValueError
        If the tables have different columns, or one has fewer rows than there are folds.

    See Also
    --------
    skflow.DensityRatio : How much likelier a row is in one table than in the other.
    classifier_two_sample_test : The test of the whole, for arrays without holes.

    Notes
    -----
    Columns of numbers are compared by the Kolmogorov-Smirnov test, with what is missing above all
    numbers. Its p-value is too high where values repeat. Columns of categories are compared by
    Pearson's chi-squared test, what is missing being a category, and those of which fewer than
    five rows are expected in a table being one together. Their statistic is the total variation
    distance between the shares of categories. By chance it is above zero, all the more with few
    rows and many categories: ask the p-value whether it is more than that.

    The rows must be independent draws. In time series rows vouch for their neighbours, and the
    p-values are too low.

    Cost: `n_folds` - 1 fits of the classifier, and O(N log N) for each column.

    Examples
    --------
    The spread of one column and the shares of a category change:

    >>> import numpy as np
    >>> import pandas as pd
    >>> from skflow.metrics import drift
    >>> rng = np.random.default_rng(0)
    >>> def table(spread, shares):
    ...     return pd.DataFrame({
    ...         "height": rng.normal(170, 10, 500),
    ...         "income": rng.lognormal(8, spread, 500),
    ...         "town": rng.choice(["A", "B", "C"], 500, p=shares),
    ...     })
    >>> result = drift(table(1, [.5, .3, .2]), table(2, [.2, .3, .5]), random_state=0)
    >>> print(f"{result.statistic:.1f}", result.pvalue < 1e-6)
    0.8 True
    >>> for column, moved, pvalue in zip(
    ...     result.columns, result.column_statistic, result.column_pvalue
    ... ):
    ...     print(f"{column:8}{moved:.1f}", pvalue < 0.001)
    height  0.0 False
    income  0.2 True
    town    0.3 True
    """
    check_scalar(n_folds, "n_folds", Integral, min_val=2)
    coder = CategoryCoder().fit(X, Y)
    first, second = coder.transform(X), coder.transform(Y)
    if min(len(first), len(second)) < n_folds:
        raise ValueError(
            f"X and Y must have at least {n_folds} rows each, got {len(first)} in X and "
            f"{len(second)} in Y."
        )
    rng = check_random_state(random_state)
    is_category = coder.is_category_
    seen = [first, second] if classifier is not None else [*map(coder.filled, (first, second))]
    whole = told_apart(seen[0], seen[1], classifier, n_folds, rng, is_category=is_category)
    by_column = [
        (_categories if category else _numbers)(x, y)
        for x, y, category in zip(first.T, second.T, is_category, strict=True)
    ]
    names = getattr(coder, "feature_names_in_", range(coder.n_features_in_))
    statistic, pvalue = np.array(by_column, dtype=np.float64).T
    return DriftResult(whole.statistic, whole.pvalue, list(names), statistic, pvalue)


def _numbers(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov statistic and its p-value, what is missing being highest."""
    x, y = (np.where(np.isnan(column), np.inf, column) for column in (x, y))
    result = ks_2samp(x, y, method="asymp")
    return result.statistic, result.pvalue


def _categories(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Return the total variation distance of codes, and the p-value of the chi-squared test."""
    levels, codes = np.unique(np.concatenate([x, y]), return_inverse=True)  # NaN is one of them
    counts = np.array(
        [np.bincount(part, minlength=len(levels)) for part in (codes[: len(x)], codes[len(x) :])]
    )
    distance = 0.5 * abs(counts[0] / len(x) - counts[1] / len(y)).sum()
    expected = counts.sum(axis=0) * min(len(x), len(y)) / (len(x) + len(y))
    rare = expected < _LEAST_EXPECTED
    pooled = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    pvalue = chi2_contingency(pooled, correction=False).pvalue if pooled.shape[1] > 1 else 1.0
    return distance, pvalue
