"""The part of one of several processes in a data-parallel fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from skflow.distributed.group import Group
from skflow.distributed.step import StepExchange
from skflow.distributed.traffic import rows_of_part
from skflow.exceptions import RankError
from skflow.flow.network import Flow
from skflow.flow.relative import heard
from skflow.training.batches import Batch, Batches
from skflow.training.checkpoint import shown
from skflow.training.exchange import CanEnd, Exchange
from skflow.training.optimizers import Optimizer
from skflow.training.parts import PartsOfBatches, part
from skflow.training.rows import Rows
from skflow.training.streams import UnreadRows

__all__ = ["DataParallel"]

T = TypeVar("T")

# By how many rows it is told whether the processes have the same.
_ROWS_COMPARED = 1000

# What need not be the same: the first process decides, or each for itself.
_NOT_COMPARED = {"checkpoint_path", "device", "random_state", "verbose"}


class DataParallel(Exchange):
    """Fits a flow together with other processes, each of which takes a part of each batch.

    Parameters
    ----------
    group : Group
        The processes.
    """

    name = "data_parallel"

    def __init__(self, group: Group) -> None:
        self.group = group
        self.rank, self.n_ranks = group.rank, group.n_ranks
        self._n_fits, self._is_broken = 0, False
        self._origin, self._now = time.perf_counter(), 0.0
        self._fit: CanEnd | None = None
        self._interrupts = self._was_interrupted = False

    @contextmanager
    def fitting(self) -> Iterator[None]:  # noqa: D102
        self._n_fits += 1
        liveness = self.group.liveness
        if liveness is not None:
            liveness.begin(self._n_fits)
        self._interrupts = self._was_interrupted = False
        try:
            if self._is_broken:
                raise RankError([], "the fit before this one was not ended by all processes")
            yield
        except BaseException as error:
            if isinstance(error, RankError):
                self._is_broken = True
                self.group.abandon()
            if liveness is not None:
                liveness.report(error)
            raise
        finally:
            self._fit = None

    def check_alike(  # noqa: D102
        self, rows: Rows | UnreadRows, parameters: Mapping[str, Any]
    ) -> None:
        of_ranks = self.group.collected(_facts(rows, parameters))
        first = of_ranks[0]
        for rank, facts in enumerate(of_ranks):
            differing = [name for name in first | facts if first.get(name) != facts.get(name)]
            if differing:
                said = "; ".join(
                    f"{name}: {first.get(name)} on rank 0, {facts.get(name)} on rank {rank}"
                    for name in differing
                )
                raise ValueError(
                    f"Within {self.name}, all processes must fit the same rows with the same "
                    f"parameters. They differ in {said}. Pass all rows to each of them: fit "
                    "divides them."
                )

    def clock(self) -> float:
        """Return the seconds on the first process when they last met."""
        return self._now

    def agreed(self, value: T) -> T:  # noqa: D102
        now = time.perf_counter() - self._origin
        agreed: T
        agreed, self._now = self.group.agreed((value, now))
        return agreed

    def share(self, module: nn.Module) -> None:  # noqa: D102
        state = module.state_dict()
        kinds = [(name, one.shape, one.dtype) for name, one in state.items()]
        received = {}
        for name, shape, dtype in self.group.agreed(kinds):
            mine = state.get(name)
            device = self.group.device if mine is None else mine.device
            if self.rank != 0 or mine is None:
                mine = torch.empty(shape, dtype=dtype)
            sent = self.group.broadcast(mine.detach().contiguous().to(self.group.device))
            received[name] = sent.to(device)
        if self.rank != 0:
            module.load_state_dict(received)

    def batches(self, batches: Batches) -> Batches:  # noqa: D102
        return PartsOfBatches(batches, self.rank, self.n_ranks)

    def gradient(  # noqa: D102
        self, flow: Flow, optimizer: Optimizer, batch: Batch, penalty: float
    ) -> Tensor:
        step = StepExchange(self.group, optimizer, batch, penalty)
        with heard(flow.relative_layers, step):
            loss = flow.relative_gradient(batch.x, batch.weights)
        self._hear(step.end(self._told()))
        return loss

    def _told(self) -> list[float]:
        """Return what this process tells in a step: the clock, and whether it was interrupted."""
        now = time.perf_counter() - self._origin if self.rank == 0 else 0.0
        return [now, float(self._interrupts)]

    def _hear(self, sums: list[float]) -> None:
        """Take what all processes have told, added up."""
        self._now, n_interrupts = sums
        if n_interrupts > 0 and self._fit is not None and not self._was_interrupted:
            self._was_interrupted = True
            self._fit.interrupt()

    def summed(self, values: Tensor) -> Tensor:  # noqa: D102
        return self.group.sum(values.to(self.group.device, copy=True))().to(values)

    def of_rows(self, function: Callable[[Rows], Tensor], rows: Rows) -> Tensor:  # noqa: D102
        n_rows, n_ranks = len(rows), self.n_ranks
        if n_rows < n_ranks:
            return function(rows)
        own = function(rows.subset(part(n_rows, self.rank, n_ranks)))
        padded = own.new_zeros(rows_of_part(n_rows, n_ranks))
        padded[: len(own)] = own
        gathered = self.group.gather(padded.to(self.group.device))().to(own)
        self.agreed(None)  # what time it is
        parts = (part(n_rows, rank, n_ranks) for rank in range(n_ranks))
        lengths = [one.stop - one.start for one in parts]
        return torch.cat([one[:n] for one, n in zip(gathered, lengths, strict=True)])

    def interruptible(self, fit: CanEnd) -> CanEnd:
        """Return what ends a fit on all processes with their next step.

        Parameters
        ----------
        fit : CanEnd
            The part of this process.
        """
        self._fit = fit
        return _Interrupter(self)

    def was_interrupted(self, here: bool) -> bool:  # noqa: D102
        return self._was_interrupted

    def interrupt(self) -> None:
        """End the fit on all processes with their next step."""
        self._interrupts = True


class _Interrupter:
    """What a handler of Ctrl-C interrupts in place of a fit."""

    def __init__(self, exchange: DataParallel) -> None:
        self._exchange = exchange

    def interrupt(self) -> None:
        self._exchange.interrupt()


def _facts(rows: Rows | UnreadRows, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return what has to be the same on all processes."""
    n_rows = len(rows)
    if isinstance(rows, UnreadRows):
        source, weights, groups = rows.source, rows.weights, rows.groups
        x, n_features = next(source.read(0)), source.n_features
    else:
        n_compared = min(n_rows, _ROWS_COMPARED)
        x = rows.take(torch.linspace(0, n_rows - 1, n_compared, dtype=torch.float64).long())
        weights, groups, n_features = rows.take_weights(), rows.take_groups(), rows.n_features
    facts = {
        "number of rows": str(n_rows),
        "number of columns": str(n_features),
        "precision of the rows": str(x.dtype),
        "rows (a sum)": repr(float(x.double().sum())),
        "weights (their sum)": "none" if weights is None else repr(float(weights.sum())),
        "groups (a sum)": "none" if groups is None else repr(float(groups.double().sum())),
    }
    compared = sorted(set(parameters) - _NOT_COMPARED)
    return facts | {name: shown(parameters[name]) for name in compared}
