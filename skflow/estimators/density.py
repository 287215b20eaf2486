"""The estimator."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from numbers import Real
from typing import Any, ClassVar, Literal, Self

import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from skflow._sklearn.documentation import DocumentationLinkMixin
from skflow._sklearn.fit_task import CallbackSupportMixin, FitTask
from skflow._sklearn.persistence import PersistenceMixin
from skflow._sklearn.pieces import unchanged_on_error
from skflow._sklearn.room import check_n_samples
from skflow._sklearn.sources import source_of
from skflow._sklearn.validation import (
    HasMethods,
    Interval,
    StrOptions,
    array_like,
    as_tensor,
    column_label,
    fit_context,
    framed,
    latents,
    resolve_device,
    row_groups,
    row_weights,
    rows,
    torch_generator,
)
from skflow.estimators.columns import constant_and_named
from skflow.estimators.progress import shown_progress
from skflow.estimators.row_maps import map_blocks, map_rows
from skflow.estimators.score import ScoredDensityMixin
from skflow.estimators.state import become, own_autograd_mode, snapshot
from skflow.estimators.summary import SummaryMixin
from skflow.estimators.training import TRAINING_CONSTRAINTS, TrainingMixin
from skflow.flow import (
    Activation,
    BaseDistribution,
    Bijection,
    Blueprint,
    DistributionLike,
    Flow,
)
from skflow.flow.blocks import MATRIX_ROWS, block_length
from skflow.training.architecture import ACTIVATIONS, BASES, COUPLINGS, DTYPES, build_flow
from skflow.training.checkpoint import Checkpoint
from skflow.training.exchange import ALONE, Exchange, current_exchange
from skflow.training.fits import Fit, run
from skflow.training.history import History
from skflow.training.outcome import check_weights, warn_of_skipped_steps
from skflow.training.passes import Increment
from skflow.training.plan import OPTIMIZERS, Plan, plan_pass
from skflow.training.precision import MatmulPrecision
from skflow.training.rows import Rows
from skflow.training.standardization import standardization
from skflow.training.start import start
from skflow.training.streams import AnyRows, UnreadRows
from skflow.training.survey import survey

__all__ = ["RelativeGradientFlow"]


class RelativeGradientFlow(
    TrainingMixin,
    SummaryMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ScoredDensityMixin,
    CallbackSupportMixin,
    PersistenceMixin,
    DocumentationLinkMixin,
    BaseEstimator,
):
    r"""Deep density estimation with an invertible network, by exact maximum likelihood.

    The density of a row is that of its latents under a simple base distribution, times the
    Jacobian of the network that maps one to the other. The network is unconstrained: dense
    layers with full weight matrices and invertible nonlinearities between them. It trains
    along the *relative gradient*, which needs no determinant, inverse or factorisation of the
    weights [1]_.

    Read more in the :ref:`User Guide <user_guide>`.

    Parameters
    ----------
    n_layers : int or "auto", default="auto"
        The number of dense layers. More layers are more flexible and need more rows. "auto" is 6
        for 500 rows or more of up to 16 columns. It is as few as 3 for fewer rows or more
        columns, and as few as 2 beyond 256 columns. It is 5 with an `activation` that is not
        learned.

    activation : str or Activation, default="auto"
        The nonlinearity between the layers. "auto" is "spline": a learned monotone function for
        each column. One more spline stands before the first layer; it starts as the map that
        makes each column of the data about normal. "leaky_tanh", ``LeakyTanh(alpha=1,
        beta=0.1)``, and "smooth_leaky_relu", ``SmoothLeakyReLU(alpha=0.3)``, are those of [1]_.
        An instance has parameters of your own.

    coupling : {"auto", "affine", "spline"} or None, default="auto"
        The coupling before each activation. A small network reads half of a layer's output, and
        sets how the other half is mapped. With learned activations and 2 to 256 columns, "auto"
        is "spline". In all other cases it is None.

    base_distribution : str or object with ``log_prob`` and ``sample``, default="normal"
        The distribution of the latents. "normal", "hyperbolic_secant", "logistic" and
        "student_t" have zero mean and unit variance; all but the first have heavier tails, those
        of "student_t" learned for each latent. "mixture" is ``NormalMixture(n_components=16)``,
        learned as a whole, for data in separate parts. An instance has parameters of your own;
        so does any distribution of :mod:`torch.distributions` of numbers, or of vectors with an
        entry for each column. With "normal", a flow of learned activations may start from a
        mixture that held-out rows weigh: with up to three columns, or with fewer than 2,000 rows
        of up to 40 columns. With more rows of up to 32 columns, a second fit starts from the
        mixture if that is likelier than the end of a first one that did not.

    bijections : callable or None, default=None
        Makes the network: the bijections between standardised rows and latents, in order. It is
        called as ``bijections(n_rows, n_features, n_layers=..., activation=..., coupling=...,
        dtype=...)``, with these parameters as they are set here, and returns a list of
        :class:`~skflow.flow.Bijection`. None is :func:`~skflow.default_bijections`. A function of
        your own may change what that returns, or put bijections of your own in.

    optimizer : {"relative", "sgd", "adam"}, default="relative"
        What is done with the relative gradient. "relative" normalises it: each step is a given
        relative change of the weights, which suits any number of columns and layers. It averages
        over some ten batches, which takes as much memory as the weights. With more columns than
        rows in a batch, it works in place and takes no further memory. "sgd", plain descent,
        always works in place. "adam" is Adam, as in [1]_.

    learning_rate : float or "auto", default="auto"
        The highest learning rate of the dense layers. The schedule warms up, and then falls to
        zero on a cosine. For "relative" it is a relative change, so that no more than 1 makes
        sense: "auto" is 0.2 / sqrt(`n_layers`), or 0.4 / sqrt(`n_layers`) if there are more
        columns than rows in a batch. For "sgd" it is 0.02, and for "adam" 0.001. The first two
        are divided by the mean square of the derivatives of the base distribution's log-density.
        That is 1 for "normal", and large for a mixture of narrow parts. All other parameters
        train by Adam, at 0.005 if this is "auto". If this is twice "auto", so is their rate.

    batch_size : int or "auto", default="auto"
        The number of rows in a step, or all rows if there are fewer. "auto" is a tenth of the
        rows, but at least 30 and at most 100. From 5,000 rows on, it is 256.

    input_noise : float or "auto", default="auto"
        The standard deviation of the noise that training adds to the rows, as a share of that of
        the data. The noise has the covariance of the data. It keeps a flow from learning few
        rows by heart, and it blurs details that are finer than the noise. "auto" is 0.05 for up
        to 1,000 rows, or up to 100 rows for each column if that is fewer. Beyond, it falls in
        inverse proportion to the number of rows. With `early_stopping`, fewer than 1,000 rows of
        up to 1,000 columns are fitted a second time with four times the noise, and the held-out
        rows choose. A column has no noise if at most half of its values are distinct.

    max_iter : int or "auto", default="auto"
        The number of epochs over which the learning rate falls to zero. "auto" is 100, or as
        many as 5,000 steps take if these are fewer.

    max_time : float or None, default=None
        The seconds that `fit` may take. It ends in time with its schedule completed.

    checkpoint_path : str, path-like or None, default=None
        A file for the state of `fit` while it runs. If the process is killed, the next `fit` with
        the same rows and parameters goes on from the last epochs, and ends with the same bits.
        The file is removed when `fit` has ended: see :ref:`checkpoints`. Each fit needs a file of
        its own.

    early_stopping : bool, default=True
        Whether to hold rows out, and to keep the weights with the highest likelihood on them.
        The weights before the first epoch are candidates, too. Fewer than 2,000 rows, of up to
        1,000 columns, are too few to lose some, and too few to tell luck from progress. Weights
        are then kept only if they surpass the start by a standard error. Once the best epoch is
        known, `fit` starts anew and fits all rows up to that epoch.

    validation_fraction : float, default=0.1
        The share of rows to hold out. At least one row is. If :meth:`fit` is given `groups`, whole
        groups are held out, which have about that share of the rows. Only used with
        `early_stopping`.

    n_iter_no_change : int, default=30
        The number of epochs without a higher validation score after which `fit` lands. It then
        takes up the best weights again, and the learning rate falls to zero over as many epochs
        more. Only used with `early_stopping`.

    device : str, default="auto"
        "cpu", "cuda" or "cuda:<index>". "auto" is the GPU that `X` is on, or CUDA if it is there.

    dtype : {"float32", "float64"}, default="float32"
        The precision of training and of the weights. Scores, latents and samples are
        computed in the precision of `X`, whatever this is.

    matmul_precision : {"highest", "high", "medium"}, default="highest"
        The precision of the products of float32 matrices while training, in the words of
        :func:`torch.set_float32_matmul_precision`. "medium" rounds their entries to bfloat16 on
        a CPU with registers for whole matrices (AMX), which takes about half the time for many
        columns, and to TF32 on a GPU; "high" rounds to TF32. Weights, sums and scores keep
        their precision.
        PyTorch has one such setting for the whole process. While a fit trains, it holds for other
        threads, too. If fits of several threads ask for different precisions, the highest holds
        for all.

    warm_start : bool, default=False
        Whether `fit` goes on from the flow that is there, standardisation included.

    verbose : bool or int, default=False
        Whether to show how the fit goes: as a live bar in a terminal or a notebook, if rich is
        installed (the extra ``progress``), and else as a line after each epoch.

    random_state : int, RandomState instance or None, default=None
        Determines the rows that are held out, the initial weights and the batches. Pass an
        int for the same result each time, bit for bit, on the same machine with the same
        number of threads.

    Attributes
    ----------
    flow_ : skflow.flow.Flow
        The fitted flow, a PyTorch module that maps data to latents.

    n_features_in_ : int
        The number of columns seen in :meth:`fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if `X` had any that are all strings.

    n_layers_ : int
        The number of dense layers of `flow_`.

    batch_size_ : int
        The number of rows in a step.

    max_iter_ : int
        The number of epochs over which the learning rate was to fall to zero.

    learning_rate_ : float
        The highest learning rate of the dense layers, lowered if steps were not finite.

    input_noise_ : float
        The `input_noise` that was added. It is 0 after :meth:`partial_fit`, and where no column
        bears noise.

    n_iter_ : int
        The number of epochs, a last one that was cut short by `max_time` included. It is 1 also
        where no epoch was better than the start.

    n_samples_seen_ : int
        The number of rows in :meth:`fit`, and in all calls of :meth:`partial_fit` since.

    fit_time_ : float
        The seconds that the last call of :meth:`fit` or :meth:`partial_fit` took.

    loss_curve_ : list of float
        Mean negative log-likelihood of the batches of each epoch, noise included, in nats.

    validation_scores_ : list of float
        Mean log-likelihood of the held-out rows after each epoch, in nats. It is empty if no row
        was held out from this fit: without `early_stopping`, and where `candidates_` chose.

    best_validation_score_ : float or None
        The highest mean log-likelihood of held-out rows, in nats, which chose the weights or the
        candidate. It is None without `early_stopping`.

    candidates_ : list of dict
        The fits that chose how fewer than 2,000 rows were fitted in the end. Each has
        `input_noise`, `loss_curve`, `validation_scores` and `best_validation_score`, which mean
        what the attributes of these names mean. The list is empty if there were no such fits.

    log_det_ : float
        The sum of :math:`\log|\det W|` over the dense layers, in nats.

    log_det_drift_ : float or None
        By how many nats `log_det_` was overestimated when training ended. Steps with fewer rows
        than columns keep track of it without computing determinants, up to rounding. For up to
        8,192 columns, it is computed anew in float64 at the end. None if nothing was compared.

    round_trip_error_ : float or None
        By how much 64 rows differ at most once they were mapped to latents and back in float64: as
        a share of the entry, or of the standard deviation of its column if that is larger. It is
        infinite if no inverse was found, and None beyond 2,048 columns, where none is looked for.
        Not there after :meth:`partial_fit`.

    extreme_singular_values_ : list of (float, float)
        The largest and the smallest singular value of each dense layer. The larger their ratio,
        the more digits the inverse loses. Beyond 2,048 columns the smallest one is an upper bound.
        Not there after :meth:`partial_fit`.

    See Also
    --------
    sklearn.mixture.GaussianMixture : Faster to fit for few columns and simple shapes.
    sklearn.neighbors.KernelDensity : Nothing to train, but slow to score; for few columns.

    Notes
    -----
    A training step on N rows of D columns costs O(`n_layers` · N · D²). Scoring costs as much
    per row; the first call adds O(`n_layers` · D³) for the log-determinants. The first call
    of :meth:`sample` or :meth:`inverse_transform` factorises the weights once, also in
    O(`n_layers` · D³).

    Constant columns have no density. They are modelled as normal with unit variance. One warning
    names these and all other columns that need a look: see :ref:`the User Guide
    <columns_to_look_at>`.

    With scikit-learn 1.9 or later, callbacks see the end of each epoch, and one that returns true
    ends the fit, which then keeps its best weights: see :ref:`watching`. A fit may
    consist of up to three, as `base_distribution`, `input_noise` and `early_stopping` say.
    `verbose` shows all of these, and callbacks see the first.

    Frames, and arrays of other libraries than NumPy, are taken and given back as
    :ref:`frames_and_arrays` says.

    References
    ----------
    .. [1] L. Gresele, G. Fissore, A. Javaloy, B. Schölkopf and A. Hyvärinen, "Relative gradient
       optimization of the Jacobian term in unsupervised deep learning", NeurIPS 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skflow import RelativeGradientFlow
    >>> X = load_breast_cancer().data[:, :4]
    >>> flow = RelativeGradientFlow(max_iter=20, random_state=0).fit(X)
    >>> flow.score_samples(X).shape
    (569,)
    >>> flow.sample(3, random_state=0).shape
    (3, 4)
    >>> Z = flow.transform(X)
    >>> bool(abs(flow.inverse_transform(Z) - X).max() < 1e-8)
    True
    """

    def __init__(
        self,
        n_layers: int | Literal["auto"] = "auto",
        *,
        activation: str | Activation = "auto",
        coupling: Literal["auto", "affine", "spline"] | None = "auto",
        base_distribution: str | BaseDistribution | DistributionLike = "normal",
        bijections: Callable[..., Iterable[Bijection]] | None = None,
        optimizer: Literal["relative", "sgd", "adam"] = "relative",
        learning_rate: float | Literal["auto"] = "auto",
        batch_size: int | Literal["auto"] = "auto",
        input_noise: float | Literal["auto"] = "auto",
        max_iter: int | Literal["auto"] = "auto",
        max_time: float | None = None,
        checkpoint_path: str | os.PathLike[str] | None = None,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 30,
        device: str = "auto",
        dtype: Literal["float32", "float64"] = "float32",
        matmul_precision: MatmulPrecision = "highest",
        warm_start: bool = False,
        verbose: bool | int = False,
        random_state: Any = None,
    ) -> None:
        self.n_layers = n_layers
        self.activation = activation
        self.coupling = coupling
        self.base_distribution = base_distribution
        self.bijections = bijections
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.input_noise = input_noise
        self.max_iter = max_iter
        self.max_time = max_time
        self.checkpoint_path = checkpoint_path
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.dtype = dtype
        self.matmul_precision = matmul_precision
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **TRAINING_CONSTRAINTS,
        "activation": [StrOptions({"auto", *ACTIVATIONS}), Activation],
        "coupling": [StrOptions({"auto", *COUPLINGS}), None],
        "base_distribution": [StrOptions(set(BASES)), HasMethods(["log_prob", "sample"])],
        "bijections": [callable, None],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "input_noise": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "matmul_precision": [StrOptions({"highest", "high", "medium"})],
        "warm_start": ["boolean"],
    }

    # With metadata routing, as scikit-learn's splitters ask for them: without being told to.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}

    loss_curve_: list[float]
    validation_scores_: list[float]
    n_samples_seen_: int
    candidates_: list[dict[str, Any]]
    _increment: Increment

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit the flow to the rows of `X` by maximum likelihood.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Two rows at least. float32 and float64 arrays are read in place. An array of Dask, a
            dataset of pyarrow, or a memory map that memory has no room for is read block by block:
            see :ref:`large_data`.
        y : object, default=None
            Ignored; here by convention.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many rows each row counts for: one of weight 2 for itself and a copy, and one of
            weight 0 for none. By default, each counts for one.
        groups : array-like of shape (n_samples,) or None, default=None
            The group of each row, such as the image that a patch is from: numbers or strings.
            Rows of a group are alike, so that all of them are held out or none. By default, each
            row is a group of its own. Only used with `early_stopping`.

        Returns
        -------
        self : RelativeGradientFlow
            The fitted estimator. If `fit` fails, it stays as it was.

        Raises
        ------
        DivergenceError
            If training cannot go on, however low the learning rate, or if it ends with a density
            that is not finite.
        ValueError
            If rows are to be held out, and all that have some weight are of one group.

        Warns
        -----
        RuntimeWarning
            If steps were not finite: they are skipped, and each halves the learning rate. Also
            if the fit ends far below its start, whose weights are then kept, and if rows do not
            come back from their latents.
        ConvergenceWarning
            If Ctrl-C ended the fit, which then has its best weights so far: see :ref:`interrupts`.
        ColumnWarning
            If columns have no density: constant ones, those with one value in more than 5 % of the
            rows, whole numbers that repeat, and copies. Also if a few extreme values make nine
            tenths of the variance of a column.
        """
        exchange = current_exchange()
        task = FitTask(self, X, y, sample_weight)
        with (
            unchanged_on_error(self),
            exchange.fitting(),
            own_autograd_mode(),
            shown_progress(self.verbose if exchange.rank == 0 else False) as show,
        ):
            started = exchange.clock()
            fitted = snapshot(self)
            data = fitted._rows(X, sample_weight, groups)
            exchange.check_alike(data, self.get_params(deep=False))
            checkpoint = Checkpoint.opened(self.checkpoint_path, exchange)
            plan = fitted._plan(exchange.own(data), checkpoint, exchange)
            fitted._train(plan, task, show, checkpoint, started, exchange)
            become(self, fitted)
            task.end()
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one pass over the rows of `X`, from where the flow is.

        Unless :meth:`fit` was called before, the first call does what a fit starts with: from its
        rows follow the standardisation, what is "auto" and the initial weights. So pass it as
        many rows as there are, some hundreds if possible; later calls may have any number.

        No rows are held out. The learning rates warm up over 50 steps, and stay: at a quarter of
        `learning_rate` for the dense layers, and at half of the highest rate in a fit for all
        else. Weights that keep moving like that are noisy; `flow_` is their mean over about the
        last tenth of all steps, a thousand at most. (Beyond 8,192 columns, it is the last.) A
        batch of fewer than `batch_size` rows takes a step that is shorter in proportion.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            In the first call, two rows at least.
        y : object, default=None
            Ignored; here by convention.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            As in :meth:`fit`. Weights are relative to those of the first call, or of the fit
            before it.

        Returns
        -------
        self : RelativeGradientFlow
            The estimator. If `partial_fit` fails, it stays as it was.

        Raises
        ------
        DivergenceError
            If training cannot go on, however low the learning rate, or if weights are not finite
            after the call.

        Warns
        -----
        RuntimeWarning
            If steps were not finite: they are skipped, and each halves the learning rate for the
            rest of this call.
        ColumnWarning
            If columns of the first call have no density or extreme values, as for :meth:`fit`.

        Notes
        -----
        The weights that are trained, and what the optimiser knows, are kept between calls, and
        in a pickle: two to four times the memory of `flow_`, all of which a call copies.

        Examples
        --------
        >>> import numpy as np
        >>> from skflow import RelativeGradientFlow
        >>> rng = np.random.default_rng(0)
        >>> flow = RelativeGradientFlow(n_layers=2, random_state=0)
        >>> for _ in range(5):
        ...     flow = flow.partial_fit(rng.gamma(2.0, size=(500, 3)))
        >>> flow.n_samples_seen_
        2500
        """
        self._validate_params()  # scikit-learn leaves it out where a fit goes on
        current_exchange().refuse("partial_fit")
        started = time.perf_counter()
        with unchanged_on_error(self), own_autograd_mode():
            fitted = snapshot(self)
            fitted._forget_examination()
            fitted._partial_fit(X, sample_weight, started)
            become(self, fitted)
        return self

    def _partial_fit(self, X: ArrayLike, sample_weight: ArrayLike | None, started: float) -> None:
        """Do what :meth:`partial_fit` does, in an estimator that nobody else sees yet."""
        first = not hasattr(self, "flow_")
        rows = self._rows(X, sample_weight, least=2 if first else 1, method="partial_fit")
        if isinstance(rows, UnreadRows):
            raise TypeError(
                "partial_fit takes rows that memory has room for, and X is larger: pass some of "
                "its rows at a time, or call fit, which reads them block by block."
            )
        parameters = self.get_params(deep=False)
        generator = self._generator(rows, seed=None if first else self._increment.seed)
        flow = self._new_flow(rows) if first else deepcopy(self.flow_)
        front, core = flow.to(generator.device).split()
        constant = self._constant_columns(rows) if first else self._increment.constant
        n_seen = len(rows)
        if first:
            rows = rows.shuffled(len(rows), generator)
        rows = rows.behind(front, constant, generator, DTYPES[self.dtype])
        if first:
            sharpness = start(core, rows, rows.subset(slice(0)), generator)
            self._increment = Increment(n_seen, constant, rows.mean_weight, sharpness)
        else:
            n_seen += self.n_samples_seen_
        one_pass = plan_pass(parameters, rows, core, self._increment, n_seen, generator)
        history = run(one_pass)
        check_weights(core, history.rate)
        warn_of_skipped_steps(history, stacklevel=4)
        self.batch_size_ = one_pass.settings.batch_size
        self.max_iter_ = one_pass.settings.max_iter
        self.input_noise_, self.candidates_ = 0.0, []
        seconds = time.perf_counter() - started
        self._expose_flow(front, core, history, n_seen, seconds, continued=not first)
        self._increment = one_pass.increment

    def score_samples(self, X: ArrayLike) -> NDArray[Any]:
        """Return the log-density at each row of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows, of any kind that :meth:`fit` takes.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats, in the units of `X`, and in its precision. Never NaN, and -inf only where
            that precision has no number as low: see :ref:`numerical_contract`. Of an array of
            Dask, one that is not computed yet.
        """
        return map_rows(self, X, "score_samples")

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Map the rows of `X` to their latents, which follow the base distribution.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows, of any kind that :meth:`fit` takes.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
            The latents. Of an array of Dask, one that is not computed yet, and of a dataset of
            pyarrow a reader of record batches: see :ref:`large_data`.

        Raises
        ------
        ValueError
            If latents overflow in the precision of `X`.
        """
        return map_rows(self, X, "transform", keeps_columns=True)

    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]:
        """Map latents back to rows; the inverse of :meth:`transform`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Latents.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            A frame with the columns of the data that the flow was fitted to, if ``set_output``
            asks for frames.

        Raises
        ------
        InversionError
            If the rows could not be found to the working precision of `X`.
        """
        check_is_fitted(self)
        fitted = snapshot(self)
        Z = latents(fitted, X)
        return framed(fitted, map_blocks(fitted, Z, "inverse_transform", Z.shape), like=X)

    def log_abs_det_jacobian(self, X: ArrayLike) -> NDArray[Any]:
        r"""Return :math:`\log|\det \partial z / \partial x|` of :meth:`transform` at each row.

        With it, a flow is a step of a Pipeline whose densities
        :func:`~skflow.preprocessing.score_samples_in_original_units` gives in the units of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        log_det : ndarray of shape (n_samples,)
            In nats.

        Raises
        ------
        ValueError
            If it overflows in the precision of `X`.
        """
        return map_rows(self, X, "log_abs_det_jacobian")

    def sample(self, n_samples: int = 1, random_state: Any = None) -> NDArray[Any]:
        """Draw rows from the density, in one pass.

        Parameters
        ----------
        n_samples : int, default=1
            How many rows to draw.
        random_state : int, RandomState instance or None, default=None
            Pass an int for the same rows each time.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the precision of the data that the flow was fitted to. A frame with their columns
            if ``set_output`` asks for frames.
        """
        check_is_fitted(self)
        fitted = snapshot(self)
        check_n_samples(n_samples, fitted.n_features_in_)
        like = as_tensor(fitted._rows_like)
        device = resolve_device(self.device, like.device)
        flow, generator = fitted.flow_.to(device), torch_generator(random_state, device)
        with own_autograd_mode(), flow.unchanged():
            sample = like.new_empty((n_samples, fitted.n_features_in_))
            for block in sample.split(block_length(fitted.n_features_in_, least=MATRIX_ROWS)):
                block.copy_(flow.sample(len(block), generator=generator, dtype=like.dtype))
        return framed(fitted, array_like(sample, fitted._rows_like))

    @property
    def _n_features_out(self) -> int:
        return int(self.n_features_in_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.array_api_support = True
        return tags

    def _attributes(self) -> dict[str, Any]:
        # A model fitted on a GPU opens on a machine without one.
        state = super()._attributes()
        if "flow_" in state and any(p.is_cuda for p in state["flow_"].parameters()):
            state["flow_"] = deepcopy(state["flow_"]).cpu()
            state["_increment"] = state["_increment"].cpu()
        if isinstance(like := state.get("_rows_like"), torch.Tensor):
            state["_rows_like"] = like.cpu()
        return state

    def _rows(
        self,
        X: ArrayLike,
        sample_weight: ArrayLike | None,
        groups: ArrayLike | None = None,
        *,
        least: int = 2,
        method: str = "fit",
    ) -> Rows | UnreadRows:
        """Return the rows as they came, but for those of no weight."""
        fitting = least > 1
        source = source_of(self, X, fitting=fitting, least=least)
        checked = source or rows(self, X, fitting=fitting, least=least, method=method)
        of_row = None if groups is None else torch.as_tensor(row_groups(groups, checked))
        weights = None if sample_weight is None else as_tensor(row_weights(sample_weight, checked))
        which = None
        if weights is not None:
            positive = weights > 0
            n_positive = int(positive.sum())
            if n_positive < least:
                raise ValueError(
                    f"sample_weight is positive for {n_positive} row(s) only, while a minimum of "
                    f"{least} is required."
                )
            if n_positive < len(positive):
                which = positive
            elif (weights == 1).all():
                weights = None
        if source is not None and source.is_large:
            return UnreadRows(source, weights, of_row)
        data = as_tensor(checked) if source is None else source.in_memory()
        which = None if which is None else which.nonzero().flatten()
        return Rows(data, weights=weights, which=which, groups=of_row)

    def _plan(
        self, given: Rows | UnreadRows, checkpoint: Checkpoint, exchange: Exchange = ALONE
    ) -> Plan:
        """Return what a fit to the rows does."""
        generator = checkpoint.seeded(self._generator(given))
        generator.manual_seed(exchange.agreed(generator.initial_seed()))
        parameters = self.get_params(deep=False)
        rows = given if isinstance(given, Rows) else survey(given, parameters, generator)
        continued = self.warm_start and hasattr(self, "flow_")
        flow = self._continued_flow(rows) if continued else self._new_flow(rows, exchange)
        exchange.share(flow)
        checkpoint.compare(rows, parameters, flow if continued else None)
        return Plan(
            parameters,
            rows,
            flow.to(generator.device),
            constant=self._constant_columns(rows),
            generator=generator,
            continued=continued,
            exchange=exchange,
        )

    def _generator(self, rows: Rows | UnreadRows, seed: int | None = None) -> torch.Generator:
        device = resolve_device(self.device, rows.location)
        return torch_generator(self.random_state if seed is None else seed, device)

    def _new_flow(self, rows: AnyRows, exchange: Exchange = ALONE) -> Flow:
        """Return the flow that the parameters ask for, behind standardised rows."""
        self._n_rows_built_for = len(rows)
        core = exchange.build_flow(self.get_params(deep=False), len(rows), rows.n_features)
        return core.behind(standardization(rows, robust=core.can_be_neutral))

    def _continued_flow(self, rows: AnyRows) -> Flow:
        """Return a copy of the flow that is there, if it is what the parameters ask for.

        What is "auto" stays what it was, whatever the number of rows is now.
        """
        parameters = self.get_params(deep=False)
        asked = build_flow(parameters, self._n_rows_built_for, rows.n_features)
        flow = deepcopy(self.flow_)
        _, core = flow.split()
        differences = Blueprint.of(asked).differences(Blueprint.of(core))
        if differences:
            raise ValueError(
                "With warm_start=True, fit goes on with the flow that is there, but the data and "
                "the parameters now ask for another one. They ask for\n"
                + "\n".join(differences)
                + "\nSet the parameters back, or set warm_start=False."
            )
        return flow

    def _constant_columns(self, rows: AnyRows) -> torch.Tensor:
        """Return the indices of the constant columns, and warn of all that need a look."""
        first = rows.first_column
        return constant_and_named(rows, lambda j: column_label(self, first + j), stacklevel=5)

    def _expose(self, plan: Plan, fit: Fit, core: Flow, history: History, started: float) -> None:
        """Set the attributes of a fit that left a flow and this record."""
        self.input_noise_ = plan.input_noises[fit.best]
        self.candidates_ = [
            {
                "input_noise": noise,
                "loss_curve": candidate.losses,
                "validation_scores": candidate.validation_scores,
                "best_validation_score": candidate.best_score,
            }
            for noise, candidate in zip(plan.input_noises, fit.histories, strict=False)
        ]
        self.batch_size_ = plan.settings.training.batch_size
        self.max_iter_ = plan.settings.training.max_iter
        n_rows = len(plan.training) + len(plan.validation)
        n_seen = n_rows + (self.n_samples_seen_ if plan.continued else 0)
        seconds = plan.exchange.clock() - started
        self._expose_flow(plan.front, core, history, n_seen, seconds, continued=plan.continued)
        self._increment = Increment(
            len(plan.training),
            plan.constant,
            plan.training.mean_weight,
            plan.sharpness,
            n_steps=history.n_steps,
        )

    def _expose_flow(
        self,
        front: Bijection,
        core: Flow,
        history: History,
        n_seen: int,
        seconds: float,
        *,
        continued: bool,
    ) -> None:
        self.flow_ = core.behind(front)
        self.n_layers_ = sum(layer.depth for layer in core.relative_layers)
        self.learning_rate_ = history.rate
        self.loss_curve_ = (self.loss_curve_ if continued else []) + history.losses
        self.validation_scores_ = (
            self.validation_scores_ if continued else []
        ) + history.validation_scores
        self.best_validation_score_ = history.best_score
        self.n_iter_ = max(1, len(self.loss_curve_))
        self.n_samples_seen_ = n_seen
        with torch.no_grad():
            self.log_det_ = float(core.log_abs_det())
        self.log_det_drift_ = history.log_det_drift
        self.fit_time_ = seconds
