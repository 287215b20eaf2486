"""Passes over rows, one at a time, and what is kept in between."""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from skflow.flow.network import Flow
from skflow.flow.pickling import StablePickle
from skflow.training.averaging import Average
from skflow.training.defaults import TrainingSettings
from skflow.training.fits import EpochReport, StepwiseFit, Training
from skflow.training.history import History
from skflow.training.precision import matmul_precision
from skflow.training.schedule import Budget, gaussian_penalty, warming

__all__ = ["Increment", "Pass"]


@dataclass(frozen=True)
class Increment(StablePickle):
    """What a pass goes on with; never changed, but replaced."""

    n_rows: int
    """How many rows the flow was first fitted to, which sets what is "auto"."""

    constant: torch.Tensor
    """The columns that were constant among them."""

    weight_unit: float
    """Their mean weight, which counts as one."""

    sharpness: float
    """That of the base distribution at the start."""

    n_steps: float = 0.0
    """How many steps were taken, counted in full batches."""

    n_warm: float = 0.0
    """How many of them at learning rates that stay, by the optimiser below."""

    optimizer: str = ""
    """Its class, and what it keeps."""

    state: dict[str, Any] = field(default_factory=dict)

    parameters: tuple[torch.Tensor, ...] = ()
    """Those that are trained, if the flow has their mean."""

    seed: int | None = None
    """Where the randomness of the next pass comes from."""

    def resume(self, flow: Flow) -> Flow:
        """Return what to train: the flow itself, or a copy where its mean is kept.

        No mean is kept where determinants are too large to be computed, as those of a mean would
        have to be.

        Parameters
        ----------
        flow : Flow
            The flow that was kept.
        """
        if not all(layer.has_exact_determinants for layer in flow.relative_layers):
            return flow
        trained = deepcopy(flow)
        with torch.no_grad():
            for parameter, value in zip(trained.parameters(), self.parameters, strict=False):
                parameter.copy_(value)
        return trained

    def cpu(self) -> Increment:
        """Return a copy without anything on a GPU."""
        return replace(self, state=_on_cpu(self.state), parameters=_on_cpu(self.parameters))


class Pass(StepwiseFit):
    """One pass over batches of rows, at learning rates that stay after a warm-up.

    A batch of fewer rows than the settings say takes a step that is shorter in proportion.

    Parameters
    ----------
    training : Training
        Of what :meth:`Increment.resume` made of `flow`. Its optimiser goes on from where one of
        its class stopped.
    flow : Flow
        Changed in place: the mean of what is trained, over the last steps.
    increment : Increment
        What the pass before it left.
    settings : TrainingSettings
        With the number of rows that the learning rates are meant for.
    """

    def __init__(
        self, training: Training, flow: Flow, increment: Increment, settings: TrainingSettings
    ) -> None:
        super().__init__(training)
        self.mean, self.increment, self.settings = flow, increment, settings
        self.budget = Budget(len(training.batches), None, time.perf_counter())
        self._n_warm, self._n_steps = 0.0, 0.0
        if increment.optimizer == type(training.optimizer).__name__:
            training.optimizer.load_state_dict(increment.state)
            self._n_warm = increment.n_warm
        self._average = (
            None if training.flow is flow else Average(flow, training.flow, increment.n_steps)
        )

    @property
    def flow(self) -> Flow:  # noqa: D102
        return self.mean

    def advance(self) -> EpochReport:  # noqa: D102
        self.steps.begin_epoch()
        n_before = self._n_warm
        with matmul_precision(self.training.precision):
            for batch in self.training.batches:
                fullness = len(batch.x) / self.settings.batch_size
                penalty = gaussian_penalty(self.increment.n_steps + self._n_warm - n_before)
                self.steps.take(batch, fullness * warming(self._n_warm), penalty=penalty)
                self._n_warm += fullness
                self.budget.steps_done += 1
                if self._average is not None:
                    self._average.update(fullness)
        self._n_steps = self._n_warm - n_before
        self.history.losses.append(self.steps.end_epoch())
        self.has_ended = True
        return self._report(self.steps.rate)

    def finish(self, flow: Flow | None = None) -> History:  # noqa: D102
        history = replace(super().finish(), log_det_drift=None)
        training = self.training
        generator = training.batches.generator
        seed = torch.randint(2**31 - 1, (), generator=generator, device=generator.device)
        trained = () if self._average is None else tuple(training.flow.parameters())
        self.increment = replace(
            self.increment,
            n_steps=self.increment.n_steps + self._n_steps,
            n_warm=self._n_warm,
            optimizer=type(training.optimizer).__name__,
            state=training.optimizer.state_dict(),
            parameters=tuple(parameter.detach() for parameter in trained),
            seed=int(seed),
        )
        return history

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        counts = {"n_warm": self._n_warm, "n_steps": self._n_steps}
        return super().state_dict() | counts | {"mean": deepcopy(self.mean.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        super().load_state_dict(state)
        self.mean.load_state_dict(state["mean"])
        self._n_warm, self._n_steps = state["n_warm"], state["n_steps"]


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_on_cpu, value))
    return value
