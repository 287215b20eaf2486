"""Fits of few rows: several of them choose how all rows are fitted in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from skflow.flow.network import Flow
from skflow.training.fits import EpochReport, Fit, Refit, StepwiseFit, TrainingFit
from skflow.training.history import History

__all__ = ["FitOfFewRows"]


class _Kept(NamedTuple):
    """The best candidate that has ended."""

    flow: Flow
    """At its best weights."""

    attributes: dict[str, Any]
    """Those that the plan had with it."""


class FitOfFewRows(Fit):
    """Candidates, which hold rows out, and then a fit of all rows as the best of them was.

    If it is interrupted, the best candidate so far is left, the running one among them.

    Parameters
    ----------
    candidates : sequence of callables
        Each begins one: it returns a :class:`TrainingFit` with validation rows.
    refit : callable
        Begins the fit of all rows. It is called with the number of the best candidate, from 0,
        and with its record.
    plan : object or None, default=None
        Whose attributes the callables set. It gets back those that it had with the best candidate
        so far, before either of them is called, and if that candidate is left.
    """

    def __init__(
        self,
        candidates: Sequence[Callable[[], TrainingFit]],
        refit: Callable[[int, History], Refit],
        plan: object | None = None,
    ) -> None:
        self._candidates = candidates
        self._refit = refit
        self._attributes = {} if plan is None else vars(plan)
        self._kept: _Kept | None = None
        self._left: _Kept | None = None
        self._histories: list[History] = []
        self.current: TrainingFit | Refit = candidates[0]()
        self.interrupted = False

    @property
    def flow(self) -> Flow:  # noqa: D102
        return self.current.flow if self._left is None else self._left.flow

    @property
    def histories(self) -> list[History]:  # noqa: D102
        return self._histories

    @property
    def best(self) -> int:
        """The number of the best candidate so far, from 0."""
        histories = self._histories
        if self.interrupted and len(histories) < len(self._candidates):
            histories = [*histories, self.current.history]
        return _best(histories)

    @property
    def running(self) -> StepwiseFit:  # noqa: D102
        return self.current

    @property
    def is_done(self) -> bool:  # noqa: D102
        if self.interrupted or not self.current.is_done:
            return self.interrupted
        n_begun, n_candidates = self._stage, len(self._candidates)
        if n_begun == n_candidates:  # the refit has no epochs where the start was best
            return not self._best_path()
        return n_begun > n_candidates

    def advance(self) -> EpochReport:  # noqa: D102
        if self.current.has_ended:
            self._begin_next()
        report = self.current.advance()
        return replace(report, fit=self._stage, n_fits=len(self._candidates) + 1)

    def interrupt(self) -> None:  # noqa: D102
        self.interrupted = True
        self.current.interrupt()

    def finish(self, flow: Flow | None = None) -> History:  # noqa: D102
        if flow is not None:
            return self.current.finish(flow)
        while self._stage <= len(self._candidates) and not self.interrupted:
            self._begin_next()
        history = self.current.finish()
        n_skipped = history.n_skipped + sum(one.n_skipped for one in self._histories)
        is_refit = self._stage > len(self._candidates)
        if is_refit and self.current.has_ended:
            best = self._histories[self.best]
            history.best_score, history.choice_score = best.best_score, best.choice_score
        elif self.best < self._stage - 1:  # it was interrupted, and one that has ended is better
            history = replace(self._histories[self.best], interrupted=True)
            self._go_back()
            self._left = self._kept
        return replace(history, n_skipped=n_skipped)

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {
            "histories": [deepcopy(asdict(history)) for history in self._histories],
            "interrupted": self.interrupted,
            "best": None if self._kept is None else deepcopy(self._kept.flow.state_dict()),
            "current": self.current.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        self._histories = [History(**deepcopy(history)) for history in state["histories"]]
        if self._histories:
            if self.best > 0:
                self.current = self._candidates[self.best]()
            self.current.flow.load_state_dict(state["best"])
            self._keep()
            self.current = self._begun()
        self.current.load_state_dict(state["current"])
        self.interrupted = state["interrupted"]

    @property
    def _stage(self) -> int:
        """Which fit the current one is, from 1."""
        return len(self._histories) + 1

    def _begin_next(self) -> None:
        self._histories.append(self.current.finish())
        if _best(self._histories) == len(self._histories) - 1:
            self._keep()
        else:
            self._go_back()
        self.current = self._begun()
        if self.interrupted:  # while it began
            self.current.interrupt()

    def _begun(self) -> TrainingFit | Refit:
        k = len(self._histories)
        if k < len(self._candidates):
            return self._candidates[k]()
        best = _best(self._histories)
        return self._refit(best, self._histories[best])

    def _keep(self) -> None:
        """Keep the current candidate, which has ended and is the best one."""
        self._kept = _Kept(self.current.flow, self._attributes.copy())

    def _go_back(self) -> None:
        """Give the plan the attributes that it had with the best candidate that has ended."""
        assert self._kept is not None
        self._attributes.update(self._kept.attributes)

    def _best_path(self) -> list[tuple[float, float]]:
        histories = [*self._histories, self.current.history]
        return max(histories, key=_score).path


def _best(histories: Sequence[History]) -> int:
    return max(range(len(histories)), key=lambda k: _score(histories[k]), default=0)


def _score(history: History) -> float:
    assert history.compared_score is not None
    return history.compared_score
