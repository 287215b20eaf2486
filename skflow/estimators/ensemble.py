"""A mixture of density estimators, weighted by rows that they have not seen."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.base import MetaEstimatorMixin, is_outlier_detector
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, Tags, check_random_state, get_tags
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from skflow._sklearn.documentation import DocumentationLinkMixin
from skflow._sklearn.persistence import PersistenceMixin
from skflow._sklearn.pieces import unchanged_on_error
from skflow._sklearn.predictive import floats
from skflow._sklearn.room import check_n_samples
from skflow._sklearn.validation import (
    Composition,
    HasMethods,
    Interval,
    StrOptions,
    check_columns,
    fit_context,
    indexable,
    n_samples,
    row_weights,
    take_rows,
)
from skflow.estimators.folds import Splits, held_out_by, random_folds, splits_of
from skflow.estimators.held_out import fit_to_rows, log_density_by, seeded_clone
from skflow.estimators.members import default_members
from skflow.estimators.score import ScoredDensityMixin
from skflow.preprocessing import sample_in_original_units, score_samples_in_original_units
from skflow.training.stacking import stacking_weights

__all__ = ["DensityEnsemble"]

# Nats per row by which weights may fall short of the best ones, and the most steps to get there.
_TOLERANCE = 1e-6
_MOST_STEPS = 10_000


class DensityEnsemble(
    MetaEstimatorMixin,
    ScoredDensityMixin,
    PersistenceMixin,
    DocumentationLinkMixin,
    Composition,
):
    r"""A mixture of different density estimators, weighted by the rows that they have not seen.

    .. math::
        \log p(x) = \log \sum_m \frac{w_m}{K} \sum_{k=1}^K p_{mk}(x)

    Each of the members :math:`m` is fitted :math:`K` times: without each part of the rows in turn,
    and at last to all of them. All of these fits stay in the mixture. The rows that were held out
    choose the weights :math:`w_m`: those that make them likeliest [1]_.

    Members err in different ways, and a mixture is never worse than its members are on average:
    its log-density at any row is at least the weighted mean of theirs. So it pays most for few
    rows, of which it is hard to say beforehand what suits them.

    Read more in the :ref:`User Guide <ensembles>`.

    Parameters
    ----------
    estimators : list of (str, estimator) or None, default=None
        The members: density estimators with ``fit`` and ``score_samples``, and a name for each.
        They are cloned and stay as they are. A member may be a Pipeline or a search; its
        densities are taken in the units of `X`, by
        :func:`~skflow.preprocessing.score_samples_in_original_units`.

        None is five members: "flow", a :class:`RelativeGradientFlow`; "heavy_tailed_flow", one
        with ``base_distribution="student_t"``; "gaussian", a normal density whose covariance is
        shrunk as Ledoit and Wolf say; "mixture", a :class:`!sklearn.mixture.GaussianMixture`
        chosen by BIC; and "kernel", a :class:`!sklearn.neighbors.KernelDensity` of whitened rows
        whose bandwidth makes each row likeliest by the others.

    weights : {"stacking", "uniform"} or array-like of shape (n_members,), default="stacking"
        The weights of the members. "stacking" maximises the likelihood of the held-out rows. One
        further row counts for all members alike, so that none is given up altogether. "uniform"
        weighs all alike. Numbers of your own are divided by their sum.

    cv : int, cross-validation splitter or iterable, default=5
        How rows are held out. An int is a number of parts at random; equal rows, and rows of a
        group if :meth:`fit` is given `groups`, come into the same part. A splitter, or an iterable
        of splits, is taken at its word.

    n_jobs : int or None, default=None
        How many fits run at once, in processes of their own; None is 1, and -1 all processors.

    random_state : int, RandomState instance or None, default=None
        Determines the parts, and the seeds of members whose ``random_state`` is None. Pass an int
        for the same result each time.

    Attributes
    ----------
    estimators_ : list of lists of estimators
        For each member, its fits: one for each split, and last the one to all rows.

    named_estimators_ : Bunch
        The same by the names of the members.

    weights_ : ndarray of shape (n_members,)
        The weights, which add up to one.

    held_out_log_density_ : ndarray of shape (n_samples, n_members)
        The log-density of each row in :meth:`fit` by each member, by those of its fits that have
        not seen the row, in nats. It is NaN for rows that no split held out.

    n_features_in_ : int
        The number of columns seen in :meth:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if `X` had any that are all strings.

    See Also
    --------
    RelativeGradientFlow : One flow, which takes a small part of the time, and has latents.
    sklearn.ensemble.StackingRegressor : The same for regression.

    Notes
    -----
    The fits of a member stand side by side in equal parts. One fit has seen all rows, and in all
    of them together, much of what chance did to each averages out.

    Scores that are not a number, as of numbers that overflow, count as :math:`-\infty`.

    Cost: for each member, that of a fit and of scoring, times one more than the number of splits.
    With the default, 1,000 rows of 30 columns take some hundred seconds on one core, nearly all of
    it for the flows.

    References
    ----------
    .. [1] Padhraic Smyth and David Wolpert, "Linearly combining density estimators via stacking",
       Machine Learning 36, 1999.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.neighbors import KernelDensity
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import PowerTransformer
    >>> from skflow import DensityEnsemble
    >>> X = load_iris().data
    >>> members = [
    ...     ("mixture", GaussianMixture(3)),
    ...     ("kernel", make_pipeline(PowerTransformer(), KernelDensity(bandwidth=0.3))),
    ... ]
    >>> ensemble = DensityEnsemble(members, random_state=0).fit(X)
    >>> ensemble.score_samples(X).shape
    (150,)
    >>> bool(ensemble.weights_.argmax() == 0)
    True
    >>> ensemble.sample(3, random_state=0).shape
    (3, 4)
    """

    def __init__(
        self,
        estimators: list[tuple[str, Any]] | None = None,
        *,
        weights: Literal["stacking", "uniform"] | ArrayLike = "stacking",
        cv: Any = 5,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimators = estimators
        self.weights = weights
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimators": [list, None],
        "weights": [StrOptions({"stacking", "uniform"}), "array-like"],
        "cv": [
            Interval(Integral, 2, None, closed="left"),
            HasMethods(["split", "get_n_splits"]),
            Iterable,
        ],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    estimators_: list[list[Any]]
    named_estimators_: Bunch
    weights_: NDArray[np.float64]
    held_out_log_density_: NDArray[np.float64]

    # A parameter may be an estimator, which checks its own.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: ArrayLike | None = None,
        groups: Any = None,
    ) -> Self:
        """Fit each member without each part of the rows in turn and to all, and weigh the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, of any kind that all members take.
        y : array-like of shape (n_samples,) or None, default=None
            Handed to the splitter and to the members, if it is not None.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many rows each row counts for, to the members and in their weights. All members
            must take it; those by default do not. A Pipeline hands it to its last step.
        groups : array-like of shape (n_samples,) or None, default=None
            The group of each row. Rows of a group are held out together if `cv` is an int; else
            they go to the splitter.

        Returns
        -------
        self : DensityEnsemble
            The fitted ensemble. If `fit` fails, it stays as it was.

        Raises
        ------
        ValueError
            If `cv` is an int, and fewer rows than that differ from each other; if no row is held
            out to find weights with; or if names or weights do not fit the members.
        TypeError
            If a member is no density estimator, or cannot be fitted with `sample_weight`.
        """
        with unchanged_on_error(self):
            X, y, groups = indexable(X, y, groups)
            check_columns(self, X, fitting=True)
            members = self._members()
            weights = self._given_weights(len(members))
            if sample_weight is not None:
                sample_weight = row_weights(sample_weight, range(n_samples(X)))
            random_state = check_random_state(self.random_state)
            splits = splits_of(self.cv, X, y, {"groups": groups}, random_state, cut=random_folds)
            splits.append((np.arange(n_samples(X)), np.arange(0)))  # at last, all rows
            fits = self._fits(members, X, y, sample_weight, splits, random_state)
            scores = _held_out_log_density(fits, X, held_out_by(splits, n_samples(X)))
            if weights is None:
                weights = _stacked(scores, sample_weight)
            self.estimators_, self.weights_, self.held_out_log_density_ = fits, weights, scores
            self.named_estimators_ = Bunch(
                **{name: of_member for (name, _), of_member in zip(members, fits, strict=True)}
            )
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the log-density at each row of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units of `X`.
        """
        check_is_fitted(self)
        check_columns(self, X)
        weighty = np.flatnonzero(self.weights_)
        scores = [
            log_density_by(self.estimators_[m], X, score=score_samples_in_original_units)
            for m in weighty
        ]
        mixture: NDArray[np.float64] = logsumexp(
            np.stack(scores, axis=1), axis=1, b=self.weights_[weighty]
        )
        return mixture

    def sample(self, n_samples: int = 1, random_state: Any = None) -> NDArray[np.float64]:
        """Draw rows from the mixture.

        Parameters
        ----------
        n_samples : int, default=1
            How many rows to draw.
        random_state : int, RandomState instance or None, default=None
            Pass an int for the same rows each time.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In random order.

        Raises
        ------
        TypeError
            If a member has no method ``sample``, or is a Pipeline with a step that has no
            ``inverse_transform``.
        """
        check_is_fitted(self)
        check_n_samples(n_samples, self.n_features_in_)
        rng = check_random_state(random_state)
        fits = [fit for of_member in self.estimators_ for fit in of_member]
        n_fits = len(self.estimators_[0])
        counts = rng.multinomial(n_samples, np.repeat(self.weights_ / n_fits, n_fits))
        drawn = [
            sample_in_original_units(fit, int(count), rng)
            for fit, count in zip(fits, counts, strict=True)
            if count
        ]
        return rng.permutation(np.concatenate(drawn))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, and those of the members.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the members by their names, and their parameters as
            ``name__parameter``.

        Returns
        -------
        params : dict
            Names and values.
        """
        params: dict[str, Any] = self._get_params("estimators", deep=deep)
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, members by their names, or their parameters.

        Parameters
        ----------
        **params : dict
            Named as :meth:`get_params` names them.

        Returns
        -------
        self : DensityEnsemble
            The ensemble.
        """
        self._set_params("estimators", **params)
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        pairs = self.estimators if isinstance(self.estimators, list) else default_members()
        of_members = [
            get_tags(pair[1]).input_tags  # others are refused by `fit`, with the reason
            for pair in pairs
            if _is_pair(pair) and not isinstance(pair[1], type)
        ]
        tags.input_tags.sparse = all(of_member.sparse for of_member in of_members)
        tags.input_tags.allow_nan = all(of_member.allow_nan for of_member in of_members)
        return tags

    def _members(self) -> list[tuple[str, Any]]:
        """Return the members and their names, or say what is wrong with them."""
        if self.estimators is None:
            return default_members()
        if not self.estimators or not all(map(_is_pair, self.estimators)):
            raise ValueError(
                "estimators must be a list of (name, estimator), one at least, or None, got "
                f"{self.estimators!r}."
            )
        self._validate_names([name for name, _ in self.estimators])
        for name, estimator in self.estimators:
            is_density = hasattr(estimator, "fit") and hasattr(estimator, "score_samples")
            if isinstance(estimator, type) or not is_density or is_outlier_detector(estimator):
                raise TypeError(
                    "The members of estimators must be density estimators with fit and "
                    f"score_samples, got {estimator!r} under the name {name!r}."
                )
        return list(self.estimators)

    def _given_weights(self, n_members: int) -> NDArray[np.float64] | None:
        """Return the weights of the members, or None if held-out rows are to find them."""
        if isinstance(self.weights, str):
            return np.full(n_members, 1 / n_members) if self.weights == "uniform" else None
        weights = floats(self.weights, "weights")
        if (
            weights.shape != (n_members,)
            or not np.isfinite(weights).all()
            or (weights < 0).any()
            or not weights.any()
        ):
            raise ValueError(
                "weights must be 'stacking', 'uniform' or one number for each of the "
                f"{n_members} members, none negative and one positive, got {self.weights!r}."
            )
        return weights / weights.sum()

    def _fits(
        self,
        members: list[tuple[str, Any]],
        X: Any,
        y: Any,
        sample_weight: NDArray[np.float64] | None,
        splits: Splits,
        random_state: np.random.RandomState,
    ) -> list[list[Any]]:
        """Fit each member to the rows of each split."""
        params: list[dict[str, Any]] = [{} for _ in members]
        if sample_weight is not None:
            params = [{_weights_in_fit(*member): sample_weight} for member in members]
            splits = [(train[sample_weight[train] > 0], test) for train, test in splits]
        fits = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit)(name, seeded_clone(estimator, random_state), X, y, of_member, train)
            for (name, estimator), of_member in zip(members, params, strict=True)
            for train, _ in splits
        )
        n_fits = len(splits)
        return [fits[m * n_fits : (m + 1) * n_fits] for m in range(len(members))]


