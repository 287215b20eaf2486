"""Which columns of all rows each of several processes has, and how whole rows come of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from skflow.distributed.group import Group
from skflow.training.parts import part

__all__ = ["Columns", "together"]

_GROUP: ContextVar[Group | None] = ContextVar("_GROUP", default=None)


@contextmanager
def together(group: Group) -> Iterator[None]:
    """Let the parts of a model that this thread uses speak to the others while the block runs.

    Parameters
    ----------
    group : Group
        The processes.
    """
    token = _GROUP.set(group)
    try:
        yield
    finally:
        _GROUP.reset(token)


class Columns:
    """The part of D columns that one of R processes has: next to one another, and as many.

    Parameters
    ----------
    n_features : int
        The number D of columns.
    rank : int
        The number of the process.
    n_ranks : int
        The number R of processes.

    Attributes
    ----------
    own : slice
        Its columns.
    n_own : int
        Their number.
    most : int
        The number of columns of the process that has most.

    Raises
    ------
    ValueError
        If there are fewer columns than processes.
    """

    def __init__(self, n_features: int, rank: int, n_ranks: int) -> None:
        if n_features < n_ranks:
            raise ValueError(
                f"{n_features} column(s) cannot be divided among {n_ranks} processes. Start "
                "fewer, or fit by a single process."
            )
        self.n_features, self.rank, self.n_ranks = n_features, rank, n_ranks
        self.own = self.of(rank)
        self.n_own = self.own.stop - self.own.start
        self.most = -(-n_features // n_ranks)

    def of(self, rank: int) -> slice:
        """Return the columns of a process.

        Parameters
        ----------
        rank : int
            Its number.
        """
        return part(self.n_features, rank, self.n_ranks)

    @property
    def group(self) -> Group:
        """The processes.

        Raises
        ------
        RuntimeError
            If they are not there, or not as many as the model was divided among.
        """
        group = _GROUP.get()
        if group is None or group.n_ranks != self.n_ranks or group.rank != self.rank:
            here = None if group is None else f"this is {group.rank} of {group.n_ranks}"
            raise RuntimeError(
                f"This is part {self.rank} of a model that was divided among {self.n_ranks} "
                "processes by row_split. It only works with all parts: within row_split, in "
                f"process {self.rank} of a group of {self.n_ranks}, and {here or 'there is none'}."
            )
        return group

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over the processes.

        Parameters
        ----------
        values : Tensor
            What this one has; it is not changed.
        """
        return self.group.sum(values.detach().clone(memory_format=torch.contiguous_format))()

    def gather(self, own: Tensor) -> Tensor:
        """Return whole rows.

        Parameters
        ----------
        own : Tensor of shape (..., C)
            The columns of this process.

        Returns
        -------
        whole : Tensor of shape (..., D)
            Of all processes.
        """
        padded = own.detach()
        if self.n_own < self.most:
            padded = torch.nn.functional.pad(padded, (0, self.most - self.n_own))
        parts = self.group.gather(padded.contiguous())()
        whole = own.new_empty(*own.shape[:-1], self.n_features)
        for rank, part_of_rank in enumerate(parts):
            columns = self.of(rank)
            whole[..., columns] = part_of_rank[..., : columns.stop - columns.start]
        return whole

    def begin_scatter_sum(self, terms: Tensor) -> Callable[[], Tensor]:
        """Begin to add up whole rows, of which each process is left with its own columns.

        Parameters
        ----------
        terms : Tensor of shape (N, D)
            What this process has to add.

        Returns
        -------
        wait : callable
            Returns the columns, of shape (N, C), once they are there.
        """
        parts = terms.new_zeros(self.n_ranks, len(terms), self.most)
        for rank, part_of_rank in enumerate(parts):
            columns = self.of(rank)
            part_of_rank[:, : columns.stop - columns.start] = terms[:, columns]
        wait = self.group.scatter_sum(parts)
        return lambda: wait()[:, : self.n_own]
