"""Outliers: rows of low density, by thresholds that new rows keep."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from hashlib import blake2b
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, OutlierMixin, clone
from sklearn.model_selection import KFold, check_cv
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, check_scalar

from skflow._conditionals import excess_surprise, grid_of
from skflow._documentation import DocumentationLinkMixin
from skflow._estimator import RelativeGradientFlow
from skflow._validation import (
    HasMethods,
    Interval,
    _fit_context,
    as_numpy,
    params_of_rows,
    routed_fit_params,
    rows,
    unchanged_on_error,
)

__all__ = ["FlowOutlierDetector"]


class FlowOutlierDetector(MetaEstimatorMixin, OutlierMixin, DocumentationLinkMixin, BaseEstimator):
    r"""Outliers by their density, with thresholds and p-values that hold for new rows.

    A density estimator is fitted several times, each time without a part of the rows. Every row
    is scored by estimators that have not seen it, since a flexible one makes the rows that it
    was fitted to likelier than others: a fitted row by those that it was held out from, a new
    one by all. So outliers may be among the rows in :meth:`fit`, of which each is judged by what
    others say; all rows serve to calibrate, and all to fit.

    Read more in the :ref:`User Guide <outliers>`.

    Parameters
    ----------
    estimator : estimator with ``fit`` and ``score_samples``, default=None
        A density estimator, such as :class:`!sklearn.neighbors.KernelDensity`, or a Pipeline or
        search that ends in one. It is cloned and stays as it is. None is
        ``RelativeGradientFlow()``.

    contamination : float, default=0.1
        The share of the rows in :meth:`fit` that are outliers, in (0, 0.5]; likewise the share
        of new rows like them that :meth:`predict` takes for outliers. It may be set anew at any
        time, without another :meth:`fit`.

    cv : int, cross-validation splitter or iterable, default=5
        How rows are held out. An int is a number of fits, at least 3: the rows are cut at random
        into as many parts, and each fit goes without two of them. So each row has two scores
        from estimators that have not seen it, and a poor fit decides about none.
        ``ShuffleSplit(n_splits=1, test_size=0.2)`` fits only once, calibrates with a fifth of
        the rows, and scores the others by the estimator that was fitted to them.

    n_jobs : int or None, default=None
        How many fits run at once, in processes of their own; None is 1, and -1 all processors.

    random_state : int, RandomState instance or None, default=None
        Determines the parts, and the seeds of `estimator` where its ``random_state`` is None.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted ones, one for each split.

    calibration_scores_ : ndarray of shape (n_calibration,)
        The log-densities of the rows that were held out, each by the estimators that have not
        seen it, in nats, in the order of the rows.

    offset_ : float
        The log-density below which a row is taken for an outlier, in nats: the
        `contamination`-quantile of the calibration scores.

    n_features_in_ : int
        The number of columns seen in :meth:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if `X` had any that are all strings.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Much faster, and blind to how columns depend on each other.
    sklearn.neighbors.LocalOutlierFactor : Compares distances to neighbours.

    Notes
    -----
    A fitted row is recognised by its values, which must be the same to the last bit. What is kept
    of each row is a hash of 8 bytes.

    Several estimators score a row by their mixture, :math:`\log \frac1K \sum_k p_k(x)`: a density
    again, low where all of them say so. That of all, which scores new rows, is a little higher
    than that of the two that score a fitted row; thresholds err on the side of fewer false alarms.

    Scores that are not a number, as of numbers that overflow, count as :math:`-\infty`.

    Cost: that of a fit and of scoring, times the number of fits.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skflow import FlowOutlierDetector, RelativeGradientFlow
    >>> X = load_iris().data
    >>> detector = FlowOutlierDetector(RelativeGradientFlow(max_iter=5), random_state=0)
    >>> int((detector.fit_predict(X) == -1).sum())
    15
    >>> odd = [[5.0, 3.4, 1.5, 2.3]]  # the petals of a setosa are less wide
    >>> detector.predict(odd)
    array([-1])
    >>> bool(detector.p_values(odd)[0] < 0.01)
    True
    >>> int(detector.explain(odd).argmax())
    3
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        contamination: float = 0.1,
        cv: Any = 5,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.contamination = contamination
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [None, HasMethods(["fit", "score_samples"])],
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
        "cv": [
            Interval(Integral, 3, None, closed="left"),
            HasMethods(["split", "get_n_splits"]),
            Iterable,
        ],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    estimators_: list[Any]
    calibration_scores_: NDArray[np.float64]

    # A parameter may be an estimator, which checks its own.
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: None = None, **fit_params: Any) -> Self:
        """Fit the estimator without each part of the rows in turn, and score this part.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Outliers may be among them.
        y : None
            Ignored; here by convention.
        **fit_params : dict
            Passed to ``fit`` of the estimator, those with one value for each row, such as
            ``sample_weight``, without the values of rows that are held out. With metadata
            routing, what the estimator requests.

        Returns
        -------
        self : FlowOutlierDetector
            The fitted detector. If `fit` fails, it stays as it was.

        Warns
        -----
        UserWarning
            If so few rows are held out that none of them can be as rare as `contamination` asks.
        """
        with unchanged_on_error(self):
            X = as_numpy(rows(self, X, fitting=True, least=2))
            fit_params = routed_fit_params(self, fit_params)
            random_state = check_random_state(self.random_state)
            splits = self._splits(X, random_state)
            self.estimators_ = Parallel(n_jobs=self.n_jobs)(
                delayed(_fit)(
                    _seeded_clone(self._density_estimator(), random_state),
                    X[train],
                    params_of_rows(X, fit_params, train),
                )
                for train, _ in splits
            )
            held_out = np.zeros((len(X), len(splits)), dtype=bool)
            for k, (_, test) in enumerate(splits):
                held_out[test, k] = True
            calibrates = held_out.any(axis=1)
            X, held_out = X[calibrates], held_out[calibrates]
            self._fingerprints, of_row = np.unique(_fingerprints(X), return_inverse=True)
            self._held_out = np.zeros((len(self._fingerprints), len(splits)), dtype=bool)
            np.logical_or.at(self._held_out, of_row, held_out)  # rows may be equal
            self._grid = grid_of(X)
            self.calibration_scores_ = self._log_density(X, self._held_out[of_row])
            _ = self.offset_  # warns if the rows are too few
        return self

    @property
    def offset_(self) -> float:
        """The log-density below which a row is taken for an outlier, in nats."""
        check_is_fitted(self)
        n = len(self.calibration_scores_)
        contamination = check_scalar(
            self.contamination,
            "contamination",
            Real,
            min_val=0,
            max_val=0.5,
            include_boundaries="right",
        )
        if contamination * (n + 1) < 1:
            warnings.warn(
                f"contamination={contamination} calls for {math.ceil(1 / contamination) - 1} rows "
                f"to calibrate with, and {n} were held out: of new rows like them, up to one in "
                f"{n + 1} will be taken for an outlier. Fit more rows, or raise contamination.",
                UserWarning,
                stacklevel=2,
            )
        # Between two rows, so that rounding decides about neither.
        rank = math.ceil(contamination * (n - 1))
        below, above = np.sort(self.calibration_scores_)[[max(rank - 1, 0), rank]]
        return float(below / 2 + above / 2 if below > -np.inf else above)

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the log-density at each row of `X`, by estimators that have not seen it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units that the estimators score in.
        """
        check_is_fitted(self)
        X = as_numpy(rows(self, X))
        return self._log_density(X, self._judges(X))

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return by how many nats the log-density of each row lies above the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            ``score_samples(X) - offset_``: negative for outliers.
        """
        scores, offset = self.score_samples(X), self.offset_
        with np.errstate(invalid="ignore"):
            return np.where(scores == offset, 0.0, scores - offset)  # both may be infinite

    def predict(self, X: ArrayLike) -> NDArray[np.intp]:
        """Say which rows of `X` are outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        label : ndarray of shape (n_samples,)
            -1 for outliers and 1 for all others.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def fit_predict(self, X: ArrayLike, y: None = None, **fit_params: Any) -> NDArray[np.intp]:
        """Fit to the rows of `X`, and say which of them are outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored; here by convention.
        **fit_params : dict
            As :meth:`fit` takes them.

        Returns
        -------
        label : ndarray of shape (n_samples,)
            -1 for outliers, a share `contamination` of the rows, and 1 for all others; the same
            as ``fit(X).predict(X)``.
        """
        return self.fit(X, **fit_params).predict(X)

    def p_values(self, X: ArrayLike) -> NDArray[np.float64]:
        r"""Return how rare it is for a row to be as unlikely as each row of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        p : ndarray of shape (n_samples,)
            :math:`(1 + \#\{i : s_i \le s(x)\}) / (n + 1)`, where :math:`s(x)` is the
            log-density of a row and :math:`s_1, \dots, s_n` are the calibration scores. The
            smallest possible is 1 / (n + 1).

        Notes
        -----
        These are conformal p-values [1]_: if a new row comes from the same distribution as the
        rows in :meth:`fit`, the probability that :math:`p \le \alpha` is no higher than
        :math:`\alpha`, whatever the distribution, and however badly the estimator fits it. This
        is exact with a `cv` of one split, for rows that were not fitted. With several fits it
        has no proof, as in [2]_: the scores of new rows are a little higher than those that they
        are compared with, so that p-values are rather too large than too small. The
        :ref:`benchmarks <outliers_benchmark>` say by how much.

        Outliers among the fitted rows raise the p-values of others. For a list of rows that
        has a bounded share of false discoveries, pass them to
        :func:`!scipy.stats.false_discovery_control`.

        References
        ----------
        .. [1] Stephen Bates, Emmanuel Candès, Lihua Lei, Yaniv Romano and Matteo Sesia, "Testing
           for outliers with conformal p-values", Annals of Statistics 51, 2023.
        .. [2] Vladimir Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial
           Intelligence 74, 2015.
        """
        scores = self.score_samples(X)
        n_as_low = np.searchsorted(np.sort(self.calibration_scores_), scores, side="right")
        return (1 + n_as_low) / (1 + len(self.calibration_scores_))

    def explain(self, X: ArrayLike) -> NDArray[np.float64]:
        r"""Return how surprising each entry is, given the other entries of its row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        surprise : ndarray of shape (n_samples, n_features)
            In nats. By how much the row's log-density would be higher, in expectation, if this
            entry alone were drawn anew from its distribution given the others:

            .. math::
               e_i = \mathbb{E}_{x_i' \sim p(\cdot | x_{-i})}[\log p(x_i', x_{-i})] - \log p(x)
               = -\log p(x_i | x_{-i}) - \mathbb{E}_{x_i' \sim p(\cdot | x_{-i})}[
               -\log p(x_i' | x_{-i})]

            It is :math:`(r^2 - 1) / 2` if the entry is normal given the others and lies
            :math:`r` standard deviations from its mean.

        Notes
        -----
        An entry's surprise is measured against what is usual for it, so that it does not depend
        on units, and entries of different columns compare. Its mean is zero for rows from the
        density; positive numbers say that an entry is less likely than most that could stand in
        its place.

        A row sums to :math:`-\sum_i \log p(x_i | x_{-i})`, its negative log-pseudolikelihood
        [1]_, less what is expected of it. If the columns are independent, this is by how much
        :math:`-\log p(x)` exceeds its mean. Where no value of an entry would give the row a
        density, its surprise is zero: others are to blame.

        The integrals run over the range of the rows in :meth:`fit`. They are sums over 67 values,
        half of which close in on the likeliest; they see conditional densities that are ten
        thousand times narrower than the column, if these have one peak.

        Cost: 67 log-densities for each entry, in blocks of some :math:`10^6` numbers. Explain the
        rows that matter.

        References
        ----------
        .. [1] Julian Besag, "Statistical analysis of non-lattice data", The Statistician 24,
           1975.
        """
        check_is_fitted(self)
        X = as_numpy(rows(self, X))
        judges = self._judges(X)
        return excess_surprise(
            lambda hybrids, of_row: self._log_density(hybrids, judges[of_row]),
            X.astype(np.float64, copy=False),
            self._grid,
        )

    def get_metadata_routing(self) -> MetadataRouter:
        """Say that the parameters of :meth:`fit` go to `estimator`.

        Returns
        -------
        routing : MetadataRouter
        """
        return MetadataRouter(owner=type(self).__name__).add(
            estimator=self._density_estimator(),
            method_mapping=MethodMapping().add(caller="fit", callee="fit"),
        )

    def _density_estimator(self) -> Any:
        return RelativeGradientFlow() if self.estimator is None else self.estimator

    def _splits(
        self, X: NDArray[Any], random_state: np.random.RandomState
    ) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        if not isinstance(self.cv, Integral):
            return list(check_cv(self.cv).split(X))
        folds = KFold(self.cv, shuffle=True, random_state=random_state).split(X)
        parts = [part for _, part in folds]
        splits = []
        for k in range(self.cv):
            held_out = np.union1d(parts[k - 1], parts[k])
            splits.append((np.setdiff1d(np.arange(len(X)), held_out), held_out))
        return splits

    def _judges(self, X: NDArray[Any]) -> NDArray[np.bool_]:
        """Say which estimators score each row, in an array of shape (n_samples, n_estimators)."""
        wanted = _fingerprints(X)
        place = np.searchsorted(self._fingerprints, wanted).clip(max=len(self._fingerprints) - 1)
        known = self._fingerprints[place] == wanted
        return self._held_out[place] | ~known[:, None]

    def _log_density(self, X: NDArray[Any], judges: NDArray[np.bool_]) -> NDArray[np.float64]:
        scores = np.full(judges.shape, -np.inf)
        for k, estimator in enumerate(self.estimators_):
            mine = judges[:, k]
            if mine.any():
                scores[mine, k] = estimator.score_samples(X if mine.all() else X[mine])
        scores = np.nan_to_num(
            scores, copy=False, nan=-np.inf, posinf=np.finfo(np.float64).max, neginf=-np.inf
        )
        mixture: NDArray[np.float64] = np.logaddexp.reduce(scores, axis=1)
        return mixture - np.log(judges.sum(axis=1))


def _fit(estimator: Any, X: NDArray[Any], fit_params: dict[str, Any]) -> Any:
    return estimator.fit(X, **fit_params)


def _seeded_clone(estimator: Any, random_state: np.random.RandomState) -> Any:
    """Clone an estimator and give it seeds where it has none, nested ones included."""
    twin = clone(estimator)
    unset = [
        name
        for name, value in sorted(twin.get_params().items())
        if (name == "random_state" or name.endswith("__random_state")) and value is None
    ]
    return twin.set_params(
        **{name: random_state.randint(np.iinfo(np.int32).max) for name in unset}
    )


def _fingerprints(X: NDArray[Any]) -> NDArray[np.uint64]:
    """Hash the values of each row: of n rows, two agree by chance in n² / 2⁶⁵ of cases."""
    float64 = (np.add(row, 0.0, dtype=np.float64) for row in X)  # without negative zeros
    return np.frombuffer(
        b"".join(blake2b(row, digest_size=8).digest() for row in float64), dtype=np.uint64
    )
