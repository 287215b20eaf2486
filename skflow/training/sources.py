"""Rows that stay where they are until they are read, and reading ahead of who takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import torch
from torch import Tensor

__all__ = ["Source", "in_order", "read_ahead"]

T = TypeVar("T")


class Source(Protocol):
    """Rows in blocks, each of which is read as a whole: what is in one lies close together."""

    @property
    def offsets(self) -> Sequence[int]:
        """The first row of each block, and then the number of all rows."""

    @property
    def n_features(self) -> int:
        """The number of columns."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision of what is read."""

    def read(self, block: int) -> Iterator[Tensor]:
        """Yield the rows of a block in order, some at a time.

        Parameters
        ----------
        block : int
            Its number.

        Yields
        ------
        piece : Tensor of shape (B, D)
            Finite, on the CPU. It is only looked at, and may be where the data are.
        """


def in_order(source: Source) -> Iterator[tuple[int, Tensor]]:
    """Yield all rows from the first to the last, some at a time.

    Parameters
    ----------
    source : Source
        The rows.

    Yields
    ------
    start : int
        The position of the first row of the piece.
    piece : Tensor of shape (B, D)
        The rows.
    """
    start = 0
    for block in range(len(source.offsets) - 1):
        for piece in source.read(block):
            yield start, piece
            start += len(piece)


def read_ahead(items: Iterable[T], *, n_ahead: int = 1) -> Iterator[T]:
    """Yield items, of which the next ones are made in a thread while the last one is used.

    Parameters
    ----------
    items : iterable
        It is gone through in the thread alone. What it raises is raised where its item was due.
    n_ahead : int, default=1
        How many items are made before they are due, and are in memory.

    Yields
    ------
    item : object
        The items, in their order.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="skflow-reader") as reader:
        upcoming = deque(reader.submit(next, iterator, None) for _ in range(n_ahead))
        while (item := upcoming.popleft().result()) is not None:
            upcoming.append(reader.submit(next, iterator, None))
            yield item
