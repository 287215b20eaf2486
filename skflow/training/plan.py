"""What a fit does: the rows it takes, the flows that start from them, and how these train."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from skflow.flow import Bijection, Flow
from skflow.flow.composition import composed
from skflow.training.architecture import DTYPES
from skflow.training.batches import Batches
from skflow.training.defaults import (
    TrainingSettings,
    resolve,
    training_settings,
    weight_decay,
)
from skflow.training.exchange import ALONE, Exchange
from skflow.training.few_rows import FitOfFewRows
from skflow.training.fits import Fit, Refit, Stopping, Training, TrainingFit
from skflow.training.groups import held_out_first
from skflow.training.history import History
from skflow.training.optimizers import (
    OTHERS_RATE,
    Adam,
    NormalizedRelativeSGD,
    Optimizer,
    RelativeSGD,
)
from skflow.training.passes import Increment, Pass
from skflow.training.rival import FitWithRival
from skflow.training.rows import Rows, noisy_columns
from skflow.training.scores import log_probs, winsorized
from skflow.training.simple import Simple, have_shape, rival_start, simple_start
from skflow.training.start import start
from skflow.training.streams import AnyRows, StreamedRows

__all__ = [
    *("OPTIMIZERS", "STANDARD_ERRORS", "TIME_OF_CANDIDATES", "Plan"),
    *("plan_pass", "stopping_of", "training_of"),
]

OPTIMIZERS: dict[str, type[NormalizedRelativeSGD | RelativeSGD | Adam]] = {
    "relative": NormalizedRelativeSGD,
    "sgd": RelativeSGD,
    "adam": Adam,
}

# By how many nats a validation score must rise to count as higher.
_LEAST_RISE = 1e-4

# By how many standard errors weights must surpass their start, of few rows or behind a mixture.
STANDARD_ERRORS, _STANDARD_ERRORS_BEHIND_MIXTURE = 1.0, 3.0

# The shares of a schedule's highest learning rates that suit rates that stay.
_LASTING_SHARE = 0.25
_LASTING_OTHERS_SHARE = 0.5

# The fraction of `max_time` that all candidates of few rows may take.
TIME_OF_CANDIDATES = 0.6


class _Footing(NamedTuple):
    """What a flow starts from."""

    front: Bijection
    """What stands before the flow. It does not train."""

    simple: Simple | None
    """The mixture in it, if there is one."""

    rows: AnyRows
    """All rows behind `front`."""

    core: Flow
    """The flow, at its start until it trains."""

    sharpness: float
    """That of the base distribution at the start."""


class Plan:
    """A fit of a flow to rows, with the parameters of an estimator.

    Parameters
    ----------
    parameters : mapping
        Those of :class:`~skflow.RelativeGradientFlow`, as ``get_params`` returns them.
    rows : Rows or StreamedRows
        All rows, as they came.
    flow : Flow
        On the device of the fit. Its first bijection does not train.
    constant : Tensor of shape (C,)
        The columns that are constant.
    generator : torch.Generator
        Where the randomness comes from. It is on the device of the fit.
    continued : bool, default=False
        Whether the flow goes on from where it is.
    exchange : Exchange, default=ALONE
        The part of this process in the fit.

    Attributes
    ----------
    settings : Settings
        What the parameters come to.
    input_noises : tuple of float
        The noises to fit with, one after the other. Where values repeat in every column, none is
        added.
    has_plain_candidate : bool
        Whether the last of these fits starts without the mixture that the others start from.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        rows: AnyRows,
        flow: Flow,
        *,
        constant: torch.Tensor,
        generator: torch.Generator,
        continued: bool = False,
        exchange: Exchange = ALONE,
    ) -> None:
        self.parameters = parameters
        self.generator = generator
        self.constant = constant
        self.continued = continued
        self.exchange = exchange
        self._standardize, core = flow.split()
        self.settings = resolve(parameters, len(rows), rows.n_features)
        self._shuffled, n_held_out = self._held_out_first(rows)
        if n_held_out != self.settings.n_validation:  # whole groups, or a sample
            settings = training_settings(parameters, len(rows) - n_held_out, rows.n_features)
            self.settings = replace(self.settings, n_validation=n_held_out, training=settings)
        self._standard = self._behind(self._standardize)
        self._noisy = noisy_columns(self._of_training(self._standard).sample)
        has_noise = exchange.most(float(self._noisy.any())) > 0
        noises = self.settings.input_noises if has_noise else (0.0,)
        can_start_neutral = core.can_be_neutral and not continued and exchange.has_whole_rows
        can_be_simple = can_start_neutral and not len(constant)
        starts_simple = can_be_simple and self.settings.starts_simple
        starts_gaussian = can_start_neutral and not have_shape(rows.sample)
        simple = self._simple() if starts_simple or starts_gaussian else None
        self._has_rival = can_be_simple and self.settings.has_rival and simple is None
        # What starts again is copied before it starts.
        starts_again = self.settings.refits or self._has_rival
        self._unstarted = deepcopy(core) if starts_again else core
        self._footing = self._stand(core, simple)
        # A flow without the mixture follows, which few rows must prefer clearly.
        self.has_plain_candidate = simple is not None and (
            simple.is_bent or (self.settings.has_plain_candidate and not starts_gaussian)
        )
        self.input_noises = (*noises, *noises[: self.has_plain_candidate])
        self._first = self._footing
        self._generator_state = generator.get_state()

    @property
    def front(self) -> Bijection:
        """What stands before the flow of the current fit."""
        return self._footing.front

    @property
    def core(self) -> Flow:
        """The flow of the current fit."""
        return self._footing.core

    @property
    def sharpness(self) -> float:
        """That of its base distribution at its start."""
        return self._footing.sharpness

    @property
    def all_rows(self) -> Rows:
        """All rows as they came, or a sample of those that are streamed, in random order.

        Those that are held out come first.
        """
        return self._shuffled.sample

    @property
    def training(self) -> AnyRows:
        """The rows that it learns from."""
        return self._of_training(self._footing.rows)

    @property
    def validation(self) -> Rows:
        """The rows that are held out."""
        return self._of_validation(self._footing.rows)

    def fit(self, started: float) -> Fit:
        """Begin the fit.

        Parameters
        ----------
        started : float
            When the clock of `max_time` was started, by :meth:`Exchange.clock`.
        """
        stopping_at = partial(
            stopping_of,
            self.parameters,
            self.settings.training,
            started,
            clock=self.exchange.clock,
        )
        if not self.settings.refits:
            stopping = stopping_at()
            first = self._candidate(self.input_noises[0], stopping)
            return (
                FitWithRival(first, partial(self._rival, stopping)) if self._has_rival else first
            )

        n = len(self.input_noises)
        shares = [TIME_OF_CANDIDATES * (k + 1) / n for k in range(n)]
        stoppings = [stopping_at(time_fraction=share) for share in shares]
        candidates = [partial(self._candidate_of_few, k, stoppings[k]) for k in range(n)]
        return FitOfFewRows(candidates, self._refit, self)

    def _held_out_first(self, rows: AnyRows) -> tuple[AnyRows, int]:
        """Return the rows in random order, and how many of the first are to be held out."""
        if isinstance(rows, StreamedRows):  # which were drawn when they were first read
            return rows, rows.n_held_out
        rows = rows.shuffled(self.settings.training.batch_size, self.generator)
        return held_out_first(rows, self.settings.n_validation, self.generator)

    def _behind(self, front: Bijection) -> AnyRows:
        dtype = DTYPES[self.parameters["dtype"]]
        return self._shuffled.behind(front, self.constant, self.generator, dtype)

    def _of_training(self, rows: AnyRows) -> AnyRows:
        return rows.without_first(self.settings.n_validation)

    def _of_validation(self, rows: AnyRows) -> Rows:
        return rows.sample.subset(slice(self.settings.n_validation))

    def _twin_generator(self) -> torch.Generator:
        """Return a generator that draws the same wherever a fit is taken up again."""
        return torch.Generator(self.generator.device).set_state(self._generator_state)

    def _simple(self) -> Simple | None:
        """Return a mixture, if it is a good one to start from."""
        rows = self._standard
        simple = simple_start(
            self._of_training(rows).sample,
            self._of_validation(rows),
            self.generator,
            n_bins=self.settings.network.n_bins,
        )
        simple = self.exchange.agreed(simple)
        if simple is None or not simple.is_bent:
            return simple
        # A flow's own splines, which train, are better than those before a mixture, unless rows
        # and columns are few.
        few = self.settings.refits and not self.settings.has_plain_candidate
        return simple if few else None

    def _stand(
        self, core: Flow, simple: Simple | None = None, *, every_row: bool = False
    ) -> _Footing:
        """Start a flow behind the standardisation, or behind a simple density."""
        front, rows = self._standardize, self._standard
        if simple is not None:
            front = composed(self._standardize, simple.bijection)
            rows = self._behind(front)
            rows.sample.move()  # what takes long is done once
        sharpness = start(
            core,
            (rows if every_row else self._of_training(rows)).sample,
            rows.sample.subset(slice(0)) if every_row else self._of_validation(rows),
            self.generator,
            continued=self.continued,
            neutral=simple is not None,
        )
        sharpness = self.exchange.agreed(sharpness)
        self.exchange.share(core)
        return _Footing(front, simple, rows, core, sharpness)

    def _candidate(
        self, input_noise: float, stopping: Stopping, reference: torch.Tensor | None = None
    ) -> TrainingFit:
        early_stopping = self.parameters["early_stopping"]
        is_simple = self._footing.simple is not None
        standard_errors = _STANDARD_ERRORS_BEHIND_MIXTURE if is_simple else STANDARD_ERRORS
        careful = (self.settings.refits or is_simple) and not self.continued
        return TrainingFit(
            self._training(
                self.training, self.settings.training, noise=_noise(self._noisy, input_noise)
            ),
            stopping,
            validation=self.validation if early_stopping else None,
            standard_errors=standard_errors if careful else 0.0,
            reference=reference,
        )

    def _candidate_of_few(self, k: int, stopping: Stopping) -> TrainingFit:
        """Begin one of the fits that choose how all rows are fitted."""
        if k == 0:
            return self._candidate(self.input_noises[0], stopping)
        is_plain = self._is_plain(k)
        # What the best candidate so far, which is the current fit, says of the validation rows.
        reference = winsorized(log_probs(self.core, self.validation)) if is_plain else None
        simple = None if is_plain else self._first.simple
        self._footing = self._stand(deepcopy(self._unstarted), simple)
        return self._candidate(self.input_noises[k], stopping, reference)

    def _is_plain(self, k: int) -> bool:
        """Whether a candidate starts without the mixture that others start from."""
        return self.has_plain_candidate and k == len(self.input_noises) - 1

    def _rival(self, stopping: Stopping, first: History) -> TrainingFit | None:
        """Begin a fit that starts from a mixture, if that is better than where another ended."""
        assert first.choice_score is not None
        if first.interrupted or not stopping.leaves_time_for_another:
            return None
        mixture = rival_start(
            self.training.sample, self.validation, self._twin_generator(), first.choice_score
        )
        mixture = self.exchange.agreed(mixture)
        if mixture is None:
            return None
        before, self._footing = (
            self._footing,
            self._stand(self._unstarted, Simple(mixture, is_bent=False)),
        )
        rival = self._candidate(self.input_noises[0], stopping)
        assert rival.history.choice_score is not None
        if rival.history.choice_score > first.choice_score:
            return rival
        self._footing = before
        return None

    def _refit(self, k: int, history: History) -> Refit:
        """Begin to fit every row, in the way that was best for those that were held out."""
        core, simple = self._unstarted, None
        if self._first.simple is None or self._is_plain(k):
            # Held-out rows chose how the first bijection starts. A plain candidate is started
            # again for that, as a fit that is taken up here has not seen it.
            again = self._stand(deepcopy(core)) if self._is_plain(k) else self._first
            chosen = again.core.bijections
            if chosen and chosen[0].starts:
                core.bijections[0].start_from = chosen[0].start_from
        else:
            simple = simple_start(
                self._standard.sample,
                self._standard.sample.subset(slice(0)),
                self._twin_generator(),
                n_bins=self.settings.network.n_bins,
                is_bent=self._first.simple.is_bent,
            )
            simple = self.exchange.agreed(simple)
        self._footing = self._stand(core, simple, every_row=True)
        rows = self._footing.rows
        settings = training_settings(self.parameters, len(rows), rows.n_features)
        noise = _noise(noisy_columns(self._standard.sample), self.input_noises[k])
        return Refit(self._training(rows, settings, noise=noise), history.path)

    def _training(
        self, rows: AnyRows, settings: TrainingSettings, *, noise: torch.Tensor | None
    ) -> Training:
        batches = Batches(
            rows,
            settings.batch_size,
            self.generator,
            noise=noise,
            weight_unit=rows.mean_weight,
        )
        training = training_of(self.parameters, self.core, batches, settings, self.sharpness)
        exchange = self.exchange
        return replace(training, batches=exchange.batches(batches), exchange=exchange)


