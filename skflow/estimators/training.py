"""What estimators whose fits go epoch by epoch have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from numbers import Integral, Real
from typing import Any, Protocol

from torch import Tensor

from skflow._sklearn.fit_task import FitTask
from skflow._sklearn.validation import Interval, StrOptions
from skflow.estimators.interrupts import ended_by_interrupt
from skflow.estimators.state import snapshot
from skflow.flow import Flow
from skflow.training.architecture import DTYPES
from skflow.training.checkpoint import Checkpoint
from skflow.training.exchange import ALONE, Exchange
from skflow.training.fits import EpochReport, Fit, run
from skflow.training.history import History
from skflow.training.outcome import Outcome
from skflow.training.room import naming_the_batch
from skflow.training.round_trip import round_trip_error, singular_values_of, warn_of_round_trip
from skflow.training.rows import Rows
from skflow.training.streams import AnyRows

__all__ = ["TRAINING_CONSTRAINTS", "TrainingMixin"]

# More layers, and higher rates, are mistakes.
_MOST_LAYERS = 1000
_MOST_RATE = 1000.0

TRAINING_CONSTRAINTS: dict[str, list[Any]] = {
    "n_layers": [StrOptions({"auto"}), Interval(Integral, 1, _MOST_LAYERS, closed="both")],
    "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, _MOST_RATE, closed="right")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "max_iter": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "max_time": [None, Interval(Real, 0, None, closed="neither")],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "checkpoint_path": [None, str, os.PathLike],
    "device": [str],
    "dtype": [StrOptions(set(DTYPES))],
    "verbose": ["verbose"],
    "random_state": ["random_state"],
}


class _Settings(Protocol):
    @property
    def training(self) -> Any: ...


class _Plan(Protocol):
    """What a fit does."""

    @property
    def settings(self) -> _Settings: ...

    @property
    def core(self) -> Flow: ...

    @property
    def training(self) -> AnyRows: ...

    @property
    def all_rows(self) -> Rows: ...

    def fit(self, started: float) -> Fit: ...


class TrainingMixin:
    """Take a fit to its end, with what callbacks and a display see of it.

    A subclass states ``_expose(plan, fit, core, history, started)``, which sets the attributes of
    a fit that left a flow and a record.
    """

    early_stopping: bool
    flow_: Flow
    fit_time_: float
    _expose: Callable[..., None]

    def _train(
        self,
        plan: _Plan,
        task: FitTask,
        show: Callable[[EpochReport], None],
        checkpoint: Checkpoint,
        started: float,
        exchange: Exchange = ALONE,
    ) -> None:
        """Do what a plan says, in an estimator that nobody else sees yet, called by ``fit``."""
        outcome = Outcome(plan.core, plan.training.sample, compared=not self.early_stopping)
        fit = plan.fit(started)
        checkpoint.resume(fit)
        task.begin(plan.settings.training.max_iter)

        def report(epoch: EpochReport) -> bool:
            show(epoch)
            if not fit.is_done:
                checkpoint.keep(fit)
            ends = epoch.fit == 1 and task.end_epoch(
                is_last=epoch.progress >= 1 or fit.is_done,
                fitted=lambda: self._if_ended(plan, fit, started, exchange),
            )
            return exchange.agreed(ends)

        self._forget_examination()
        # A process by itself cannot try steps that it takes with others.
        naming = naming_the_batch(fit) if exchange.has_whole_rows else nullcontext()
        with ended_by_interrupt(exchange.interruptible(fit)) as interrupt, naming:
            history = run(fit, report)
        exchange.share(fit.flow)
        is_worse = outcome.check(fit.flow, history, stacklevel=4)
        self._expose(plan, fit, fit.flow, history, started)
        values = self._examine(plan.all_rows, exchange)
        if not is_worse:  # one warning is enough, and its remedy the first to try
            warn_of_round_trip(self.round_trip_error_, values, stacklevel=4)
        self.fit_time_ = exchange.clock() - started
        if exchange.was_interrupted(interrupt.came):
            interrupt.warn(history.n_epochs, checkpoint.path, stacklevel=4)
        else:
            checkpoint.remove()

    def _examine(self, rows: Rows, exchange: Exchange = ALONE) -> Tensor:
        """Look whether rows come back from their latents, and how well conditioned layers are."""
        error = round_trip_error(self.flow_, rows)
        self.round_trip_error_ = None if error is None else exchange.most(error)
        values = singular_values_of(self.flow_)
        if len(values):
            self.extreme_singular_values_ = [(s[0], s[1]) for s in values.tolist()]
        return values

    def _forget_examination(self) -> None:
        """Forget what is true of a fit that was."""
        for name in ("round_trip_error_", "extreme_singular_values_"):
            self.__dict__.pop(name, None)

    def _if_ended(
        self, plan: _Plan, fit: Fit, started: float, exchange: Exchange
    ) -> dict[str, Any]:
        """Return the attributes that this would have if `fit` ended with an epoch."""
        core = deepcopy(fit.flow)
        history: History = fit.finish(core)
        twin = snapshot(self)
        twin._expose(plan, fit, core, history, started)
        twin._examine(plan.all_rows, exchange)
        return twin.__dict__
