"""A fit, and another one that starts from a mixture if this is better than where it ended."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

from skflow.flow.network import Flow
from skflow.training.fits import EpochReport, Fit, StepwiseFit, TrainingFit
from skflow.training.history import History

__all__ = ["FitWithRival"]


class FitWithRival(Fit):
    """A fit, and a second one if that starts with a higher choice score than the first ends with.

    The second fit keeps no weights with a lower choice score than that of its start. So it ends
    above the first one, wherever it is interrupted, and is what is left.

    Parameters
    ----------
    first : TrainingFit
        With validation rows.
    rival : callable
        Begins the second fit: it is called with the record of the first one, and returns a
        :class:`TrainingFit`, or None if the first one is better.
    """

    def __init__(self, first: TrainingFit, rival: Callable[[History], TrainingFit | None]) -> None:
        self.current = first
        self.interrupted = False
        self._rival = rival
        self._first_history: History | None = None

    @property
    def flow(self) -> Flow:  # noqa: D102
        return self.current.flow

    @property
    def running(self) -> StepwiseFit:  # noqa: D102
        return self.current

    @property
    def is_done(self) -> bool:  # noqa: D102
        return self.current.is_done

    def advance(self) -> EpochReport:  # noqa: D102
        report = self.current.advance()
        if self._first_history is not None:
            return replace(report, fit=2, n_fits=2)
        if self.current.has_ended:
            self._begin_rival(self.current.finish())
        return report

    def interrupt(self) -> None:  # noqa: D102
        self.interrupted = True
        self.current.interrupt()

    def finish(self, flow: Flow | None = None) -> History:  # noqa: D102
        history = self.current.finish(flow)
        first = self._first_history
        return (
            history
            if first is None
            else replace(history, n_skipped=history.n_skipped + first.n_skipped)
        )

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        first = self._first_history
        return {
            "first": None if first is None else deepcopy(asdict(first)),
            "current": self.current.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        if state["first"] is not None and self._first_history is None:
            self._begin_rival(History(**deepcopy(state["first"])))
        self.current.load_state_dict(state["current"])

    def _begin_rival(self, first: History) -> None:
        rival = self._rival(first)
        if rival is not None:
            self.current, self._first_history = rival, first
        if self.interrupted:  # since the first one ended: what there is is at its best
            self.current.interrupt()
