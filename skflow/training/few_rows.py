"""Fits of few rows: several of them choose how all rows are fitted in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

from skflow.flow.network import Flow
from skflow.training.fits import EpochReport, Fit, Refit, TrainingFit
from skflow.training.history import History

__all__ = ["FitOfFewRows"]


class FitOfFewRows(Fit):
    """Candidates, which hold rows out, and then a fit of all rows as the best of them was.

    Parameters
    ----------
    candidates : sequence of callables
        Each begins one: it returns a :class:`TrainingFit` with validation rows.
    refit : callable
        Begins the fit of all rows. It is called with the number of the best candidate, from 0,
        and with its record.
    """

    def __init__(
        self,
        candidates: Sequence[Callable[[], TrainingFit]],
        refit: Callable[[int, History], Refit],
    ) -> None:
        self._candidates = candidates
        self._refit = refit
        self._histories: list[History] = []
        self.current: TrainingFit | Refit = candidates[0]()
        self.interrupted = False

    @property
    def flow(self) -> Flow:  # noqa: D102
        return self.current.flow

    @property
    def histories(self) -> list[History]:  # noqa: D102
        return self._histories

    @property
    def best(self) -> int:  # noqa: D102
        if not self.histories:
            return 0
        return max(range(len(self.histories)), key=lambda k: _score(self.histories[k]))

    @property
    def is_done(self) -> bool:  # type: ignore[override]
        """Whether there is no further epoch."""
        if self.interrupted or not self.current.is_done:
            return self.interrupted
        n_begun, n_candidates = self._stage, len(self._candidates)
        if n_begun == n_candidates:  # the refit has no epochs where the start was best
            return not self._best_path()
        return n_begun > n_candidates

    def advance(self) -> EpochReport:  # noqa: D102
        if self.current.is_done:
            self._begin_next()
        report = self.current.advance()
        return replace(report, fit=self._stage, n_fits=len(self._candidates) + 1)

    def interrupt(self) -> None:  # noqa: D102
        self.current.interrupt()
        self.interrupted = True

    def finish(self, flow: Flow | None = None) -> History:  # noqa: D102
        if flow is not None or self.interrupted:
            return self.current.finish(flow)
        while self._stage <= len(self._candidates):
            self._begin_next()
        history = self.current.finish()
        return replace(
            history,
            best_score=self.histories[self.best].best_score,
            choice_score=self.histories[self.best].choice_score,
            n_skipped=history.n_skipped + sum(one.n_skipped for one in self.histories),
        )

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {
            "histories": [deepcopy(asdict(history)) for history in self.histories],
            "interrupted": self.interrupted,
            "current": self.current.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        self._histories = [History(**deepcopy(history)) for history in state["histories"]]
        self.interrupted = state["interrupted"]
        self.current = self._begun()
        self.current.load_state_dict(state["current"])

    @property
    def _stage(self) -> int:
        """Which fit the current one is, from 1."""
        return len(self.histories) + 1

    def _begin_next(self) -> None:
        self.histories.append(self.current.finish())
        self.current = self._begun()

    def _begun(self) -> TrainingFit | Refit:
        k = len(self.histories)
        if k < len(self._candidates):
            return self._candidates[k]()
        return self._refit(self.best, self.histories[self.best])

    def _best_path(self) -> list[tuple[float, float]]:
        histories = [*self.histories, self.current.history]
        return max(histories, key=_score).path


def _score(history: History) -> float:
    assert history.compared_score is not None
    return history.compared_score