def _is_pair(entry: Any) -> bool:
    return isinstance(entry, tuple | list) and len(entry) == 2


def _fit(name: str, *estimator_and_rows: Any) -> Any:
    try:
        return fit_to_rows(*estimator_and_rows)
    except Exception as error:
        error.add_note(f"This came from the member {name!r} of a DensityEnsemble.")
        raise


def _weights_in_fit(name: str, estimator: Any) -> str:
    """Return what ``fit`` of a member calls the weights of rows."""
    last, parameter = estimator, "sample_weight"
    while isinstance(last, Pipeline):
        last_name, last = last.steps[-1]
        parameter = f"{last_name}__{parameter}"
    if not has_fit_parameter(last, "sample_weight"):
        raise TypeError(
            f"sample_weight needs members that can be fitted with it, and {name!r} cannot: "
            f"{estimator!r}. Leave out sample_weight, or this member."
        )
    return parameter


def _held_out_log_density(
    fits: list[list[Any]], X: Any, held_out: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return what the fits of each member that have not seen a row say of it."""
    which = np.flatnonzero(held_out.any(axis=1))
    scores = np.full((len(held_out), len(fits)), np.nan)
    if len(which):
        of_held_out = take_rows(X, which)
        for m, of_member in enumerate(fits):
            scores[which, m] = log_density_by(
                of_member, of_held_out, held_out[which], score=score_samples_in_original_units
            )
    return scores


def _stacked(
    scores: NDArray[np.float64], sample_weight: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return the weights that make the held-out rows likeliest."""
    held_out = ~np.isnan(scores[:, 0])
    if not held_out.any():
        raise ValueError(
            "weights='stacking' needs rows that are held out, got splits of cv that hold out "
            "none. Pass an int, or splits whose second part has rows; or set weights='uniform'."
        )
    expected = held_out & (scores > -np.inf).any(axis=1)  # no weights help the others
    counts = None if sample_weight is None else torch.from_numpy(sample_weight[expected])
    weights: NDArray[np.float64] = stacking_weights(
        torch.from_numpy(scores[expected]), counts, n_steps=_MOST_STEPS, tolerance=_TOLERANCE
    ).numpy()
    return weights / weights.sum()