def _noise(noisy: torch.Tensor, input_noise: float) -> torch.Tensor | None:
    return None if input_noise == 0 else input_noise * noisy


def plan_pass(
    parameters: Mapping[str, Any],
    rows: Rows,
    flow: Flow,
    increment: Increment,
    n_seen: int,
    generator: torch.Generator,
) -> Pass:
    """Say how a flow goes once over rows.

    Parameters
    ----------
    parameters : mapping
        As for :class:`Plan`.
    rows : Rows
        The rows, as `flow` takes them.
    flow : Flow
        Changed in place by the pass.
    increment : Increment
        What the pass before it left.
    n_seen : int
        How many rows there were so far, these included.
    generator : torch.Generator
        Where the randomness comes from.

    Returns
    -------
    one_pass : Pass
        To be run.
    """
    settings = training_settings(parameters, increment.n_rows, rows.n_features)
    settings = replace(settings, weight_decay=weight_decay(n_seen, rows.n_features))
    batches = Batches(
        rows,
        settings.batch_size,
        generator,
        every_row=True,
        weight_unit=increment.weight_unit,
    )
    trained = increment.resume(flow)
    training = training_of(parameters, trained, batches, settings, increment.sharpness)
    training = replace(
        training,
        rate=_LASTING_SHARE * training.rate,
        others_rate=_LASTING_OTHERS_SHARE * training.others_rate,
    )
    return Pass(training, flow, increment, settings)


