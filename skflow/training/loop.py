"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skflow.flow.network import Flow
from skflow.training.batches import Batches, Rows
from skflow.training.history import History
from skflow.training.memory import return_freed_memory
from skflow.training.optimizers import OTHERS_RATE, Optimizer
from skflow.training.precision import MatmulPrecision, matmul_precision
from skflow.training.schedule import Budget, annealing, whitening
from skflow.training.steps import Steps, end_training

__all__ = ["EpochReport", "Stopping", "mean_log_prob", "retrace", "train"]


@dataclass(frozen=True)
class Stopping:
    """When a fit ends."""

    max_iter: int
    """The most epochs."""

    max_time: float | None = None
    """The most seconds, from `started` to the end of the fit."""

    started: float = 0.0
    """When the clock of `max_time` was started, by :func:`time.perf_counter`."""

    n_iter_no_change: int = 10
    """How many epochs in a row may pass without a higher validation score."""

    tol: float = 0.0
    """By how many nats a score must rise to count as higher."""


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

    finish: Callable[[Flow], History]
    """Makes of a copy of the flow what the fit would leave if it ended now."""


def train(
    flow: Flow,
    batches: Batches,
    optimizer: Optimizer,
    *,
    rate: float,
    stopping: Stopping,
    others_rate: float = OTHERS_RATE,
    validation: Rows | None = None,
    standard_errors: float = 0.0,
    offset: float = 0.0,
    precision: MatmulPrecision = "highest",
    report: Callable[[EpochReport], bool | None] | None = None,
) -> History:
    r"""Fit a flow to batches of rows by maximum likelihood.

    The learning rate warms up and falls on a cosine to zero over the budget of `stopping`.
    With validation rows, the weights with the highest validation score are kept, those
    before the first step among them.

    Parameters
    ----------
    flow : Flow
        Changed in place.
    batches : Batches
        The batches of rows.
    optimizer : Optimizer
        Made for `flow`.
    rate : float
        The highest learning rate of the dense layers.
    stopping : Stopping
        When the fit ends.
    others_rate : float, default=0.005
        The highest learning rate of all other parameters.
    validation : Rows or None, default=None
        The rows that are held out, if there are any.
    standard_errors : float, default=0.0
        By how many standard errors of the difference the validation score must exceed that before
        the first step, for weights to be kept. With few validation rows, some epoch seems to be
        better by chance.
    offset : float, default=0.0
        Added to each log-likelihood that is recorded, in nats: the log-determinant of what was
        done to the rows before.
    precision : {"highest", "high", "medium"}, default="highest"
        That of the products of matrices in a step; scores are always computed with the
        highest.
    report : callable or None, default=None
        Called after each epoch. If it returns true, the fit ends there, and its schedule is not
        completed.

    Returns
    -------
    history : History
        The record of the fit.

    Raises
    ------
    DivergenceError
        If steps stay non-finite although the learning rate was lowered.

    Notes
    -----
    A step that is not finite is skipped, and the learning rates are halved. The history counts
    these steps.
    """
    history = History()
    budget = Budget(stopping.max_iter * len(batches), stopping.max_time, stopping.started)
    best = None
    path: list[tuple[float, float]] = []
    if validation is not None:
        clock = time.perf_counter()
        initial = _log_probs(flow, validation)
        history.initial_score = history.best_score = _mean(initial, validation) + offset
        budget.reserve(time.perf_counter() - clock)
        best = _copy_of_state(flow)
    last_rise = 0
    steps = Steps(flow, optimizer, rate=rate, others_rate=others_rate)

    def finish(flow: Flow) -> History:
        if best is not None:
            flow.load_state_dict(best)
        return _ended(history, steps, flow)

    return_freed_memory()
    for epoch in range(1, stopping.max_iter + 1):
        steps.begin_epoch()
        started_at = budget.progress
        with matmul_precision(precision):
            for batch in batches:
                pull = whitening(budget.n_steps_expected)
                taken = steps.take(batch, annealing(budget.progress), whitening=pull)
                if best is not None and not taken:
                    flow.load_state_dict(best)
                    path = history.path.copy()
                budget.steps_done += 1
                if budget.progress >= 1:
                    break
        history.losses.append(steps.end_epoch() - offset)
        path.append((started_at, budget.progress))
        score = None
        if validation is not None:
            log_probs = _log_probs(flow, validation)
            score = _mean(log_probs, validation) + offset
            history.validation_scores.append(score)
            assert history.best_score is not None
            assert history.initial_score is not None
            if score > history.best_score + stopping.tol:
                last_rise = epoch
            least = standard_errors * _standard_error(log_probs - initial, validation)
            if score > max(history.best_score, history.initial_score + least):
                history.best_score = score
                del best  # before the copy is made: there is never room for three
                best = _copy_of_state(flow)
                history.path = path.copy()
        progress = budget.progress
        if report is not None:
            asked_to_end = report(
                EpochReport(
                    epoch=epoch,
                    loss=history.losses[-1],
                    validation_score=score,
                    rate=steps.rate * annealing(progress),
                    progress=progress,
                    seconds=budget.seconds,
                    seconds_left=budget.seconds_left,
                    finish=finish,
                )
            )
            if asked_to_end:
                history.interrupted = True
                break
        if progress >= 1:
            break
        stalled = epoch - last_rise >= stopping.n_iter_no_change
        if best is not None and stalled and not budget.landing:
            # Annealing is worth more than the epochs it takes: the fit does not end without.
            history.stopped_early = True
            flow.load_state_dict(best)
            path = history.path.copy()
            budget.land(stopping.n_iter_no_change * len(batches))
    return finish(flow)


