"""Classification by the density of each class."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.metrics import accuracy_score
from sklearn.model_selection import KFold
from sklearn.utils import Tags, check_random_state, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_is_fitted, column_or_1d

from skflow._sklearn.documentation import DocumentationLinkMixin
from skflow._sklearn.persistence import PersistenceMixin
from skflow._sklearn.pieces import unchanged_on_error
from skflow._sklearn.readable import readable
from skflow._sklearn.validation import (
    HasMethods,
    Interval,
    as_numpy,
    fit_context,
    indexable,
    n_samples,
    row_weights,
    table,
    take_rows,
)
from skflow.estimators.conformal import p_values
from skflow.estimators.folds import splits_as_given
from skflow.estimators.held_out import fit_to_rows, seeded_clone
from skflow.tables.borders import Borders
from skflow.tables.flow import TableFlow

__all__ = ["FlowClassifier"]

Floats = NDArray[np.float64]

# How strongly the temperature is drawn to one, in rows.
_PRIOR_ROWS = 1.0


class FlowClassifier(PersistenceMixin, DocumentationLinkMixin, ClassifierMixin, BaseEstimator):
    r"""Classifier by the density of each class, which knows when a row is like none of them.

    .. math::
        P(c \mid x) = (1 - \varepsilon) \frac{q_c(x)^{1 / T}}{\sum_k q_k(x)^{1 / T}}
        + \varepsilon\, b_c(x), \qquad q_c(x) = P(c)\, p(x \mid c)

    By Bayes' rule, :math:`T = 1` and :math:`\varepsilon = 0`. As densities err, rows that are held
    out choose both: those that make their classes likeliest. The rest, :math:`b`, is what a
    mixture of logistic regression, boosted trees and the shares of the classes says. It learns
    the border between the classes, which takes fewer rows than their densities.

    Read more in the :ref:`User Guide <classifier>`.

    Parameters
    ----------
    estimator : estimator or None, default=None
        The density of a class, with ``fit`` and ``score_samples``. It is cloned. None is
        ``TableFlow()``, which takes frames with categories and holes.

    cv : int, cross-validation splitter, iterable or None, default=3
        How rows are held out for the calibration and for :meth:`p_values`: an int is a number of
        parts at random. None is no calibration: probabilities are those of Bayes' rule.

    random_state : int, RandomState instance or None, default=None
        Determines the parts, and the seeds of densities whose ``random_state`` is None.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.

    estimators_ : list of estimators
        The density of each class.

    class_log_prior_ : ndarray of shape (n_classes,)
        The logarithms of the shares of the classes.

    temperature_ : float
        :math:`T`. Above one, the densities alone were too sure.

    border_share_ : float
        :math:`\varepsilon`, the share of what learns borders in the probabilities.

    calibration_scores_ : ndarray of shape (n_calibration,)
        The log-densities of rows by densities that have not seen them, in nats. Only there with
        `cv`.

    n_features_in_ : int
        The number of columns seen in :meth:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if `X` had any that are all strings.

    See Also
    --------
    sklearn.ensemble.HistGradientBoostingClassifier : Trees, which are faster, and take every row
        for one of the classes.
    FlowOutlierDetector : Rows that are unlike all others, whatever their class.

    Notes
    -----
    Cost: for each class, `cv` + 1 fits of the density; and four times as many of a logistic
    regression and of boosted trees.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.mixture import GaussianMixture
    >>> from skflow import FlowClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = FlowClassifier(GaussianMixture(), random_state=0).fit(X, y)
    >>> bool(classifier.score(X, y) > 0.9)
    True
    >>> bool(classifier.p_values([[20.0, 1.0, 1.0, 5.0]])[0] < 0.01)
    True
    """

    def __init__(self, estimator: Any = None, *, cv: Any = 3, random_state: Any = None) -> None:
        self.estimator = estimator
        self.cv = cv
        self.random_state = random_state

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "score_samples"]), None],
        "cv": [None, Interval(Integral, 2, None, closed="left"), HasMethods(["split"]), Iterable],
        "random_state": ["random_state"],
    }

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the density of each class, and calibrate the probabilities.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            What the density takes.
        y : array-like of shape (n_samples,)
            The class of each row.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many rows each row counts for.

        Returns
        -------
        self : FlowClassifier
            The fitted classifier. If `fit` fails, it stays as it was.
        """
        with unchanged_on_error(self):
            X, labels = self._rows(X, y)
            params, weights = {}, np.ones(len(labels))
            if sample_weight is not None:
                weights = row_weights(sample_weight, labels)
                params = {"sample_weight": weights}
            self.classes_, codes = np.unique(labels, return_inverse=True)
            shares = np.bincount(codes, weights)
            if np.count_nonzero(shares) < 2:
                raise ValueError(
                    f"{type(self).__name__} needs rows of more than one class, got one class only."
                )
            with np.errstate(divide="ignore"):
                self.class_log_prior_ = np.log(shares / shares.sum())
            random_state = check_random_state(self.random_state)
            self._density = seeded_clone(self._density_estimator(), random_state)
            self.estimators_ = self._fitted(X, codes, params, np.arange(len(codes)))
            self.temperature_, self.border_share_, self._borders = 1.0, 0.0, None
            self.__dict__.pop("calibration_scores_", None)
            if self.cv is not None:
                borders = Borders(X, len(self.classes_), random_state.randint(2**31 - 1))
                joint, by_borders, rows = self._held_out(X, codes, params, borders, random_state)
                self.calibration_scores_ = logsumexp(joint, axis=1)
                self.temperature_, self.border_share_ = _calibration(
                    self._or_shares(joint), by_borders, codes[rows], weights[rows]
                )
                self._borders = borders.fit(X, codes, weights)
        return self

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the log-density of rows, whatever their class.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units of `X`.
        """
        log_density: Floats = logsumexp(self._joint(X), axis=1)
        return log_density

    def p_values(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return how rare rows are: low values are of rows that are like none of the classes.

        Of rows like those in :meth:`fit`, about a share of `p` has a p-value of `p` or less.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        p_values : ndarray of shape (n_samples,)
            Between 0 and 1.

        Raises
        ------
        AttributeError
            If there was no `cv`.
        """
        check_is_fitted(self)
        if not hasattr(self, "calibration_scores_"):
            raise AttributeError("p_values needs rows that were held out: set cv.")
        return p_values(self.score_samples(X), self.calibration_scores_)

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`. Where no class has any density, the densities say that
            all classes have their shares.
        """
        check_is_fitted(self)
        X = table(self, X)
        joint = self._or_shares(self._log_densities(self.estimators_, X))
        by_borders = np.tile(self.class_log_prior_, (len(joint), 1))
        if self._borders is not None:
            by_borders = self._borders.predict_log_proba(X)
        return _log_proba(joint, by_borders, self.temperature_, self.border_share_)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the likeliest class.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Of `classes_`.
        """
        proba = self.predict_log_proba(X)
        labels: NDArray[Any] = self.classes_[proba.argmax(1)]
        return labels

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the share of rows whose likeliest class is theirs.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The rows.
        y : array-like of shape (n_samples,)
            Their classes.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many rows each row counts for.

        Returns
        -------
        score : float
            The accuracy, between 0 and 1.
        """
        y, sample_weight = readable(y), readable(sample_weight)
        return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        of_density = get_tags(self._density_estimator()).input_tags
        tags.input_tags.allow_nan = of_density.allow_nan
        tags.input_tags.categorical = of_density.categorical
        tags.input_tags.string = of_density.string
        return tags

    def _density_estimator(self) -> Any:
        return TableFlow() if self.estimator is None else self.estimator

    def _rows(self, X: Any, y: Any) -> tuple[Any, NDArray[Any]]:
        """Check rows and labels."""
        X = table(self, X, fitting=True)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        labels = column_or_1d(as_numpy(y), warn=True)
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        indexable(X, labels)
        return X, labels

    def _joint(self, X: Any) -> Floats:
        """Return log p(x | c) + log P(c), of shape (n_samples, n_classes)."""
        check_is_fitted(self)
        return self._log_densities(self.estimators_, table(self, X))

    def _or_shares(self, joint: Floats) -> Floats:
        """Return what densities say of rows, or the shares of classes where none is possible."""
        is_possible = np.isfinite(joint).any(1, keepdims=True)
        return np.where(is_possible, joint, self.class_log_prior_)

    def _log_densities(self, estimators: list[Any], X: Any) -> Floats:
        nothing = np.full(n_samples(X), -np.inf)
        found = [
            nothing if one is None else as_numpy(one.score_samples(X)).astype(np.float64)
            for one in estimators
        ]
        return np.stack(found, 1) + self.class_log_prior_

    def _fitted(
        self, X: Any, codes: NDArray[np.intp], params: dict[str, Any], rows: NDArray[np.intp]
    ) -> list[Any]:
        """Fit the density of each class to some of the rows: None for a class that has none."""
        fitted = []
        if "sample_weight" in params:
            rows = rows[params["sample_weight"][rows] > 0]
        for c in range(len(self.class_log_prior_)):
            own = rows[codes[rows] == c]
            if len(own) == 1:  # which is no density alone
                own = np.repeat(own, 2)
            density = clone(self._density)
            fitted.append(fit_to_rows(density, X, None, params, own) if len(own) else None)
        return fitted

    def _held_out(
        self,
        X: Any,
        codes: NDArray[np.intp],
        params: dict[str, Any],
        borders: Borders,
        random_state: np.random.RandomState,
    ) -> tuple[Floats, Floats, NDArray[np.intp]]:
        """Return what densities and borders that have not seen them say of rows, and the rows."""
        cv = self.cv
        if isinstance(cv, Integral):
            cv = KFold(min(int(cv), len(codes)), shuffle=True, random_state=random_state)
        weights = params.get("sample_weight", np.ones(len(codes)))
        joint, by_borders, rows = [], [], []
        splits = splits_as_given(cv, X, codes, {})
        for train, test in splits:
            estimators, held_out = self._fitted(X, codes, params, train), take_rows(X, test)
            joint.append(self._log_densities(estimators, held_out))
            borders.fit(take_rows(X, train), codes[train], weights[train])
            by_borders.append(borders.predict_log_proba(held_out))
            rows.append(test)
        return np.concatenate(joint), np.concatenate(by_borders), np.concatenate(rows)


def _log_proba(
    joint: Floats, by_borders: Floats, temperature: float, border_share: float
) -> Floats:
    """Return the logarithms of probabilities."""
    of_classes = log_softmax(joint / temperature, axis=1)
    with np.errstate(divide="ignore"):
        log_proba: Floats = np.logaddexp(
            np.log1p(-border_share) + of_classes, np.log(border_share) + by_borders
        )
    return log_proba


def _calibration(
    joint: Floats, by_borders: Floats, codes: NDArray[np.intp], weights: Floats
) -> tuple[float, float]:
    """Return the temperature and the share of borders that make the classes of rows likeliest."""
    shares = weights / weights.sum()
    penalty = _PRIOR_ROWS / weights.sum()

    def loss(parameters: Floats) -> float:
        temperature, share = np.exp(parameters[0]), expit(parameters[1])
        log_proba = _log_proba(joint, by_borders, temperature, share)
        log_loss = -shares @ log_proba[np.arange(len(codes)), codes]
        return float(log_loss + penalty * parameters[0] ** 2)

    starts = [np.array([0.0, share]) for share in (-4.0, 0.0)]
    found = [minimize(loss, start, method="Nelder-Mead") for start in starts]
    log_temperature, share = min(found, key=lambda one: float(one.fun)).x
    return float(np.exp(log_temperature)), float(expit(share))
