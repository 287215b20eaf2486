"""The training loop."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skflow.exceptions import DivergenceError
from skflow.flow.linear import LinearStack
from skflow.flow.network import Flow
from skflow.training.batches import Batches, Rows
from skflow.training.history import History
from skflow.training.optimizers import OTHERS_RATE, Optimizer
from skflow.training.precision import MatmulPrecision, matmul_precision
from skflow.training.schedule import Budget, annealing

__all__ = ["EpochReport", "Stopping", "mean_log_prob", "train"]

_MAX_FAILURES = 20


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
    optimizer : Optimizer
        Made for `flow`.
    rate : float
        The highest learning rate of the dense layers.
    stopping : Stopping
    others_rate : float, default=0.005
        The highest learning rate of all other parameters.
    validation : Rows or None, default=None
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

    Raises
    ------
    DivergenceError
        If steps stay non-finite although the learning rate was lowered.

    Warns
    -----
    RuntimeWarning
        If a step was non-finite: it is skipped, and the learning rate is halved.
    """
    history = History()
    budget = Budget(stopping.max_iter * len(batches), stopping.max_time, stopping.started)
    best = None
    if validation is not None:
        clock = time.perf_counter()
        history.initial_score = history.best_score = mean_log_prob(flow, validation) + offset
        budget.reserve(time.perf_counter() - clock)
        best = _copy_of_state(flow)
    last_rise, failures = 0, 0
    log_det = _log_abs_det(flow)

    def finish(flow: Flow) -> History:
        if best is not None:
            flow.load_state_dict(best)
        drifts = [b.end_training() for b in flow.bijections if isinstance(b, LinearStack)]
        known = [drift for drift in drifts if drift is not None]
        return replace(history, log_det_drift=sum(known) if known else None)

    for epoch in range(1, stopping.max_iter + 1):
        losses = []
        for batch in batches:
            with matmul_precision(precision):
                loss = flow.relative_gradient(batch)
                share = annealing(budget.progress)
                taken = optimizer.step(rate * share, others_rate * share)
            if taken:
                losses.append(loss)
                failures = 0
            else:
                failures += 1
                if failures > _MAX_FAILURES:
                    raise DivergenceError(
                        f"Training diverged: {failures} steps in a row were non-finite although "
                        f"learning_rate was lowered to {rate:.3g}. Set learning_rate lower from "
                        "the start, and look for constant, collinear or heavy-tailed columns."
                    )
                rate *= 0.5
                others_rate *= 0.5
                warnings.warn(
                    f"A step was non-finite and was not applied; learning_rate was lowered to "
                    f"{rate:.3g} for the rest of this fit. Set learning_rate={rate:.3g} or less.",
                    RuntimeWarning,
                    stacklevel=2,
                )
                if best is not None:
                    flow.load_state_dict(best)
            budget.steps_done += 1
            if budget.progress >= 1:
                break
        previous, log_det = log_det, _log_abs_det(flow)
        history.n_steps += len(losses)
        # The loss of a step lacks log|det W|, which is known at both ends of the epoch.
        mean_loss = float(torch.stack(losses).mean()) if losses else float("nan")
        history.losses.append(mean_loss - 0.5 * (previous + log_det) - offset)
        score = None
        if validation is not None:
            score = mean_log_prob(flow, validation) + offset
            history.validation_scores.append(score)
            assert history.best_score is not None
            if score > history.best_score + stopping.tol:
                last_rise = epoch
            if score > history.best_score:
                history.best_score = score
                del best  # before the copy is made: there is never room for three
                best = _copy_of_state(flow)
        progress = budget.progress
        if report is not None:
            asked_to_end = report(
                EpochReport(
                    epoch=epoch,
                    loss=history.losses[-1],
                    validation_score=score,
                    rate=rate * annealing(progress),
                    progress=progress,
                    seconds=budget.seconds,
                    seconds_left=budget.seconds_left,
                    finish=finish,
                )
            )
            if asked_to_end:
                break
        if progress >= 1:
            break
        stalled = epoch - last_rise >= stopping.n_iter_no_change
        if best is not None and stalled and not budget.landing:
            # Annealing is worth more than the epochs it takes: the fit does not end without.
            history.stopped_early = True
            flow.load_state_dict(best)
            log_det = _log_abs_det(flow)
            budget.land(stopping.n_iter_no_change * len(batches))
    return finish(flow)


@torch.no_grad()
def mean_log_prob(flow: Flow, rows: Rows) -> float:
    """Return the mean log-likelihood of `rows` in nats."""
    total = sum(flow.log_prob(block).sum(dtype=torch.float64) for block in rows.blocks())
    return float(total) / len(rows)


def _copy_of_state(flow: Flow) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in flow.state_dict().items()}


@torch.no_grad()
def _log_abs_det(flow: Flow) -> float:
    return float(flow.log_abs_det())