def training_of(
    parameters: Mapping[str, Any],
    flow: Flow,
    batches: Batches,
    settings: TrainingSettings,
    sharpness: float,
) -> Training:
    """Say how a flow steps along its batches.

    Parameters
    ----------
    parameters : mapping
        With `optimizer`, `learning_rate` and `matmul_precision`, as for :class:`Plan`.
    flow : Flow
        What trains.
    batches : Batches
        Of the rows.
    settings : TrainingSettings
        What is "auto".
    sharpness : float
        That of the base distribution at the start.

    Returns
    -------
    training : Training
        With a new optimiser.
    """
    make = OPTIMIZERS[parameters["optimizer"]]
    optimizer: Optimizer = make(flow, weight_decay=settings.weight_decay)
    default = optimizer.default_rate(settings.batch_size, sharpness)
    rate = parameters["learning_rate"]
    rate = default if rate == "auto" else float(rate)
    return Training(
        flow,
        batches,
        optimizer,
        rate=rate,
        others_rate=OTHERS_RATE * rate / default,
        precision=parameters["matmul_precision"],
    )


def stopping_of(
    parameters: Mapping[str, Any],
    settings: TrainingSettings,
    started: float,
    time_fraction: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Stopping:
    """Say when a fit ends.

    Parameters
    ----------
    parameters : mapping
        With `max_time` and `n_iter_no_change`, as for :class:`Plan`.
    settings : TrainingSettings
        With the number of epochs.
    started : float
        When the clock of `max_time` was started.
    time_fraction : float, default=1.0
        The fraction of `max_time` that this fit may take.
    clock : callable, default=time.perf_counter
        Says how many seconds it is.
    """
    max_time = parameters["max_time"]
    return Stopping(
        max_iter=settings.max_iter,
        max_time=None if max_time is None else time_fraction * max_time,
        started=started,
        n_iter_no_change=parameters["n_iter_no_change"],
        tol=_LEAST_RISE,
        clock=clock,
    )
