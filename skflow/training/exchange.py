"""What the processes that fit one flow together tell each other; by default, there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from skflow.flow.network import Flow
from skflow.training.architecture import build_flow
from skflow.training.batches import Batch, Batches
from skflow.training.optimizers import Optimizer
from skflow.training.rows import Rows
from skflow.training.streams import UnreadRows

__all__ = ["ALONE", "CanEnd", "Exchange", "current_exchange", "exchanging"]

T = TypeVar("T")


class CanEnd(Protocol):
    """What can be asked to end: a fit."""

    def interrupt(self) -> None: ...  # noqa: D102


class Exchange:
    """The part of a process that fits a flow on its own: all rows, and nobody to tell.

    A subclass is the part of one among several processes, all of which make the same calls in the
    same order. What decides how a fit goes on has the same bits on all of them.
    """

    rank: int = 0
    """The number of this process."""

    n_ranks: int = 1
    """The number of processes."""

    has_whole_rows: bool = True
    """Whether this process has all columns of the rows that it takes."""

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Take part in a fit while the block runs. An error in it ends the fit of all.

        Yields
        ------
        None
            Nothing.
        """
        yield

    def check_alike(self, rows: Rows | UnreadRows, parameters: Mapping[str, Any]) -> None:
        """Refuse a fit to rows, or with parameters, that are not the same on all processes.

        Parameters
        ----------
        rows : Rows or UnreadRows
            What is fitted.
        parameters : mapping
            Those of the estimator.

        Raises
        ------
        ValueError
            If they differ.
        """

    def own(self, rows: Rows | UnreadRows) -> Rows | UnreadRows:
        """Return what this process reads of rows.

        Parameters
        ----------
        rows : Rows or UnreadRows
            All of them, whole.
        """
        return rows

    def build_flow(self, parameters: Mapping[str, Any], n_rows: int, n_features: int) -> Flow:
        """Return this process's part of the flow: see :func:`build_flow`.

        Parameters
        ----------
        parameters : mapping
            Those of the estimator.
        n_rows, n_features : int
            The numbers of rows and of columns.
        """
        return build_flow(parameters, n_rows, n_features)

    def most(self, value: float) -> float:
        """Return the greatest of what processes with columns of their own have found.

        Parameters
        ----------
        value : float
            What this one has.
        """
        return value

    def refuse(self, what: str) -> None:
        """Refuse what the processes cannot do together; by default, nothing.

        Parameters
        ----------
        what : str
            The name of it.
        """

    def clock(self) -> float:
        """Return the seconds by which all processes decide."""
        return time.perf_counter()

    def agreed(self, value: T) -> T:
        """Return what the first process passed.

        Parameters
        ----------
        value : object
            What this one has.
        """
        return value

    def share(self, module: nn.Module) -> None:
        """Give a module the parameters and buffers that it has on the first process.

        Parameters
        ----------
        module : Module
            Changed in place.
        """

    def batches(self, batches: Batches) -> Batches:
        """Return this process's part of each batch.

        Parameters
        ----------
        batches : Batches
            Those of all processes.
        """
        return batches

    def gradient(self, flow: Flow, optimizer: Optimizer, batch: Batch, penalty: float) -> Tensor:
        """Differentiate the loss of a batch, for the optimiser's step.

        Parameters
        ----------
        flow : Flow
            What trains.
        optimizer : Optimizer
            Made for `flow`.
        batch : Batch
            This process's part of the rows.
        penalty : float
            That of the step.

        Returns
        -------
        loss : Tensor of shape ()
            This process's part of it: that of all is the sum of the parts.
        """
        return flow.relative_gradient(batch.x, batch.weights)

    def summed(self, values: Tensor) -> Tensor:
        """Return the sum over the processes.

        Parameters
        ----------
        values : Tensor
            What this process has.
        """
        return values

    def of_rows(self, function: Callable[[Rows], Tensor], rows: Rows) -> Tensor:
        """Return a value for each row.

        Parameters
        ----------
        function : callable
            Takes rows, and returns a tensor with a number for each.
        rows : Rows
            All rows, on each process.
        """
        return function(rows)

    def interruptible(self, fit: CanEnd) -> CanEnd:
        """Return what ends a fit on all processes.

        Parameters
        ----------
        fit : CanEnd
            The part of this process.
        """
        return fit

    def was_interrupted(self, here: bool) -> bool:
        """Whether what :meth:`interruptible` returned has ended the fit.

        Parameters
        ----------
        here : bool
            Whether it was called in this process.
        """
        return here


ALONE = Exchange()

_CURRENT: ContextVar[Exchange] = ContextVar("_CURRENT", default=ALONE)


def current_exchange() -> Exchange:
    """Return the part of this process in the fits of this thread."""
    return _CURRENT.get()


@contextmanager
def exchanging(exchange: Exchange) -> Iterator[None]:
    """Let this thread's fits take part in an exchange while the block runs.

    Parameters
    ----------
    exchange : Exchange
        The part of this process.
    """
    token = _CURRENT.set(exchange)
    try:
        yield
    finally:
        _CURRENT.reset(token)
