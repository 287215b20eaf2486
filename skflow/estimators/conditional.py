"""The estimator of conditional densities."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags, check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from skflow._sklearn.documentation import DocumentationLinkMixin
from skflow._sklearn.fit_task import CallbackSupportMixin, FitTask
from skflow._sklearn.persistence import PersistenceMixin
from skflow._sklearn.pieces import in_one_piece, unchanged_on_error
from skflow._sklearn.predictive import floats
from skflow._sklearn.room import check_n_samples
from skflow._sklearn.validation import (
    HasMethods,
    Interval,
    StrOptions,
    as_tensor,
    check_columns,
    fit_context,
    params_of_rows,
    resolve_device,
    row_weights,
    take_rows,
    target_rows,
    torch_generator,
)
from skflow.estimators.columns import constant_and_named
from skflow.estimators.conformal import central_distances
from skflow.estimators.context import Context
from skflow.estimators.folds import random_folds, splits_of
from skflow.estimators.held_out import fit_to_rows, seeded_clone
from skflow.estimators.overflow import checked_finite
from skflow.estimators.progress import shown_progress
from skflow.estimators.score import mean_log_density
from skflow.estimators.state import become, own_autograd_mode, snapshot
from skflow.estimators.training import TRAINING_CONSTRAINTS, TrainingMixin
from skflow.exceptions import ColumnWarning
from skflow.flow import Bijection, Bound, Flow
from skflow.training.architecture import DTYPES
from skflow.training.chain import ChainPlan, conditional_plan
from skflow.training.checkpoint import Checkpoint
from skflow.training.conditional import ConditionalPlan, training_parameters
from skflow.training.fits import Fit, run
from skflow.training.history import History
from skflow.training.outcome import check_weights, warn_of_skipped_steps
from skflow.training.passes import Increment
from skflow.training.plan import plan_pass
from skflow.training.rows import Rows
from skflow.training.standardization import standardization

__all__ = ["ConditionalFlow"]

_Plan = ConditionalPlan | ChainPlan

# So many rows are mapped at a time.
_BLOCK_ROWS = 16_384

# Moments of one target are integrals over its latent, at so many equally spaced points within so
# many standard deviations. With several targets, they are means over so many Sobol points, which
# fill the space of the latents more evenly than random draws.
_N_NODES, _MOST_LATENT = 129, 8.0
_N_POINTS = 512

# Quantiles that are further from the median, as probabilities, are infinite.
_MOST_DISTANCE = 0.5 - 1e-12


class _Checked(NamedTuple):
    """Rows at the door of a fit."""

    X: Any
    """The features, of any kind."""

    targets: torch.Tensor
    """Of shape (N, K), in float64."""

    weights: torch.Tensor | None
    """Of shape (N,), all positive; None if all are 1."""


class ConditionalFlow(
    TrainingMixin,
    CallbackSupportMixin,
    PersistenceMixin,
    DocumentationLinkMixin,
    RegressorMixin,
    BaseEstimator,
):
    r"""Regression that returns the whole distribution of one or several targets.

    The density :math:`p(y \mid x)` is that of an invertible network from targets to normal
    latents, whose splines the features set. It is exact, trains by maximum likelihood, and gives
    quantiles, intervals and samples as directly as densities.

    A fit starts from the likeliest of a linear regression with normal errors, of a mixture of
    normal distributions that does not depend on the features, and of such a mixture for the errors
    of the regression. Weights are kept only if they are likelier for held-out rows. The features
    are joined by the out-of-bag predictions of a forest, which few rows tell more than a network.

    Read more in the :ref:`User Guide <conditional>`.

    Parameters
    ----------
    n_layers : int or "auto", default="auto"
        How many splines a target goes through, one after the other. "auto" is 2.

    n_trees : int or "auto", default="auto"
        The number of extremely randomised trees whose predictions are features, too. 0 is none:
        the network then sees what `X` holds, and nothing else. "auto" is 200 for up to 10,000 rows
        of up to 64 columns, and down to 50 beyond.

    learning_rate : float or "auto", default="auto"
        In relation to the default of the dense layers, which is 0.2: that of all other parameters
        is in proportion.

    batch_size : int or "auto", default="auto"
        The number of rows in a step. "auto" is 256 for 5,000 rows or more, and as few as 32 for
        fewer.

    max_iter : int or "auto", default="auto"
        The number of epochs over which the learning rate falls to zero. "auto" is 100, or as many
        as 5,000 steps take if these are fewer.

    max_time : float or None, default=None
        The seconds that training may take.

    checkpoint_path : str, path-like or None, default=None
        A file for the state of `fit` while it runs, as of :class:`RelativeGradientFlow`: see
        :ref:`checkpoints`. The fits of `cv`, which come before, are not kept.

    early_stopping : bool, default=True
        Whether to hold rows out, and to keep the weights with the highest likelihood on them. With
        fewer than 2,000 rows, all rows are fitted in the end, up to the best epoch.

    validation_fraction : float, default=0.1
        The share of rows to hold out. Only used with `early_stopping`.

    n_iter_no_change : int, default=30
        The number of epochs without a higher validation score after which `fit` lands. Only used
        with `early_stopping`.

    cv : int, cross-validation splitter, iterable or None, default=None
        What calibrates intervals: rows that flows of their own have not seen. An int is a number
        of folds at random, in which equal rows come together, and the intervals are those of a
        flow that is fitted to all rows. With a single split, such as
        ``ShuffleSplit(n_splits=1, test_size=0.2)``, the flow is fitted to the first part of it,
        and intervals have their coverage whatever the distribution of the data is. By default,
        intervals are those of the density itself.

    device : str, default="auto"
        "cpu", "cuda" or "cuda:<index>". "auto" is CUDA if it is there.

    dtype : {"float32", "float64"}, default="float32"
        The precision of training and of the weights. What is returned is computed in float64.

    verbose : bool or int, default=False
        Whether to show how the fit goes.

    random_state : int, RandomState instance or None, default=None
        Determines the rows that are held out, the trees, the initial weights and the batches.

    Attributes
    ----------
    flow_ : skflow.flow.Flow
        The fitted flow, of rows that consist of a context and the targets behind it:
        ``flow_.given(context)`` has the densities of the targets.

    n_features_in_ : int
        The number of columns seen in :meth:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if `X` had any that are all strings.

    n_targets_ : int
        The number of targets.

    n_samples_seen_ : int
        The number of rows in :meth:`fit`, and in all calls of :meth:`partial_fit` since.

    n_iter_ : int
        The number of epochs.

    calibration_scores_ : ndarray of shape (n_calibration, `n_targets_`)
        How far from one half the :meth:`cdf` of each row is, by the flow that has not seen it.
        Only there with `cv`.

    fit_time_ : float
        The seconds that the fit took.

    loss_curve_ : list of float
        Mean negative log-likelihood of the batches of each epoch, in nats.

    validation_scores_ : list of float
        Mean log-likelihood of the held-out rows after each epoch, in nats.

    best_validation_score_ : float or None
        The highest of them, or that of the start. None without `early_stopping`.

    round_trip_error_ : float
        By how much 64 rows differ at most once they were mapped to latents and back in float64: as
        a share of the entry, or of the standard deviation of its column if that is larger. It is
        infinite if no inverse was found.
        Not there after :meth:`partial_fit`.

    See Also
    --------
    RelativeGradientFlow : The density of all columns of a table.

    Notes
    -----
    :meth:`score` is a mean log-likelihood and not the R² of other regressors: a search maximises
    the likelihood of held-out rows.

    Arrays of other libraries, and frames, are taken as features and as targets. What is returned
    are arrays of NumPy.

    A training step on N rows costs O(N · H · (C + H + B · K)), with C columns of context, K
    targets, H hidden units and B bins.

    References
    ----------
    .. [1] C. Winkler, D. Worrall, E. Hoogeboom and M. Welling, "Learning likelihoods with
       conditional normalizing flows", 2019.
    .. [2] C. Durkan, A. Bekasov, I. Murray and G. Papamakarios, "Neural spline flows", NeurIPS
       2019.
    .. [3] V. Chernozhukov, K. Wüthrich and Y. Zhu, "Distributional conformal prediction", PNAS
       2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skflow import ConditionalFlow
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(300, 1))
    >>> y = np.sin(3 * X[:, 0]) + 0.1 * (1 + X[:, 0] ** 2) * rng.normal(size=300)
    >>> flow = ConditionalFlow(max_iter=20, random_state=0).fit(X, y)
    >>> flow.score_samples(X, y).shape
    (300,)
    >>> flow.predict_interval(X[:2], coverage=0.9).shape
    (2, 2)
    >>> flow.sample(X[:2], 5, random_state=0).shape
    (2, 5)
    """

    def __init__(
        self,
        n_layers: int | Literal["auto"] = "auto",
        *,
        n_trees: int | Literal["auto"] = "auto",
        learning_rate: float | Literal["auto"] = "auto",
        batch_size: int | Literal["auto"] = "auto",
        max_iter: int | Literal["auto"] = "auto",
        max_time: float | None = None,
        checkpoint_path: str | os.PathLike[str] | None = None,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 30,
        cv: Any = None,
        device: str = "auto",
        dtype: Literal["float32", "float64"] = "float32",
        verbose: bool | int = False,
        random_state: Any = None,
    ) -> None:
        self.n_layers = n_layers
        self.n_trees = n_trees
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.max_time = max_time
        self.checkpoint_path = checkpoint_path
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.cv = cv
        self.device = device
        self.dtype = dtype
        self.verbose = verbose
        self.random_state = random_state

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **TRAINING_CONSTRAINTS,
        "n_trees": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "cv": [None, Interval(Integral, 2, None, closed="left"), HasMethods(["split"]), Iterable],
    }

    _context: Context
    _has_one_target: bool
    _increment: Increment
    loss_curve_: list[float]
    n_samples_seen_: int

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the conditional density by maximum likelihood.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Numbers, some of which may be missing (NaN). A frame may also hold strings and
            categories.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Continuous targets.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many rows each row counts for. By default, each counts for one.

        Returns
        -------
        self : ConditionalFlow
            The fitted estimator. If `fit` fails, it stays as it was.

        Raises
        ------
        DivergenceError
            If training cannot go on, however low the learning rate, or if it ends with a density
            that is not finite.

        Warns
        -----
        RuntimeWarning
            If steps were not finite: they are skipped, and each halves the learning rate. Also
            if targets do not come back from their latents.
        ConvergenceWarning
            If Ctrl-C ended the fit, which then has its best weights so far: see :ref:`interrupts`.
        ColumnWarning
            If targets have no density, as they are constant or repeat a value, or if a few extreme
            values make nine tenths of the variance of one.
        """
        started = time.perf_counter()
        task = FitTask(self, X, y, sample_weight)
        with unchanged_on_error(self), own_autograd_mode(), shown_progress(self.verbose) as show:
            fitted = snapshot(self)
            checkpoint = Checkpoint(self.checkpoint_path)
            rows = fitted._checked(*fitted._calibrated(X, y, sample_weight))
            plan = fitted._plan(rows, checkpoint)
            # Rows that calibrate were scored by completed fits.
            with nullcontext() if self.cv is None else in_one_piece():
                fitted._train(plan, task, show, checkpoint, started)
            become(self, fitted)
            task.end()
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one pass over rows, from where the flow is.

        Unless :meth:`fit` was called before, the first call does what a fit starts with: from its
        rows follow all scales, what is "auto" and the start. So pass it as many rows as there are.
        There is no forest then, which cannot learn from further rows. After a fit with a forest,
        pass rows that this fit has not seen: of those that it has seen, the forest knows too much.
        No rows are held out, and learning rates stay, as in
        :meth:`RelativeGradientFlow.partial_fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            In the first call, two rows at least.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            The targets.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            As in :meth:`fit`.

        Returns
        -------
        self : ConditionalFlow
            The estimator. If `partial_fit` fails, it stays as it was.

        Raises
        ------
        DivergenceError
            If training cannot go on, however low the learning rate.

        Warns
        -----
        RuntimeWarning
            If steps were not finite: they are skipped, and each halves the learning rate.
        ColumnWarning
            If targets of the first call have no density or extreme values, as for :meth:`fit`.
        """
        self._validate_params()  # scikit-learn leaves it out where a fit goes on
        started = time.perf_counter()
        with unchanged_on_error(self), own_autograd_mode():
            fitted = snapshot(self)
            fitted._forget_examination()
            fitted._partial_fit(X, y, sample_weight, started)
            become(self, fitted)
        return self

    def score_samples(self, X: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Return the log-density of targets given their features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            The targets.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units of `y`. Never NaN, and -inf only where float64 has no number as
            low: see :ref:`numerical_contract`.
        """
        return self._map(X, self._targets(X, y), Bound.log_prob)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean log-density of targets given their features, and not R².

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            The targets.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Of the rows, in the mean.

        Returns
        -------
        score : float
            In nats per row, in the units of `y`. Higher is better.
        """
        return mean_log_density(self.score_samples(X, y), sample_weight)

    def to_latents(self, X: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Map targets to latents, which are standard normal whatever the features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            The targets.

        Returns
        -------
        Z : ndarray of shape (n_samples,) or (n_samples, n_targets)
            The latents.

        Raises
        ------
        ValueError
            If latents overflow.
        """
        return self._like_targets(self._map(X, self._targets(X, y), _latents_of))

    def from_latents(self, X: ArrayLike, Z: ArrayLike) -> NDArray[np.float64]:
        """Map latents back to targets; the inverse of :meth:`to_latents`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.
        Z : array-like of shape (n_samples,) or (n_samples, n_targets)
            The latents.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            The targets.

        Raises
        ------
        InversionError
            If targets could not be found to working precision.
        """
        return self._like_targets(self._map(X, self._targets(X, Z), Bound.inverse))

    def sample(
        self, X: ArrayLike, n_samples: int = 1, random_state: Any = None
    ) -> NDArray[np.float64]:
        """Draw targets given features, in one pass.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_features)
            The features.
        n_samples : int, default=1
            How many targets to draw for each row of `X`.
        random_state : int, RandomState instance or None, default=None
            Pass an int for the same targets each time.

        Returns
        -------
        y : ndarray of shape (n_samples_X, n_samples) or (n_samples_X, n_targets, n_samples)
            The latter for targets of two dimensions, as
            :meth:`sklearn.gaussian_process.GaussianProcessRegressor.sample_y` has it.
        """
        check_is_fitted(self)
        context = self._context.transform(X)
        check_n_samples(n_samples, len(context) * self.n_targets_)
        generator = torch_generator(random_state, torch.device("cpu"))
        shape = (len(context), n_samples, self.n_targets_)
        z = torch.randn(shape, generator=generator, dtype=torch.float64)
        y = self._inverses(context, z)
        return y[:, :, 0] if self._has_one_target else y.transpose(0, 2, 1)

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the means of the targets given their features.

        With several targets, they are means over 512 points that are spread as the density is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.

        Returns
        -------
        mean : ndarray of shape (n_samples,) or (n_samples, n_targets)
            In the units of `y`.
        """
        return self._moments(X)[0]

    def predict_std(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the standard deviations of the targets given their features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.

        Returns
        -------
        std : ndarray of shape (n_samples,) or (n_samples, n_targets)
            In the units of `y`.
        """
        return self._moments(X)[1]

    def cdf(self, X: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        r"""Return the probability of a smaller target, :math:`P(Y \le y \mid x)`.

        It is exact for one target. For several, it is that of each target by itself, and the share
        of 512 points that are spread as the density is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            The targets.

        Returns
        -------
        probability : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Uniform on [0, 1] if the targets follow the density.
        """
        targets = self._targets(X, y)
        if self.n_targets_ == 1:
            z = self._map(X, targets, _latents_of)
            return self._like_targets(torch.special.ndtr(torch.from_numpy(z)).numpy())
        n_below = (self._points(X) <= targets.numpy()[:, None]).sum(1)
        return (n_below + 0.5) / (_N_POINTS + 1)

    def predict_quantiles(self, X: ArrayLike, q: ArrayLike) -> NDArray[np.float64]:
        """Return quantiles of the targets given their features.

        They are exact for one target, by inversion of its monotone map. For several, they are
        those of each target by itself, of 512 points that are spread as the density is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.
        q : float or array-like of shape (n_quantiles,)
            Probabilities between 0 and 1, both excluded.

        Returns
        -------
        quantiles : ndarray
            Of shape (n_samples,) or (n_samples, n_quantiles) for one target, and of shape
            (n_samples, n_targets) or (n_samples, n_targets, n_quantiles) for targets of two
            dimensions.

        Raises
        ------
        ValueError
            If a probability is not between 0 and 1.
        """
        check_is_fitted(self)
        levels = np.atleast_1d(floats(q, "q"))
        if levels.ndim != 1 or not len(levels) or not ((levels > 0) & (levels < 1)).all():
            raise ValueError(f"q must be between 0 and 1, both excluded, got {q!r}.")
        quantiles = self._quantiles(X, levels)
        quantiles = quantiles[:, 0] if self._has_one_target else quantiles
        return quantiles[..., 0] if np.ndim(q) == 0 else quantiles

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> NDArray[np.float64]:
        r"""Return central intervals that the targets lie in with a given probability.

        They lie between quantiles of the same distance from the median. With `cv`, that is the
        distance which covers the share of the calibration rows: of new rows like them,
        intervals of a flow that was fitted to one split cover at least that share. Each target has
        an interval by itself.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.
        coverage : float, default=0.9
            The probability, between 0 and 1.

        Returns
        -------
        interval : ndarray of shape (n_samples, 2) or (n_samples, n_targets, 2)
            The lower and the upper end of each. They are infinite where there are too few
            calibration rows for the coverage.
        """
        check_is_fitted(self)
        check_scalar(coverage, "coverage", Real)
        if not 0 < coverage < 1:
            raise ValueError(f"coverage must be between 0 and 1, both excluded, got {coverage!r}.")
        if not hasattr(self, "calibration_scores_"):
            return self.predict_quantiles(X, [(1 - coverage) / 2, (1 + coverage) / 2])
        distances = central_distances(self.calibration_scores_, coverage)
        inside = np.minimum(distances, _MOST_DISTANCE)
        quantiles = self._quantiles(X, np.concatenate([0.5 - inside, 0.5 + inside]))
        k = np.arange(self.n_targets_)
        ends = np.stack([quantiles[:, k, k], quantiles[:, k, self.n_targets_ + k]], -1)
        ends[:, distances > _MOST_DISTANCE] = [-np.inf, np.inf]
        return ends[:, 0] if self._has_one_target else ends

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        tags.regressor_tags.poor_score = True  # it is no R²
        return tags

    def _calibrated(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
        """Score rows that are held out, and return those to fit."""
        self.__dict__.pop("calibration_scores_", None)
        if self.cv is None:
            return X, y, sample_weight
        check_columns(self, X, fitting=True)
        target_rows(y, X)
        random_state = check_random_state(self.random_state)
        splits = splits_of(self.cv, X, y, {}, random_state, cut=random_folds)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        scores = []
        for train, test in splits:
            twin = seeded_clone(self, random_state).set_params(
                cv=None, verbose=False, checkpoint_path=None
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ColumnWarning)  # the fit that follows warns
                twin = fit_to_rows(twin, X, y, weights, train)
            p = twin.cdf(take_rows(X, test), take_rows(y, test))
            scores.append(np.abs(p - 0.5).reshape(len(test), -1))
        self.calibration_scores_ = np.concatenate(scores)
        if len(splits) > 1:
            return X, y, sample_weight
        train = splits[0][0]
        weights = params_of_rows(X, weights, train)
        return take_rows(X, train), take_rows(y, train), weights.get("sample_weight")

    def _checked(self, X: Any, y: Any, sample_weight: Any, *, least: int = 2) -> _Checked:
        """Return the rows that have some weight; `least` is more than 1 where the fit begins."""
        check_columns(self, X, fitting=least > 1)
        targets = target_rows(y, X)
        if least > 1:
            self._has_one_target = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        weights = None if sample_weight is None else row_weights(sample_weight, targets)
        if weights is not None and not (weights > 0).all():
            kept = np.flatnonzero(weights > 0)
            X, targets, weights = take_rows(X, kept), targets[kept], weights[kept]
        if weights is not None and (weights == 1).all():
            weights = None
        if len(targets) < least:
            raise ValueError(
                f"Found array with {len(targets)} sample(s) (shape={np.shape(X)}) while a minimum "
                f"of {least} is required by {type(self).__name__}."
            )
        return _Checked(X, as_tensor(targets), None if weights is None else as_tensor(weights))

    def _constant_targets(self, rows: _Checked) -> torch.Tensor:
        """Return which targets are constant, and warn of all that need a look."""
        targets = Rows(rows.targets, weights=rows.weights)
        return constant_and_named(targets, lambda j: f"column {j}", stacklevel=5, parameter="y")

    def _plan(
        self,
        rows: _Checked,
        checkpoint: Checkpoint,
        constant: torch.Tensor | None = None,
        *,
        is_first_pass: bool = False,
    ) -> _Plan:
        """Return what a fit to the rows does."""
        if constant is None:
            constant = self._constant_targets(rows)
        self.n_targets_ = rows.targets.shape[1]
        device = resolve_device(self.device)
        generator = checkpoint.seeded(torch_generator(self.random_state, device))
        front = standardization(Rows(rows.targets, weights=rows.weights), robust=True)
        n_trees = 0 if is_first_pass else self.n_trees
        self._context = Context(n_trees, int(generator.initial_seed() % 2**31))
        context = self._context.fit(rows.X, front(rows.targets), rows.weights)
        parameters = self.get_params(deep=False)
        if is_first_pass:
            parameters["early_stopping"] = False
        data = Rows(torch.cat([context, rows.targets], 1), weights=rows.weights)
        checkpoint.compare(data, parameters)
        return conditional_plan(parameters, data, front, constant=constant, generator=generator)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, started: float) -> None:
        """Do what :meth:`partial_fit` does, in an estimator that nobody else sees yet."""
        first = not hasattr(self, "flow_")
        checked = self._checked(X, y, sample_weight, least=2 if first else 1)
        if first:
            constant = self._constant_targets(checked)
            plan = self._plan(checked, Checkpoint(None), constant, is_first_pass=True)
            front, core, rows, generator = plan.front, plan.core, plan.training, plan.generator
            self._increment, n_seen = plan.increment(0.0), len(rows)
        else:
            self._check_n_targets(checked.targets)
            seed = self.random_state if self._increment.seed is None else self._increment.seed
            generator = torch_generator(seed, resolve_device(self.device))
            front, core = deepcopy(self.flow_).to(generator.device).split()
            data = torch.cat([self._context.transform(checked.X), checked.targets], 1)
            rows = Rows(data, weights=checked.weights).behind(
                front, self._increment.constant, generator, DTYPES[self.dtype]
            )
            n_seen = self.n_samples_seen_ + len(rows)
        parameters = training_parameters(self.get_params(deep=False))
        one_pass = plan_pass(parameters, rows, core, self._increment, n_seen, generator)
        history = run(one_pass)
        check_weights(core, history.rate)
        warn_of_skipped_steps(history, stacklevel=4)
        before = [] if first else self.loss_curve_
        self._expose_flow(front, core, replace(history, losses=before + history.losses), started)
        self._increment, self.n_samples_seen_ = one_pass.increment, n_seen

    def _expose(self, plan: _Plan, fit: Fit, core: Flow, history: History, started: float) -> None:
        """Set the attributes of a fit that left a flow and this record."""
        self._expose_flow(plan.front, plan.calibrated(core), history, started)
        self._increment = plan.increment(history.n_steps)
        self.n_samples_seen_ = plan.n_rows

    def _expose_flow(self, front: Bijection, core: Flow, history: History, started: float) -> None:
        self.flow_ = core.behind(front)
        self.loss_curve_ = history.losses
        self.validation_scores_ = history.validation_scores
        self.best_validation_score_ = history.best_score
        self.n_iter_ = max(1, len(history.losses))
        self.fit_time_ = time.perf_counter() - started

    def _targets(self, X: Any, y: Any) -> torch.Tensor:
        """Check targets, and return them as rows."""
        check_is_fitted(self)
        targets = target_rows(y, X)
        rows = as_tensor(targets.reshape(len(targets), -1))
        self._check_n_targets(rows)
        return rows

    def _check_n_targets(self, targets: torch.Tensor) -> None:
        if targets.shape[1] != self.n_targets_:
            raise ValueError(
                f"y has {targets.shape[1]} target(s), but {type(self).__name__} was fitted to "
                f"{self.n_targets_}."
            )

    def _like_targets(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return rows[:, 0] if self._has_one_target else rows

    def _map(
        self,
        X: Any,
        rows: torch.Tensor,
        function: Callable[[Bound, torch.Tensor], torch.Tensor],
    ) -> NDArray[np.float64]:
        """Apply `function` to rows of targets or latents, given their features."""
        return self._map_given(self._context.transform(X), rows, function)

    def _map_given(
        self,
        context: torch.Tensor,
        rows: torch.Tensor,
        function: Callable[[Bound, torch.Tensor], torch.Tensor],
    ) -> NDArray[np.float64]:
        device = resolve_device(self.device)
        flow = self.flow_.to(device)
        mapped = []
        with own_autograd_mode(), flow.unchanged():
            for some, part in zip(
                context.split(_BLOCK_ROWS), rows.split(_BLOCK_ROWS), strict=True
            ):
                mapped.append(function(flow.given(some.to(device)), part.to(device)).cpu())
        return torch.cat(mapped).numpy()

    def _inverses(self, context: torch.Tensor, z: torch.Tensor) -> NDArray[np.float64]:
        """Map latents of shape (N, M, K) to targets: M for each row of the context."""
        n_rows, n_each, n_targets = z.shape
        y = np.empty(z.shape)
        n_block = max(1, _BLOCK_ROWS // n_each)
        for start in range(0, n_rows, n_block):
            part = slice(start, start + n_block)
            some = context[part].repeat_interleave(n_each, 0)
            latents = z[part].reshape(-1, n_targets)
            y[part] = self._map_given(some, latents, Bound.inverse).reshape(y[part].shape)
        return y

    def _quantiles(self, X: Any, levels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return quantiles, of shape (N, K, levels)."""
        if self.n_targets_ > 1:
            return np.moveaxis(np.quantile(self._points(X), levels, axis=1), 0, -1)
        context = self._context.transform(X)
        z = torch.special.ndtri(torch.from_numpy(levels)).expand(len(context), -1)
        return self._inverses(context, z[..., None]).transpose(0, 2, 1)

    def _points(self, X: Any) -> NDArray[np.float64]:
        """Return targets that are spread as the density is, of shape (N, points, K)."""
        engine = torch.quasirandom.SobolEngine(self.n_targets_, scramble=True, seed=0)
        z = torch.special.ndtri(engine.draw(_N_POINTS, dtype=torch.float64))
        context = self._context.transform(X)
        return self._inverses(context, z.expand(len(context), -1, -1))

    def _moments(self, X: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return means and standard deviations of the targets."""
        check_is_fitted(self)
        if self.n_targets_ == 1:
            context = self._context.transform(X)
            nodes = torch.linspace(-_MOST_LATENT, _MOST_LATENT, _N_NODES, dtype=torch.float64)
            weights = torch.softmax(-0.5 * nodes.square(), 0).numpy()
            values = self._inverses(context, nodes[:, None].expand(len(context), -1, 1))
        else:
            values = self._points(X)
            weights = np.full(values.shape[1], 1 / values.shape[1])
        mean = np.einsum("nmk,m->nk", values, weights)
        apart = values - mean[:, None]
        unit = np.maximum(np.abs(apart).max(1), np.finfo(np.float64).tiny)  # no square overflows
        variance = np.einsum("nmk,m->nk", (apart / unit[:, None]) ** 2, weights)
        return self._like_targets(mean), self._like_targets(unit * np.sqrt(variance))


def _latents_of(bound: Bound, y: torch.Tensor) -> torch.Tensor:
    return checked_finite(bound.forward(y))
