"""The part of one of several processes in a data-parallel fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from skflow.distributed.group import Group
from skflow.distributed.traffic import exchanges_factors, rows_of_part
from skflow.exceptions import RankError
from skflow.flow.network import Flow
from skflow.flow.products import product
from skflow.flow.relative import Factors, RelativeLayer, Sums, heard
from skflow.training.batches import Batch, Batches
from skflow.training.checkpoint import shown
from skflow.training.exchange import CanEnd, Exchange
from skflow.training.optimizers import Optimizer
from skflow.training.parts import PartsOfBatches, part
from skflow.training.rows import Rows
from skflow.training.vector import alike

__all__ = ["DataParallel"]

T = TypeVar("T")

Completion = Callable[[], None]

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
            self._is_broken |= isinstance(error, RankError)
            if liveness is not None:
                liveness.report(error)
            raise
        finally:
            self._fit = None

    def check_alike(self, rows: Rows, parameters: Mapping[str, Any]) -> None:  # noqa: D102
        of_ranks = self.group.collected(_facts(rows, parameters))
        first = of_ranks[0]
        for rank, facts in enumerate(of_ranks):
            differing = [name for name in first | facts if first.get(name) != facts.get(name)]
            if differing:
                shown = "; ".join(
                    f"{name}: {first.get(name)} on rank 0, {facts.get(name)} on rank {rank}"
                    for name in differing
                )
                raise ValueError(
                    f"Within {self.name}, all processes must fit the same rows with the same "
                    f"parameters. They differ in {shown}. Pass all rows to each of them: fit "
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
        begun: list[Completion] = []

        def begin(layer: RelativeLayer, factors: Factors) -> None:
            if exchanges_factors(batch.n_rows, layer.weight.shape[-1]):
                begun.append(self._begin_factors(layer, factors, batch))
            else:
                assert batch.weights is not None
                mass = float(batch.weights.mean())
                own = factors._replace(mass=mass, weights=batch.weights)
                begun.append(self._begin_sums(layer, optimizer.sums(layer, own, penalty), batch))

        with heard(flow.relative_layers, begin):
            loss = flow.relative_gradient(batch.x, batch.weights)
        begun += self._begin_others(optimizer.gradients(), batch.x)
        for complete in begun:
            complete()
        return loss

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
        parts = [part(n_rows, rank, n_ranks) for rank in range(n_ranks)]
        self.agreed(None)  # what time it is
        return torch.cat(
            [one[: of.stop - of.start] for one, of in zip(gathered, parts, strict=True)]
        )

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

    def _begin_factors(self, layer: RelativeLayer, factors: Factors, batch: Batch) -> Completion:
        n_layers, n_rows, n_features = factors.y.shape
        n_sent = rows_of_part(batch.n_rows, self.n_ranks)
        own = factors.y.new_zeros((2, n_layers, n_sent, n_features))
        own[0, :, :n_rows], own[1, :, :n_rows] = factors.delta, factors.y
        wait = self.group.gather(own)

        def complete() -> None:
            # Of the rows that fill up a part, all is zero.
            delta, y = wait().permute(1, 2, 0, 3, 4).flatten(2, 3).contiguous()
            layer.factors = Factors(delta, y, product(y, layer.weight.detach()), batch.mass)

        return complete

    def _begin_sums(self, layer: RelativeLayer, sums: Sums, batch: Batch) -> Completion:
        relative, delta_sum = sums.relative_matrix, sums.delta_sum
        wait = self.group.sum(torch.cat([relative.reshape(-1), delta_sum.reshape(-1)]))

        def complete() -> None:
            matrix, vector = wait().split([relative.numel(), delta_sum.numel()])
            layer.factors = Sums(matrix.view_as(relative), vector.view_as(delta_sum), batch.mass)

        return complete

    def _begin_others(self, gradients: list[Tensor], like: Tensor) -> list[Completion]:
        """Begin to add up the gradients of all other parameters, and what there is to tell."""
        control = [time.perf_counter() - self._origin if self.rank == 0 else 0.0]
        control.append(float(self._interrupts))
        groups = alike(gradients) or [[]]
        completions = []
        for k, group in enumerate(groups):
            first = group[0] if group else like
            told = [first.new_tensor(control)] if k == 0 else []
            wait = self.group.sum(torch.cat([*group, *told]))
            completions.append(self._completion(wait, group, is_told=k == 0))
        return completions

    def _completion(
        self, wait: Callable[[], Tensor], gradients: list[Tensor], *, is_told: bool
    ) -> Completion:
        def complete() -> None:
            total = wait()
            sizes = [len(gradient) for gradient in gradients]
            *parts, told = total.split([*sizes, len(total) - sum(sizes)])
            for gradient, sum_of_all in zip(gradients, parts, strict=True):
                gradient.copy_(sum_of_all)
            if is_told:
                self._now = float(told[0])
                if told[1] > 0 and self._fit is not None and not self._was_interrupted:
                    self._was_interrupted = True
                    self._fit.interrupt()

        return complete


class _Interrupter:
    """What a handler of Ctrl-C interrupts in place of a fit."""

    def __init__(self, exchange: DataParallel) -> None:
        self._exchange = exchange

    def interrupt(self) -> None:
        self._exchange.interrupt()


def _facts(rows: Rows, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return what has to be the same on all processes."""
    n_rows = len(rows)
    some = torch.linspace(0, n_rows - 1, min(n_rows, _ROWS_COMPARED), dtype=torch.float64).long()
    x, weights, groups = rows.take(some), rows.take_weights(), rows.take_groups()
    facts = {
        "number of rows": str(n_rows),
        "number of columns": str(rows.n_features),
        "precision of the rows": str(rows.data.dtype),
        "rows (a sum)": repr(float(x.double().sum())),
        "weights (their sum)": "none" if weights is None else repr(float(weights.sum())),
        "groups (a sum)": "none" if groups is None else repr(float(groups.double().sum())),
    }
    compared = sorted(set(parameters) - _NOT_COMPARED)
    return facts | {name: shown(parameters[name]) for name in compared}
