"""Training a pass at a time, with what is to be kept in between."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from skflow.flow.network import Flow
from skflow.flow.pickling import StablePickle
from skflow.training.averaging import Average
from skflow.training.batches import Batches
from skflow.training.history import History
from skflow.training.optimizers import Optimizer
from skflow.training.precision import MatmulPrecision, matmul_precision
from skflow.training.schedule import warming, whitening
from skflow.training.steps import Steps, end_training

__all__ = ["Increment", "train_once"]

# Beyond so many columns no determinants are computed, as those of mean weights would have to be.
_MOST_AVERAGED_COLUMNS = 8192


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

        Parameters
        ----------
        flow : Flow
            The flow that was kept.
        """
        if flow.n_features > _MOST_AVERAGED_COLUMNS:
            return flow
        trained = deepcopy(flow)
        with torch.no_grad():
            for parameter, value in zip(trained.parameters(), self.parameters, strict=False):
                parameter.copy_(value)
        return trained

    def cpu(self) -> Increment:
        """Return a copy without anything on a GPU."""
        return replace(self, state=_on_cpu(self.state), parameters=_on_cpu(self.parameters))


def train_once(
    flow: Flow,
    trained: Flow,
    batches: Batches,
    optimizer: Optimizer,
    increment: Increment,
    *,
    rate: float,
    others_rate: float,
    batch_size: int,
    offset: float,
    precision: MatmulPrecision,
) -> tuple[History, Increment]:
    """Take a flow through batches of rows once, at learning rates that stay after a warm-up.

    A batch of fewer rows than `batch_size` takes a step that is shorter in proportion.

    Parameters
    ----------
    flow : Flow
        Changed in place: the mean of what is trained, over the last steps.
    trained : Flow
        What :meth:`Increment.resume` made of it.
    batches : Batches
        The batches of rows.
    optimizer : Optimizer
        Made for `trained`. It goes on from where one of its class stopped.
    increment : Increment
        What the pass before it left.
    rate, others_rate : float
        The learning rates of the dense layers, and of all other parameters.
    batch_size : int
        The number of rows that they are meant for.
    offset, precision
        As for :func:`train`.

    Returns
    -------
    history : History
        With one loss.
    increment : Increment
        What the next pass goes on with.

    Raises
    ------
    DivergenceError
        As :func:`train`.
    """
    n_warm, kind = 0.0, type(optimizer).__name__
    if increment.optimizer == kind:
        optimizer.load_state_dict(increment.state)
        n_warm = increment.n_warm
    average = None if trained is flow else Average(flow, trained, increment.n_steps)
    steps = Steps(trained, optimizer, rate=rate, others_rate=others_rate)
    n_before = n_warm
    steps.begin_epoch()
    with matmul_precision(precision):
        for batch in batches:
            share = len(batch.x) / batch_size
            pull = whitening(increment.n_steps + n_warm - n_before)
            steps.take(batch, share * warming(n_warm), whitening=pull)
            n_warm += share
            if average is not None:
                average.update(share)
    history = History(
        losses=[steps.end_epoch() - offset],
        n_steps=steps.n_taken,
        n_skipped=steps.n_skipped,
        rate=steps.rate,
    )
    end_training(trained)
    generator = batches.generator
    seed = torch.randint(2**31 - 1, (), generator=generator, device=generator.device)
    return history, replace(
        increment,
        n_steps=increment.n_steps + n_warm - n_before,
        n_warm=n_warm,
        optimizer=kind,
        state=optimizer.state_dict(),
        parameters=() if average is None else tuple(p.detach() for p in trained.parameters()),
        seed=int(seed),
    )


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_on_cpu, value))
    return value
