"""Fits, epoch by epoch: objects with a state, which :func:`run` takes to their end."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from skflow.flow.network import Flow
from skflow.training.batches import Batches
from skflow.training.exchange import ALONE, Exchange
from skflow.training.history import History
from skflow.training.memory import return_freed_memory
from skflow.training.optimizers import OTHERS_RATE, Optimizer
from skflow.training.outcome import Start, copy_of_weights
from skflow.training.precision import MatmulPrecision, matmul_precision
from skflow.training.rows import Rows
from skflow.training.schedule import Budget, annealing, gaussian_penalty
from skflow.training.scores import log_probs, standard_error, weighted_mean, winsorized
from skflow.training.steps import Steps, end_training

__all__ = [
    "EpochReport",
    "Fit",
    "Refit",
    "StepwiseFit",
    "Stopping",
    "Training",
    "TrainingFit",
    "run",
]


@dataclass(frozen=True)
class Training:
    """What trains, and how it steps."""

    flow: Flow
    """Changed in place."""

    batches: Batches
    """Of the rows, as `flow` takes them."""

    optimizer: Optimizer
    """Made for `flow`."""

    rate: float
    """The highest learning rate of the dense layers."""

    others_rate: float = OTHERS_RATE
    """The highest learning rate of all other parameters."""

    precision: MatmulPrecision = "highest"
    """That of the products of matrices in a step; scores are computed with the highest."""

    exchange: Exchange = ALONE
    """The part of this process in the fit."""


@dataclass(frozen=True)
class Stopping:
    """When a fit ends."""

    max_iter: int
    """The most epochs."""

    max_time: float | None = None
    """The most seconds, from `started` to the end of the fit."""

    started: float = 0.0
    """When the clock of `max_time` was started."""

    n_iter_no_change: int = 10
    """How many epochs in a row may pass without a higher validation score."""

    tol: float = 0.0
    """By how many nats a score must rise to count as higher."""

    clock: Callable[[], float] = time.perf_counter
    """Says how many seconds it is."""

    @property
    def leaves_time_for_another(self) -> bool:
        """Whether as much time is left as has passed."""
        seconds = self.clock() - self.started
        return self.max_time is None or 2 * seconds <= self.max_time


@dataclass(frozen=True)
class EpochReport:
    """What there is to say after an epoch."""

    epoch: int
    """Its number, from 1."""

    loss: float
    """Mean negative log-likelihood of its batches, in nats."""

    validation_score: float | None
    """Mean log-likelihood of the validation rows after it, in nats; None without them."""

    rate: float
    """The learning rate of the dense layers after it."""

    progress: float
    """The share of the fit that is done; 1 after the last epoch, and only then."""

    seconds: float
    """How long it took to get there, from the start of training."""

    seconds_left: float
    """How long the rest will take."""

    fit: int = 1
    """Which of several fits the epoch belongs to, from 1."""

    n_fits: int = 1
    """How many fits there are."""


class Fit(ABC):
    """A fit as :func:`run` takes it: an epoch at a time, until it is done."""

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """Whether there is no further epoch."""

    @property
    @abstractmethod
    def running(self) -> StepwiseFit:
        """The fit of one flow that takes the steps now."""

    @property
    def histories(self) -> list[History]:
        """The records of the candidates that ended, which choose how it goes on. None here."""
        return []

    @property
    def best(self) -> int:
        """The number of the best of these candidates, from 0."""
        return 0

    @property
    @abstractmethod
    def flow(self) -> Flow:
        """What trains, and what the fit leaves once it is finished."""

    @abstractmethod
    def advance(self) -> EpochReport:
        """Take the next epoch.

        Raises
        ------
        DivergenceError
            If steps stay non-finite although the learning rate was lowered.
        """

    @abstractmethod
    def interrupt(self) -> None:
        """End the fit after the step that it takes, although its schedule is not completed.

        It is left at its best weights so far. A signal handler may call this wherever the fit is.
        """

    @abstractmethod
    def finish(self, flow: Flow | None = None) -> History:
        """End the fit, and return its record.

        Parameters
        ----------
        flow : Flow or None, default=None
            A copy of the flow that trains, which is made what the fit would leave if it ended now.
            None is the flow itself.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what a fit that was made in the same way goes on with, from the last epoch on.

        Tensors, numbers, strings, lists and dicts alone, all of them copies.
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where :meth:`state_dict` was called, bit for bit.

        Parameters
        ----------
        state : dict
            What it returned.
        """


def run(fit: Fit, report: Callable[[EpochReport], bool | None] | None = None) -> History:
    """Take a fit to its end.

    Parameters
    ----------
    fit : Fit
        The fit.
    report : callable or None, default=None
        Called after each epoch. If it returns true, the fit ends there.

    Returns
    -------
    history : History
        The record of the fit.

    Raises
    ------
    DivergenceError
        If steps stay non-finite although the learning rate was lowered.
    """
    while not fit.is_done:
        epoch = fit.advance()
        if report is not None and report(epoch):
            fit.interrupt()
    return fit.finish()


class StepwiseFit(Fit):
    """A fit of one flow by steps on batches, whatever its schedule.

    Parameters
    ----------
    training : Training
        What trains.

    Attributes
    ----------
    has_ended : bool
        Whether it took all its epochs.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self.steps = Steps(
            training.flow,
            training.optimizer,
            rate=training.rate,
            others_rate=training.others_rate,
            exchange=training.exchange,
        )
        self.history = History()
        self.budget: Budget
        self.has_ended = False

    @property
    def flow(self) -> Flow:  # noqa: D102
        return self.training.flow

    @property
    def running(self) -> StepwiseFit:  # noqa: D102
        return self

    @property
    def is_done(self) -> bool:  # noqa: D102
        return self.has_ended or self.history.interrupted

    def finish(self, flow: Flow | None = None) -> History:  # noqa: D102
        return replace(
            self.history,
            n_steps=self.steps.n_taken,
            n_skipped=self.steps.n_skipped,
            rate=self.steps.rate,
            log_det_drift=end_training(self.training.flow if flow is None else flow),
        )

    def interrupt(self) -> None:  # noqa: D102
        self.history.interrupted = True

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        training = self.training
        # The flow's comes first, as it settles the weights.
        state = {"flow": training.flow.state_dict()}
        layers = [layer.step_state() for layer in training.flow.relative_layers]
        return deepcopy(
            state
            | {
                "layers": layers,
                "optimizer": training.optimizer.state_dict(),
                "steps": self.steps.state_dict(),
                "history": asdict(self.history),
                "budget": self.budget.state_dict(),
                "generator": training.batches.generator.get_state(),
                "has_ended": self.has_ended,
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        training = self.training
        training.flow.load_state_dict(state["flow"])
        for layer, kept in zip(training.flow.relative_layers, state["layers"], strict=True):
            layer.load_step_state(kept)
        training.optimizer.load_state_dict(state["optimizer"])
        self.steps.load_state_dict(state["steps"])
        self.history = History(**deepcopy(state["history"]))
        self.budget.load_state_dict(state["budget"])
        training.batches.generator.set_state(state["generator"])
        self.has_ended = state["has_ended"]

    def _report(self, rate: float, score: float | None = None) -> EpochReport:
        return EpochReport(
            epoch=self.history.n_epochs,
            loss=self.history.losses[-1],
            validation_score=score,
            rate=rate,
            progress=self.budget.progress,
            seconds=self.budget.seconds,
            seconds_left=self.budget.seconds_left,
        )


class TrainingFit(StepwiseFit):
    r"""A fit whose learning rate warms up, and falls on a cosine to zero over its budget.

    With validation rows, the weights with the highest validation score are kept, those before the
    first step among them. A step that is not finite is skipped, and the learning rates are halved.

    Parameters
    ----------
    training : Training
        What trains.
    stopping : Stopping
        When the fit ends.
    validation : Rows or None, default=None
        The rows that are held out, if there are any.
    standard_errors : float, default=0.0
        By how many standard errors of the difference the validation score must exceed that before
        the first step, for weights to be kept. With few validation rows, some epoch seems to be
        better by chance.
    reference : Tensor of shape (N,) or None, default=None
        Winsorized log-likelihoods of the validation rows, in nats, by another fit. This one is
        compared with others by its score less a standard error of the difference.
    """

    def __init__(
        self,
        training: Training,
        stopping: Stopping,
        *,
        validation: Rows | None = None,
        standard_errors: float = 0.0,
        reference: Tensor | None = None,
    ) -> None:
        super().__init__(training)
        self.stopping = stopping
        self.validation = validation
        self.standard_errors = standard_errors
        self.reference = reference
        n_steps = stopping.max_iter * len(training.batches)
        self.budget = Budget(n_steps, stopping.max_time, stopping.started, stopping.clock)
        self._best: dict[str, Tensor] | None = None
        self._initial: Tensor | None = None
        self._initial_choice = self._highest = 0.0
        self._last_rise = 0
        self._path: list[tuple[float, float]] = []
        if validation is not None:
            before = stopping.clock()
            self._initial = self._log_probs(validation)
            score = weighted_mean(self._initial, validation)
            self.history.initial_score = score
            self._initial = winsorized(self._initial)
            self._initial_choice = weighted_mean(self._initial, validation)
            self._highest = self._initial_choice
            self._keep(self._initial, self._initial_choice, score)
            self.budget.reserve(stopping.clock() - before)
        return_freed_memory()

    def advance(self) -> EpochReport:  # noqa: D102
        self._land_if_stalled()
        budget = self.budget
        started_at = budget.progress
        self._take_steps()
        self._path.append((started_at, budget.progress))
        score = None if self.validation is None else self._validate(self.validation)
        report = self._report(self.steps.rate * annealing(budget.progress), score)
        self.has_ended = report.progress >= 1 or self.history.n_epochs == self.stopping.max_iter
        return report

    def finish(self, flow: Flow | None = None) -> History:  # noqa: D102
        if self._best is not None:
            (self.training.flow if flow is None else flow).load_state_dict(self._best)
        return super().finish(flow)

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        kept = {
            "best": self._best,
            "initial": self._initial,
            "initial_choice": self._initial_choice,
            "highest": self._highest,
            "reference": self.reference,
            "last_rise": self._last_rise,
            "path": self._path,
        }
        return super().state_dict() | deepcopy(kept)

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        super().load_state_dict(state)
        self._best, self._initial, self.reference = deepcopy(
            (state["best"], state["initial"], state["reference"])
        )
        self._initial_choice, self._highest = state["initial_choice"], state["highest"]
        self._last_rise, self._path = state["last_rise"], list(state["path"])

    def _take_steps(self) -> None:
        budget = self.budget
        self.steps.begin_epoch()
        with matmul_precision(self.training.precision):
            for batch in self.training.batches:
                penalty = gaussian_penalty(budget.n_steps_expected)
                rate_factor = annealing(budget.progress)
                if not self.steps.take(batch, rate_factor, penalty=penalty):
                    self._return_to_best()
                budget.steps_done += 1
                if budget.progress >= 1 or self.is_done:
                    break
        self.history.losses.append(self.steps.end_epoch())

    def _validate(self, validation: Rows) -> float:
        """Score the validation rows, and keep the weights if they are the best."""
        history = self.history
        assert history.choice_score is not None
        assert self._initial is not None
        values = self._log_probs(validation)
        score = weighted_mean(values, validation)
        history.validation_scores.append(score)
        values = winsorized(values)
        choice = weighted_mean(values, validation)
        if choice > self._highest + self.stopping.tol:
            self._last_rise = history.n_epochs
        self._highest = max(self._highest, choice)
        least = 0.0
        if self.standard_errors:
            least = self.standard_errors * standard_error(values - self._initial, validation)
        if choice > max(history.choice_score, self._initial_choice + least):
            self._keep(values, choice, score)
        return score

    def _log_probs(self, validation: Rows) -> Tensor:
        flow, exchange = self.training.flow, self.training.exchange
        return exchange.of_rows(lambda rows: log_probs(flow, rows), validation)

    def _keep(self, values: Tensor, choice: float, score: float) -> None:
        """Keep the weights, with their winsorized log-likelihoods and what these come to."""
        history, validation = self.history, self.validation
        assert validation is not None
        history.best_score, history.choice_score = score, choice
        history.compared_score = choice
        if self.reference is not None:
            history.compared_score -= standard_error(values - self.reference, validation)
        self._best = None  # before the copy is made: there is never room for three
        self._best = copy_of_weights(self.training.flow)
        history.path = self._path.copy()

    def _land_if_stalled(self) -> None:
        stalled = self.history.n_epochs - self._last_rise >= self.stopping.n_iter_no_change
        if self._best is not None and stalled and not self.budget.landing:
            # Annealing is worth more than the epochs it takes: the fit does not end without.
            self.history.stopped_early = True
            self._return_to_best()
            self.budget.land(self.stopping.n_iter_no_change * len(self.training.batches))

    def _return_to_best(self) -> None:
        if self._best is not None:
            self.training.flow.load_state_dict(self._best)
            self._path = self.history.path.copy()


class Refit(StepwiseFit):
    """A fit in the epochs that led another one to its best weights, with no row held out.

    Parameters
    ----------
    training : Training
        What trains.
    path : list of (float, float)
        The :attr:`History.path` of the other.
    """

    def __init__(self, training: Training, path: list[tuple[float, float]]) -> None:
        super().__init__(training)
        self.history.path = path
        self.budget = Budget(max(1, len(path) * len(training.batches)), None, time.perf_counter())
        self.has_ended = not path
        self._start = Start(training.flow, training.batches.rows.sample) if path else None

    def advance(self) -> EpochReport:  # noqa: D102
        path, batches = self.history.path, self.training.batches
        before, after = path[self.history.n_epochs]
        penalty = gaussian_penalty(len(path) * len(batches))
        self.steps.begin_epoch()
        with matmul_precision(self.training.precision):
            for k, batch in enumerate(batches):
                progress = before + (after - before) * k / len(batches)
                self.steps.take(batch, annealing(progress), penalty=penalty)
                if self.is_done:
                    break
        self.history.losses.append(self.steps.end_epoch())
        self.budget.steps_done += len(batches)
        self.has_ended = self.history.n_epochs == len(path)
        return self._report(self.steps.rate * annealing(after))

    def finish(self, flow: Flow | None = None) -> History:
        """End the fit, at its start if it ended far below: no held-out row has seen this one.

        Parameters
        ----------
        flow : Flow or None, default=None
            As :meth:`Fit.finish` has it.
        """
        history = super().finish(flow)
        if self._start is not None:
            self._start.restore_if_better(self.training.flow if flow is None else flow)
        return history
