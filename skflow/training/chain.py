r"""Several targets, one after the other: :math:`\prod_k p(y_k \mid x, y_1, \dots, y_{k-1})`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch

from skflow.flow import Bijection, Flow, Given, GivenBase, Leading, Normal
from skflow.training.architecture import DTYPES
from skflow.training.conditional import ConditionalPlan
from skflow.training.conditional_defaults import ConditionalSettings
from skflow.training.fits import EpochReport, Fit, StepwiseFit
from skflow.training.history import History
from skflow.training.passes import Increment
from skflow.training.rows import Rows
from skflow.training.standardization import standardization

__all__ = ["ChainFit", "ChainPlan", "conditional_plan"]

# More targets than these share one network, as each has a fit of its own here. On pendigits (4
# targets) the chain was 0.7 nats above the network, and on vowels (5) and wilt (2) level with it.
_MOST_TARGETS = 8


def conditional_plan(
    parameters: Mapping[str, Any],
    rows: Rows,
    target_front: Bijection,
    *,
    constant: torch.Tensor,
    generator: torch.Generator,
) -> ConditionalPlan | ChainPlan:
    """Say what a fit does: one target after the other where there are several, but not many.

    Parameters
    ----------
    parameters : mapping
        Those of :class:`~skflow.ConditionalFlow`, as ``get_params`` returns them.
    rows : Rows
        All rows: a standardised context, and the targets in their units.
    target_front : Bijection
        What brings the targets to one scale, column by column.
    constant : Tensor of shape (C,)
        The targets that are constant, which are modelled as normal with unit variance.
    generator : torch.Generator
        Where the randomness comes from. It is on the device of the fit.
    """
    is_chain = 1 < (target_front.n_features or 1) <= _MOST_TARGETS
    kind = ChainPlan if is_chain else ConditionalPlan
    return kind(parameters, rows, target_front, constant=constant, generator=generator)


class ChainPlan:
    """Fits of conditional flows of one target each, which become a flow of all targets.

    Each has a start, a network and best weights of its own, and takes the targets before its own
    as features. No gradient goes from one to the other.

    Parameters
    ----------
    parameters : mapping
        Those of :class:`~skflow.ConditionalFlow`, as ``get_params`` returns them.
    rows : Rows
        All rows: a standardised context, and the targets in their units.
    target_front : Bijection
        What brings the targets to one scale, column by column.
    constant : Tensor of shape (C,)
        The targets that are constant, which are modelled as normal with unit variance.
    generator : torch.Generator
        Where the randomness comes from. It is on the device of the fit.

    Attributes
    ----------
    front : Bijection
        What stands before the network. It does not train.
    all_rows : Rows
        The rows as they came.

    Notes
    -----
    Memory: O(N·K·(C + K)) for K targets behind C columns of context, as each fit has its rows.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        rows: Rows,
        target_front: Bijection,
        *,
        constant: torch.Tensor,
        generator: torch.Generator,
    ) -> None:
        self.generator = generator
        n_targets = target_front.n_features or 1
        self._n_features = rows.n_features
        self._n_context = n = rows.n_features - n_targets
        self.front = Given(target_front, n)
        self._links = []
        standard = self.front(rows.data)
        for k in range(n_targets):
            own = rows.data[:, n + k : n + k + 1]
            self._links.append(
                ConditionalPlan(
                    parameters,
                    Rows(torch.cat([standard[:, : n + k], own], 1), weights=rows.weights),
                    standardization(Rows(own, weights=rows.weights), robust=True),
                    constant=torch.zeros(int((constant == k).any()), dtype=torch.long),
                    generator=generator,
                )
            )
        dtype = DTYPES[parameters["dtype"]]
        self.all_rows = rows
        self.training = rows.behind(self.front, n + constant, generator, dtype)
        self._constant = n + constant

    @property
    def settings(self) -> ConditionalSettings:
        """What is "auto", of the first target."""
        return self._links[0].settings

    @property
    def core(self) -> Flow:
        """The network, at its start until it trains."""
        return self._joined([link.core for link in self._links])

    @property
    def n_rows(self) -> int:
        """The number of all rows."""
        return len(self.training)

    def increment(self, n_steps: float) -> Increment:
        """Return what passes over further rows go on with.

        Parameters
        ----------
        n_steps : float
            How many steps were taken.
        """
        unit = self.training.mean_weight
        return Increment(self.n_rows, self._constant, unit, 1.0, n_steps=n_steps)

    def fit(self, started: float) -> Fit:
        """Begin the fit.

        Parameters
        ----------
        started : float
            When the clock of `max_time` was started, by :func:`time.perf_counter`.
        """
        return ChainFit([link.fit(started) for link in self._links], self._joined, self._parted)

    def calibrated(self, flow: Flow) -> Flow:
        """Return a trained flow whose latents have unit variance for rows that were held out.

        Parameters
        ----------
        flow : Flow
            With its best weights.
        """
        parts = zip(self._links, self._parted(flow), strict=True)
        return self._joined([link.calibrated(part) for link, part in parts])

    def _joined(self, flows: Sequence[Flow]) -> Flow:
        """Return the flow of all targets, which shares the parameters of those of one target.

        The last target comes first: those before it are still what its conditioners take.
        """
        n_features = self._n_features
        bijections = [
            Leading(bijection, n_features)
            for link, flow in zip(reversed(self._links), reversed(flows), strict=True)
            for bijection in (*link.starts, *flow.bijections)
        ]
        base = GivenBase(Normal(), self._n_context)
        return Flow(bijections, base, n_features=n_features).to(self.generator.device)

    def _parted(self, flow: Flow) -> list[Flow]:
        """Return the flows of one target each that :meth:`_joined` made one of."""
        parts: list[Flow] = []
        end = len(flow.bijections)
        for link in self._links:
            begin = end - len(link.core.bijections)
            own = [cast(Leading, part).bijection for part in flow.bijections[begin:end]]
            parts.append(Flow(own, link.core.base, n_features=link.core.n_features))
            end = begin - len(link.starts)
        return parts


