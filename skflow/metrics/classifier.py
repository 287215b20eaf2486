"""The test whether a classifier can tell two samples apart."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata, tiecorrect
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.utils import check_random_state, check_scalar

from skflow._sklearn.validation import two_samples
from skflow.metrics.results import TwoSampleTestResult

__all__ = ["classifier_two_sample_test", "told_apart"]


def classifier_two_sample_test(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    classifier: Any = None,
    n_folds: int = 5,
    random_state: Any = None,
) -> TwoSampleTestResult:
    r"""Test whether a classifier can tell two samples apart, such as data and a model's samples.

    If both have the same distribution, no classifier is better than chance on rows that it has
    not seen [1]_. Here the area under its ROC curve says how good it is: the probability that it
    finds a row of `X` likelier to be of `X` than a row of `Y`. That is 0.5 by chance, whatever the
    numbers of rows, and needs no threshold.

    Read more in the :ref:`User Guide <diagnostics>`.

    Parameters
    ----------
    X : array-like of shape (n_samples_X, n_features)
        Rows of data. For the test of a model, ones that it was not fitted to.
    Y : array-like of shape (n_samples_Y, n_features)
        Samples of the model. As many as there are rows in `X` will do.
    classifier : classifier, default=None
        With a method ``decision_function`` or ``predict_proba``. None is
        :class:`!sklearn.ensemble.HistGradientBoostingClassifier` with 50 trees of 8 leaves.
    n_folds : int, default=5
        The number of parts that the rows are divided into at random. Each but the first is told
        apart by a classifier that has learned from the parts before it.
    random_state : int, RandomState instance or None, default=None
        Determines the folds, and the classifier if it is None. Pass an int for the same result
        each time.

    Returns
    -------
    result : TwoSampleTestResult
        Its ``statistic`` is the area under the ROC curve, the mean over the folds: 0.5 by chance,
        1 if the samples are told apart without an error. Its ``pvalue`` is one-sided.

    Raises
    ------
    TypeError
        If the classifier has no ``fit`` or neither of both methods, or knows no two classes.
    ValueError
        If `X` and `Y` have different columns, or one has fewer rows than there are folds.

    See Also
    --------
    energy_two_sample_test : A test with nothing to train, for smooth differences in few columns.
    highest_density_coverage : Asks whether the density of the rows is as the model has it.

    Notes
    -----
    A fold's rows are exchangeable under the null hypothesis, given the folds before. So its area
    has the distribution of a Mann-Whitney statistic, whatever the classifier is. The sum over the
    folds is compared with a normal distribution of its exact variance, ties included, which is
    accurate from two rows of each sample in a fold. This is *progressive* validation [2]_. In
    cross-validation each row is predicted by what was learned from others, and these by what was
    learned from it: folds depend on each other, and a p-value that takes them for independent is
    too small.

    The first classifiers learn from few rows. For an estimate of how well the samples can be told
    apart, which is higher than `statistic`, use :func:`!sklearn.model_selection.cross_val_score`;
    for the rows that give them away, :func:`!sklearn.model_selection.cross_val_predict`.

    Cost: `n_folds` - 1 fits of the classifier.

    References
    ----------
    .. [1] D. Lopez-Paz and M. Oquab, "Revisiting classifier two-sample tests", ICLR 2017.
    .. [2] A. Blum, A. Kalai and J. Langford, "Beating the hold-out: bounds for k-fold and
       progressive cross-validation", COLT 1999.

    Examples
    --------
    A mixture of 10 Gaussians is a good model of two half moons, and a single one is not:

    >>> from sklearn.mixture import GaussianMixture
    >>> from skflow.datasets import half_moons
    >>> from skflow.metrics import classifier_two_sample_test
    >>> X_train, X_test = half_moons().sample(2000, random_state=0).reshape(2, 1000, 2)
    >>> good = GaussianMixture(10, random_state=0).fit(X_train)
    >>> bad = GaussianMixture(1, random_state=0).fit(X_train)
    >>> for model in (good, bad):
    ...     samples, _ = model.sample(1000)
    ...     result = classifier_two_sample_test(X_test, samples, random_state=0)
    ...     print(f"{result.statistic:.1f}", result.pvalue < 0.001)
    0.5 False
    0.8 True
    """
    check_scalar(n_folds, "n_folds", Integral, min_val=2)
    X, Y = two_samples(X, Y, least=n_folds)
    return told_apart(X, Y, classifier, n_folds, check_random_state(random_state))


def told_apart(
    X: NDArray[np.float64],
    Y: NDArray[np.float64],
    classifier: Any,
    n_folds: int,
    rng: np.random.RandomState,
    *,
    is_category: NDArray[np.bool_] | None = None,
) -> TwoSampleTestResult:
    """Test two samples as :func:`classifier_two_sample_test` does, checked already.

    Parameters
    ----------
    X : ndarray of shape (n_samples_X, n_features)
        As many rows as folds at least, in which NaN stands for what is missing.
    Y : ndarray of shape (n_samples_Y, n_features)
        As many rows as folds at least.
    classifier : classifier or None
        None is :class:`!sklearn.ensemble.HistGradientBoostingClassifier`.
    n_folds : int
        The number of parts, 2 or more.
    rng : RandomState
        Determines the folds, and the classifier if it is None.
    is_category : ndarray of shape (n_features,), default=None
        Which columns hold codes of categories: for the classifier that None is.
    """
    rows = np.concatenate([X, Y])
    is_data = np.repeat([1, 0], [len(X), len(Y)])
    fold = np.concatenate([rng.permutation(np.arange(len(Z)) % n_folds) for Z in (X, Y)])
    if classifier is None:
        classifier = HistGradientBoostingClassifier(
            max_iter=50,
            max_leaf_nodes=8,
            early_stopping=False,
            categorical_features=is_category,
            random_state=rng.randint(np.iinfo(np.int32).max),
        )
    if not hasattr(classifier, "fit"):
        raise TypeError(f"classifier must have a method fit, got {classifier!r}, which has none.")

    areas, variances = np.empty((2, n_folds - 1))
    for k in range(1, n_folds):
        before, tested = fold < k, fold == k
        fitted = clone(classifier).fit(rows[before], is_data[before])
        areas[k - 1], variances[k - 1] = _area_under_roc_curve(
            is_data[tested], _scores(fitted, rows[tested])
        )
    statistic = areas.mean()
    standard_error = np.sqrt(variances.sum()) / len(areas)
    # Scores that are all tied leave no other outcome than chance.
    pvalue = norm.sf((statistic - 0.5) / standard_error) if standard_error > 0 else 1.0
    return TwoSampleTestResult(float(statistic), float(pvalue))


def _scores(classifier: Any, rows: NDArray[np.float64]) -> NDArray[Any]:
    """Return how likely a classifier finds each row to be of class 1, on some scale."""
    if hasattr(classifier, "decision_function"):
        return np.asarray(classifier.decision_function(rows))
    if hasattr(classifier, "predict_proba"):
        probabilities = np.asarray(classifier.predict_proba(rows))
        if probabilities.shape != (len(rows), 2):
            raise TypeError(
                f"classifier must give the probabilities of 2 classes, got {classifier!r}, whose "
                f"predict_proba has the shape {probabilities.shape} for {len(rows)} rows."
            )
        return probabilities[:, 1]
    raise TypeError(
        "classifier must have a method decision_function or predict_proba, "
        f"got {classifier!r}, which has neither."
    )


def _area_under_roc_curve(is_data: NDArray[np.int_], scores: NDArray[Any]) -> tuple[float, float]:
    """Return the area, and its variance over all ways to assign the classes to the scores."""
    ranks = rankdata(scores)
    n, m = np.count_nonzero(is_data == 1), np.count_nonzero(is_data == 0)
    area = (ranks[is_data == 1].sum() - n * (n + 1) / 2) / (n * m)
    return area, (n + m + 1) * tiecorrect(ranks) / (12 * n * m)
