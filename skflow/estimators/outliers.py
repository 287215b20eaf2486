"""Outliers: rows of low density, by thresholds that new rows keep."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterable, Iterator
from copy import deepcopy
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, OutlierMixin
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags, check_random_state, get_tags
from sklearn.utils.metadata_routing import UNUSED, MetadataRouter, MethodMapping
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, check_scalar

from skflow._sklearn.documentation import DocumentationLinkMixin
from skflow._sklearn.persistence import PersistenceMixin
from skflow._sklearn.pieces import unchanged_on_error
from skflow._sklearn.validation import (
    HasMethods,
    Interval,
    check_columns,
    column_label,
    fit_context,
    indexable,
    n_samples,
    routed_params,
)
from skflow.estimators.conformal import n_as_low, n_refused, p_values
from skflow.estimators.density import RelativeGradientFlow
from skflow.estimators.entries import Entries
from skflow.estimators.folds import held_out_by, paired_folds, splits_of
from skflow.estimators.held_out import fit_to_rows, log_density_by, seeded_clone
from skflow.estimators.pool import LogarithmicPool

__all__ = ["FlowOutlierDetector"]


class FlowOutlierDetector(
    MetaEstimatorMixin,
    OutlierMixin,
    PersistenceMixin,
    DocumentationLinkMixin,
    BaseEstimator,
):
    r"""Outliers by their density, with thresholds and p-values that hold for new rows.

    A density estimator is fitted several times, each time without a part of the rows. A flexible
    one makes the rows that it was fitted to likelier than others, so the threshold comes from
    rows that were held out. There are two questions, and methods for each:

    - Is a new row an outlier? :meth:`predict`, :meth:`score_samples`, :meth:`decision_function`
      and :meth:`p_values` use all estimators. They are functions of the row alone.
    - Which of the rows in :meth:`fit` are outliers? :meth:`fit_predict`,
      :meth:`score_fitted_rows` and :meth:`p_values_of_fitted_rows` judge each of these rows by
      the estimators that have not seen it.

    `X` may be of any kind that `estimator` takes: the detector hands it on as it is. So a
    pipeline may select columns by name, fill holes and encode categories.

    Read more in the :ref:`User Guide <outliers>`.

    Parameters
    ----------
    estimator : estimator with ``fit`` and ``score_samples``, default=None
        A density estimator, such as :class:`!sklearn.neighbors.KernelDensity`, or a Pipeline or
        search that ends in one. It is cloned and stays as it is. None is
        ``LogarithmicPool(RelativeGradientFlow())``, which pools the log-density of a flow with
        those of two stiff densities, so that outliers in clumps do not pass for inliers.

    contamination : float, default=0.1
        The share of the rows that :meth:`fit_predict` takes for outliers, in (0, 0.5]; likewise
        the share of new rows like them that :meth:`predict` takes for outliers, at most. It may
        be set anew at any time, without another :meth:`fit`.

    cv : int, cross-validation splitter or iterable, default=5
        How rows are held out.

        An int is a number of fits, at least 3. The rows are cut at random into as many parts,
        and each fit goes without two of them. So each row has scores from two estimators that
        have not seen it. Equal rows, and rows of a group if
        :meth:`fit` is given `groups`, come into the same part, so that they do not vouch for
        each other.

        A splitter, such as ``GroupKFold(3)``, or an iterable of splits, is taken at its word: it
        is asked as scikit-learn's searches ask it, and equal rows may come into different parts.
        ``ShuffleSplit(n_splits=1, test_size=0.2)`` fits only once and calibrates with a fifth of
        the rows.

    n_jobs : int or None, default=None
        How many fits run at once, in processes of their own; None is 1, and -1 all processors.

    verbose : bool or int, default=False
        Whether to write a line as each fit begins, such as "fit 2 of 5". If fits run one after
        the other, an `estimator` whose own ``verbose`` is off, or the last step of a pipeline,
        shows its progress as well.

    random_state : int, RandomState instance or None, default=None
        Determines the parts, and the seeds of `estimator` where its ``random_state`` is None.
        Pass an int for the same result each time.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted ones, one for each split.

    calibration_scores_ : ndarray of shape (n_calibration,)
        The log-densities of the rows that were held out, each by the estimators that have not
        seen it, in nats, in the order of the rows.

    offset_ : float
        The log-density below which a new row is taken for an outlier, in nats: between the two
        calibration scores whose p-values are just at most, and just above, `contamination`.

    n_features_in_ : int
        The number of columns seen in :meth:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if `X` had any that are all strings.

    See Also
    --------
    LogarithmicPool : What the default estimator is.
    sklearn.ensemble.IsolationForest : Much faster. It splits one column at a time, so
        that it sees less of how columns depend on each other.
    sklearn.neighbors.LocalOutlierFactor : Compares distances to neighbours.

    Notes
    -----
    Several estimators score a row by their mixture, :math:`\log \frac1K \sum_k p_k(x)`. This is a
    density again, and low only where all of them are low: one estimator that is far too wide
    raises it for rows far out. For an ordinary new row it is a little
    higher than the scores of the two estimators that judge a fitted row, so that thresholds err
    on the side of fewer false alarms. Where values repeat they err further: a new row may equal
    rows that some estimators have seen, while each fitted row is judged by estimators that have
    seen no copy of it.

    :meth:`predict` knows nothing of whether a row was fitted. An outlier among the fitted rows
    raises the density at its place, so ask :meth:`fit_predict` about these rows.

    The default estimator scores a row by a pool of densities without its constant, see
    :class:`LogarithmicPool`: scores compare, but are no log-likelihoods. It is there for outliers
    that come in clumps, which a flow learns. On 23 tables of at most 2,000 rows, its mean area
    under the ROC curve is 0.741, that of a flow alone 0.731 and of an isolation forest 0.719. On
    the twelve by which it was chosen these are 0.814, 0.812 and 0.762; on the eleven others
    0.661, 0.642 and 0.673, so that the forest stays a little ahead there. Where columns depend on
    each other and outliers do not come in clumps, ``RelativeGradientFlow()`` alone finds more.

    Scores that are not a number, as of numbers that overflow, count as :math:`-\infty`.

    Cost: that of a fit and of scoring, times the number of fits.

    Examples
    --------
    Three thermometers hang side by side.

    >>> import numpy as np
    >>> from skflow import FlowOutlierDetector, RelativeGradientFlow
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(20, 5, size=(500, 1)) + rng.normal(0, 0.5, size=(500, 3))
    >>> detector = FlowOutlierDetector(RelativeGradientFlow(max_iter=5), random_state=0)
    >>> int((detector.fit_predict(X) == -1).sum())
    50
    >>> odd = [[15.0, 15.0, 25.0]]  # no reading is odd by itself
    >>> detector.predict(odd)
    array([-1])
    >>> bool(detector.p_values(odd)[0] < 0.01)
    True
    >>> int(detector.explain(odd).argmax())
    2
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        contamination: float = 0.1,
        cv: Any = 5,
        n_jobs: int | None = None,
        verbose: bool | int = False,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.contamination = contamination
        self.cv = cv
        self.n_jobs = n_jobs
        self.verbose = verbose
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
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    # The detector routes `groups` and asks for none itself.
    __metadata_request__fit: ClassVar[dict[str, str]] = {"groups": UNUSED}

    estimators_: list[Any]
    calibration_scores_: NDArray[np.float64]

    # A parameter may be an estimator, which checks its own.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, groups: Any = None, **fit_params: Any) -> Self:
        """Fit the estimator without each part of the rows in turn, and score this part.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, outliers among them or not, of any kind that `estimator` takes.
        y : array-like of shape (n_samples,) or None, default=None
            Handed to the splitter and to `estimator`, if it is not None.
        groups : array-like of shape (n_samples,) or None, default=None
            The group of each row. Rows of a group are held out together if `cv` is an int; else
            they go to the splitter.
        **fit_params : dict
            Passed to ``fit`` of the estimator, those with one value for each row, such as
            ``sample_weight``, without the values of rows that are held out. With metadata
            routing, the estimator and the splitter get what they request.

        Returns
        -------
        self : FlowOutlierDetector
            The fitted detector. If `fit` fails, it stays as it was.

        Raises
        ------
        ValueError
            If `cv` is an int, and fewer rows than that differ from each other; or if it holds no
            row out.

        Warns
        -----
        UserWarning
            If so few rows are held out that none of them can be as rare as `contamination` asks.
        """
        with unchanged_on_error(self):
            X, y, groups = indexable(X, y, groups)
            split_params, fit_params = routed_params(self, groups, fit_params)
            random_state = check_random_state(self.random_state)
            splits = splits_of(self.cv, X, y, split_params, random_state, cut=paired_folds)
            held_out = held_out_by(splits, n_samples(X))
            if not held_out.any():
                raise ValueError(
                    "cv must hold rows out to calibrate with, got splits that hold out none. Pass "
                    "an int, or splits whose second part has rows."
                )
            estimators = Parallel(n_jobs=self.n_jobs)(
                delayed(fit_to_rows)(estimator, X, y, fit_params, train)
                for estimator, (train, _) in zip(
                    self._clones(len(splits), random_state), splits, strict=True
                )
            )
            calibrates: NDArray[np.bool_] = np.asarray(held_out.any(axis=1))
            judges = held_out | ~calibrates[:, None]
            scores = log_density_by(estimators, X, judges)
            entries = Entries(X, estimators)
            # At the end, so that other threads may go on scoring by the former fit.
            check_columns(self, X, fitting=True)
            self.estimators_, self._judges, self._entries = estimators, judges, entries
            self._fitted_scores, self._calibrates = scores, calibrates
            self.calibration_scores_ = scores[calibrates]
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
        # The least likely rows, so many that none has a p-value above `contamination`.
        rank = n_refused(contamination, n)
        if not rank:
            rank = 1
            warnings.warn(
                f"contamination={contamination} calls for {math.ceil(1 / contamination) - 1} rows "
                f"to calibrate with, and {n} were held out: of new rows like them, up to one in "
                f"{n + 1} will be taken for an outlier. Fit more rows, or raise contamination.",
                UserWarning,
                stacklevel=2,
            )
        # Between two rows, so that rounding decides about neither.
        below, above = np.sort(self.calibration_scores_)[[max(rank - 2, 0), rank - 1]]
        return float(below / 2 + above / 2 if below > -np.inf else above)

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the log-density at each row of `X`, by all estimators.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score. Each score depends on its row alone, whether or not :meth:`fit` saw it:
            see :meth:`score_fitted_rows` for those that it saw.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units that the estimators score in.
        """
        self._check(X)
        return log_density_by(self.estimators_, X)

    def score_fitted_rows(self) -> NDArray[np.float64]:
        """Return the log-density at each row that was passed to `fit`, by estimators without it.

        Returns
        -------
        log_density : ndarray of shape (n_fitted,)
            In nats, in the order of the rows. Each is by the estimators that the row was held out
            from. A row that no split held out, as with ``ShuffleSplit``, is scored by all.
        """
        check_is_fitted(self)
        return self._fitted_scores.copy()

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return by how many nats the log-density of each row lies above the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to judge, each by itself.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            ``score_samples(X) - offset_``: negative for outliers.
        """
        scores, offset = self.score_samples(X), self.offset_
        with np.errstate(invalid="ignore"):
            return np.where(scores == offset, 0.0, scores - offset)  # both may be infinite

    def predict(self, X: Any) -> NDArray[np.intp]:
        """Say which rows of `X` are outliers, as new rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to judge, each by itself.

        Returns
        -------
        label : ndarray of shape (n_samples,)
            -1 for outliers and 1 for all others. Outliers have a log-density below `offset_`, and
            so a p-value of at most `contamination`.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def fit_predict(
        self, X: Any, y: Any = None, groups: Any = None, **fit_params: Any
    ) -> NDArray[np.intp]:
        """Fit to the rows of `X`, and say which of them are outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, as :meth:`fit` takes them.
        y : array-like of shape (n_samples,) or None, default=None
            As :meth:`fit` takes it.
        groups : array-like of shape (n_samples,) or None, default=None
            As :meth:`fit` takes them.
        **fit_params : dict
            As :meth:`fit` takes them.

        Returns
        -------
        label : ndarray of shape (n_samples,)
            -1 for outliers and 1 for all others. Outliers are the rows whose p-value among the
            others, see :meth:`p_values_of_fitted_rows`, is at most `contamination`: that share of
            the rows, or less if many are equally likely; at least the one least likely row.
            It differs from ``fit(X).predict(X)``, which takes the rows for new ones and scores
            them by estimators that have seen them.
        """
        p = self.fit(X, y, groups, **fit_params).p_values_of_fitted_rows()
        least = 1 / len(self.calibration_scores_)
        return np.where(p <= max(self.contamination, least), -1, 1)

    def p_values(self, X: Any) -> NDArray[np.float64]:
        r"""Return how rare it is for a new row to be as unlikely as each row of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to judge, each by itself.

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
        :math:`\alpha`, whatever the distribution, ties included, and however badly the estimator
        fits it. This is exact with a `cv` of one split. With several fits it has no proof, as in
        [2]_: the scores of new rows are a little higher than those that they are compared with,
        so that p-values are rather too large than too small. The
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
        return p_values(self.score_samples(X), self.calibration_scores_)

    def p_values_of_fitted_rows(self) -> NDArray[np.float64]:
        r"""Return how rare it is to be as unlikely as each row that was passed to `fit`.

        Returns
        -------
        p : ndarray of shape (n_fitted,)
            In the order of the rows. A row :math:`i` is compared with the other rows that were
            held out, and counts once itself: :math:`\#\{j : s_j \le s_i\} / n`, where
            :math:`s_1, \dots, s_n` are the calibration scores. A row that no split held out is
            compared as :meth:`p_values` compares a new one.
        """
        check_is_fitted(self)
        calibrates = self._calibrates
        p = np.empty(len(calibrates))
        calibration = self.calibration_scores_
        p[~calibrates] = p_values(self._fitted_scores[~calibrates], calibration)
        p[calibrates] = n_as_low(calibration, calibration) / len(calibration)
        return p

    def explain(self, X: Any, fitted_rows: ArrayLike | None = None) -> NDArray[np.float64]:
        r"""Return how surprising each entry is, given the other entries of its row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that `estimator` takes. A frame stays a frame with the same names, so that
            pipelines may select columns by them. Categories and dates keep their types, and
            numbers become float64 where others are put in their place. Holes stay holes.
        fitted_rows : array-like of int, of shape (n_samples,), or None, default=None
            The positions of these rows among those passed to :meth:`fit`. Each is then judged by
            the estimators that it was held out from, as in :meth:`score_fitted_rows`. If None,
            all rows are judged by all estimators, as in :meth:`score_samples`.

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
            :math:`r` standard deviations from its mean. Zero for an entry that is missing: what
            is not there surprises nobody.

        Raises
        ------
        ValueError
            If a column holds infinities, or entries that are neither numbers nor categories nor
            dates, or `fitted_rows` are not positions of rows in :meth:`fit`.

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

        Over text, categories and bools of frames, the expectation is a sum over all levels in
        :meth:`fit`. Over numbers and dates, it is an integral over the range there: a sum over 67
        values, half of which close in on the likeliest; they see conditional densities that are
        ten thousand times narrower than the column, if these have one peak.

        An `estimator` may have a method ``has_mass``, as :class:`TableFlow` does, which says which
        entries have a mass, and not a density. If all numbers of a column do, as counts, the
        expectation is a sum over those in :meth:`fit`, or if there are more than 200, over 67 of
        them and those that 1 % of the rows have. If some do, as heaps of zeros, a mass and a
        density must not be compared. Then an entry's surprise is that of which heap it is on, if
        any, less what is expected of it; and if it is on none, that of its value among those on
        none is added. An estimator inside of a pipeline is not asked.

        Where other entries of a row are missing, the score of the row is what `estimator` makes
        of it: of :class:`TableFlow`, the marginal log-density of what is observed.

        Cost: 67 log-densities for each number, and as many as there are levels for each category,
        in blocks of some :math:`10^6` entries. Explain the rows that matter.

        References
        ----------
        .. [1] Julian Besag, "Statistical analysis of non-lattice data", The Statistician 24,
           1975.
        """
        check_is_fitted(self)
        self._check(X)
        judges = None
        if fitted_rows is not None:
            judges = self._judges[self._positions(fitted_rows, n_samples(X))]

        def log_density(rows: Any, of_row: NDArray[np.intp]) -> NDArray[np.float64]:
            return log_density_by(
                self.estimators_, rows, None if judges is None else judges[of_row]
            )

        return self._entries.excess_surprise(log_density, X, lambda j: column_label(self, j))

    def get_metadata_routing(self) -> MetadataRouter:
        """Say that the parameters of :meth:`fit` go to `estimator`, and `groups` to the splitter.

        Returns
        -------
        routing : MetadataRouter
            What each of them requests.
        """
        splitter = GroupKFold(self.cv) if isinstance(self.cv, Integral) else self.cv
        return (
            MetadataRouter(owner=type(self).__name__)
            .add(
                estimator=self._density_estimator(),
                method_mapping=MethodMapping().add(caller="fit", callee="fit"),
            )
            .add(
                splitter=splitter,
                method_mapping=MethodMapping().add(caller="fit", callee="split"),
            )
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags = deepcopy(get_tags(self._density_estimator()).input_tags)
        return tags

    def _density_estimator(self) -> Any:
        if self.estimator is None:
            return LogarithmicPool(RelativeGradientFlow())
        return self.estimator

    def _clones(self, n: int, random_state: np.random.RandomState) -> Iterator[Any]:
        """Give estimators to fit, and announce each when it is asked for."""
        for k in range(n):
            estimator = seeded_clone(self._density_estimator(), random_state)
            if self.verbose:
                sys.stdout.write(f"{type(self).__name__}: fit {k + 1} of {n}\n")
                sys.stdout.flush()
                if self.n_jobs in (None, 1):
                    _let_speak(estimator, self.verbose)
            yield estimator

    def _check(self, X: Any) -> None:
        check_is_fitted(self)
        check_columns(self, X)

    def _positions(self, fitted_rows: ArrayLike, n: int) -> NDArray[np.intp]:
        positions = np.asarray(fitted_rows)
        n_fitted = len(self._judges)
        if (
            positions.shape != (n,)
            or positions.dtype.kind not in "iu"
            or (positions < 0).any()
            or (positions >= n_fitted).any()
        ):
            raise ValueError(
                f"fitted_rows must be one position for each of the {n} rows of X, whole numbers "
                f"from 0 to {n_fitted - 1}, which were passed to fit, got {fitted_rows!r}."
            )
        return positions


def _let_speak(estimator: Any, verbose: bool | int) -> None:
    """Turn on the progress of an estimator, or of what a pipeline or pool has, if it is off."""
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    last = last.estimator if isinstance(last, LogarithmicPool) else last
    if hasattr(last, "verbose") and not last.verbose:
        last.verbose = verbose