class ChainFit(Fit):
    """Fits of one target each, all of which take an epoch in turn until they are done.

    Parameters
    ----------
    fits : sequence of Fit
        In the order of the targets.
    joined : callable
        Makes a flow of all targets of theirs, which shares their parameters.
    parted : callable
        Returns the flows that such a flow is made of.
    """

    def __init__(
        self,
        fits: Sequence[Fit],
        joined: Callable[[Sequence[Flow]], Flow],
        parted: Callable[[Flow], list[Flow]],
    ) -> None:
        self.fits = fits
        self._joined, self._parted = joined, parted
        self._reports: list[EpochReport | None] = [None] * len(fits)
        self._n_rounds = 0

    @property
    def flow(self) -> Flow:  # noqa: D102
        return self._joined([fit.flow for fit in self.fits])

    @property
    def running(self) -> StepwiseFit:  # noqa: D102
        return next((fit for fit in self.fits if not fit.is_done), self.fits[-1]).running

    @property
    def is_done(self) -> bool:  # noqa: D102
        return all(fit.is_done for fit in self.fits)

    def advance(self) -> EpochReport:  # noqa: D102
        self._n_rounds += 1
        for k, fit in enumerate(self.fits):
            if not fit.is_done or self._n_rounds == 1:  # all have a report, if interrupted at once
                self._reports[k] = fit.advance()
        reports = [report for report in self._reports if report is not None]
        stage = min(report.fit for report in reports)
        scores = [report.validation_score for report in reports if report.fit == stage]
        known = [score for score in scores if score is not None]
        return EpochReport(
            epoch=self._n_rounds,
            loss=sum(report.loss for report in reports),
            validation_score=sum(known) if len(known) == len(reports) else None,
            rate=max(report.rate for report in reports),
            progress=min(report.progress for report in reports if report.fit == stage),
            seconds=max(report.seconds for report in reports),
            seconds_left=max(report.seconds_left for report in reports),
            fit=stage,
            n_fits=max(report.n_fits for report in reports),
        )

    def interrupt(self) -> None:  # noqa: D102
        for fit in self.fits:
            fit.interrupt()

    def finish(self, flow: Flow | None = None) -> History:  # noqa: D102
        if flow is None:
            return _together([fit.finish() for fit in self.fits])
        parts = zip(self.fits, self._parted(flow), strict=True)
        return _together([fit.finish(part) for fit, part in parts])

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"n_rounds": self._n_rounds, "fits": [fit.state_dict() for fit in self.fits]}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        self._n_rounds = state["n_rounds"]
        for fit, kept in zip(self.fits, state["fits"], strict=True):
            fit.load_state_dict(kept)


def _together(histories: Sequence[History]) -> History:
    """Return the record of several fits whose log-likelihoods add up."""
    return replace(
        histories[0],
        losses=_sums([history.losses for history in histories]),
        validation_scores=_sums([history.validation_scores for history in histories]),
        initial_score=_sum([history.initial_score for history in histories]),
        best_score=_sum([history.best_score for history in histories]),
        choice_score=_sum([history.choice_score for history in histories]),
        compared_score=_sum([history.compared_score for history in histories]),
        n_steps=max(history.n_steps for history in histories),
        n_skipped=sum(history.n_skipped for history in histories),
        rate=min(history.rate for history in histories),
        log_det_drift=None,
        stopped_early=all(history.stopped_early for history in histories),
        interrupted=any(history.interrupted for history in histories),
        path=[],
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _sums(curves: Sequence[list[float]]) -> list[float]:
    """Add up curves. One that has ended goes on with its last value; empty ones do not count."""
    curves = [curve for curve in curves if curve]
    n_epochs = max(map(len, curves), default=0)
    return [sum(curve[min(e, len(curve) - 1)] for curve in curves) for e in range(n_epochs)]