def retrace(
    flow: Flow,
    batches: Batches,
    optimizer: Optimizer,
    *,
    path: list[tuple[float, float]],
    rate: float,
    others_rate: float = OTHERS_RATE,
    offset: float = 0.0,
    precision: MatmulPrecision = "highest",
    report: Callable[[EpochReport], bool | None] | None = None,
) -> History:
    """Fit a flow in the epochs that led another one to its best weights, with no row held out.

    Parameters
    ----------
    flow, batches, optimizer
        As for :func:`train`.
    path : list of (float, float)
        The :attr:`History.path` of the other.
    rate, others_rate, offset, precision
        As for :func:`train`.
    report : callable or None, default=None
        Called after each epoch. What it returns is not looked at.

    Returns
    -------
    history : History
        It has no validation scores.

    Raises
    ------
    DivergenceError
        As :func:`train`.
    """
    history = History(path=path)
    budget = Budget(max(1, len(path) * len(batches)), None, time.perf_counter())
    steps = Steps(flow, optimizer, rate=rate, others_rate=others_rate)

    def finish(flow: Flow) -> History:
        return _ended(history, steps, flow)

    pull = whitening(len(path) * len(batches))
    for epoch, (before, after) in enumerate(path, 1):
        steps.begin_epoch()
        with matmul_precision(precision):
            for k, batch in enumerate(batches):
                progress = before + (after - before) * k / len(batches)
                steps.take(batch, annealing(progress), whitening=pull)
        history.losses.append(steps.end_epoch() - offset)
        budget.steps_done += len(batches)
        if report is not None:
            report(
                EpochReport(
                    epoch=epoch,
                    loss=history.losses[-1],
                    validation_score=None,
                    rate=steps.rate * annealing(after),
                    progress=budget.progress,
                    seconds=budget.seconds,
                    seconds_left=budget.seconds_left,
                    finish=finish,
                )
            )
    return finish(flow)


def _ended(history: History, steps: Steps, flow: Flow) -> History:
    """End the training of a flow, and return its history with what the steps came to."""
    return replace(
        history,
        n_steps=steps.n_taken,
        n_skipped=steps.n_skipped,
        rate=steps.rate,
        log_det_drift=end_training(flow),
    )


def mean_log_prob(flow: Flow, rows: Rows) -> float:
    """Return the mean log-likelihood of `rows` in nats, by their weights if they have any.

    Parameters
    ----------
    flow : Flow
        The flow.
    rows : Rows
        The rows.
    """
    return _mean(_log_probs(flow, rows), rows)


@torch.no_grad()
def _log_probs(flow: Flow, rows: Rows) -> Tensor:
    """Return the log-likelihood of each row, in float64 on the CPU."""
    with flow.unchanged():
        return torch.cat([flow.log_prob(block).double() for block in rows.blocks()]).cpu()


def _mean(values: Tensor, rows: Rows) -> float:
    weights = rows.take_weights()
    return float(values.mean() if weights is None else (values @ weights) / weights.sum())


def _standard_error(values: Tensor, rows: Rows) -> float:
    """Return the standard error of :func:`_mean`."""
    weights = rows.take_weights()
    shares = torch.ones_like(values) if weights is None else weights
    return float(torch.linalg.vector_norm(shares * (values - _mean(values, rows))) / shares.sum())


def _copy_of_state(flow: Flow) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in flow.state_dict().items()}
