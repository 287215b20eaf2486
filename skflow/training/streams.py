"""Rows that memory has no room for: a sample of them, and windows that pass over all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from skflow.flow.bijection import Bijection
from skflow.training.rows import Rows
from skflow.training.sources import Source, read_ahead

__all__ = ["AnyRows", "StreamedRows", "UnreadRows"]

# The bytes of the rows that are shuffled together. Two windows are in memory, one that trains and
# one that is read.
_WINDOW_BYTES = 2**26


@dataclass(frozen=True)
class UnreadRows:
    """All rows of a source, before the first of them is read."""

    source: Source
    """Where the rows are read."""

    weights: Tensor | None = None
    """Of all rows of the source, of shape (N,), in float64. Rows without weight count for none."""

    groups: Tensor | None = None
    """Of all rows of the source, of shape (N,): whole numbers."""

    location: ClassVar[torch.device] = torch.device("cpu")

    def __len__(self) -> int:
        return self._n_rows

    @cached_property
    def _n_rows(self) -> int:
        weights = self.weights
        return self.source.offsets[-1] if weights is None else int((weights > 0).sum())


@dataclass(frozen=True)
class StreamedRows:
    """Rows of a source, which are read in windows of whole blocks in random order.

    A sample of them is in memory. All that looks at some rows, in whatever order, looks at it;
    training alone passes over all. Each row that is not held out is in one window of a pass.
    """

    unread: UnreadRows
    """All rows."""

    sample: Rows
    """Some of them in random order. Those that are held out come first."""

    positions: Tensor
    """Where the rows of the sample are in the source."""

    n_held_out: int
    """How many rows of the sample are held out."""

    ranges: tuple[Tensor, Tensor]
    """The least and the greatest entry of each column, of all rows."""

    sums: Tensor
    """The sum of each column, in float64: with the ranges, it tells these rows from others."""

    left_out: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    """Where the rows are that no window has, in their order."""

    transform: tuple[Any, ...] = ()
    """What the windows go through: the arguments of :meth:`Rows.behind`."""

    location: ClassVar[torch.device] = torch.device("cpu")
    first_column: ClassVar[int] = 0

    def __len__(self) -> int:
        return len(self.unread) - len(self.left_out)

    @property
    def n_features(self) -> int:
        """The number of columns."""
        return self.unread.source.n_features

    @property
    def mean_weight(self) -> float:
        """The mean of the weights, 1 if there are none."""
        weights = self.unread.weights
        if weights is None:
            return 1.0
        return float(weights.sum() - weights[self.left_out].sum()) / len(self)

    @property
    def traits(self) -> list[Tensor | None]:
        """What tells these rows from others: the sample, and what all of them come to."""
        return [self.sample.data, *self.ranges, self.sums]

    @property
    def attributes(self) -> list[Tensor | None]:
        """What else is known of each row: its weight and its group."""
        return [self.unread.weights, self.unread.groups, None]

    def column_ranges(self) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest entry of each column, of all rows."""
        return self.ranges

    def without_first(self, n_rows: int) -> StreamedRows:
        """Return all rows but the first ones of the sample, which no window has.

        Parameters
        ----------
        n_rows : int
            How many of them to leave out.
        """
        sample = self.sample.without_first(n_rows)
        return replace(self, sample=sample, left_out=self.positions[:n_rows].sort().values)

    def behind(
        self,
        front: Bijection,
        constant: Tensor,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> StreamedRows:
        """Return the rows as the flow behind its first bijection takes them.

        Constant columns are filled with other draws in each pass.

        Parameters
        ----------
        front : Bijection
            The first bijection.
        constant : Tensor of shape (C,)
            The columns that are constant.
        generator : torch.Generator
            As :meth:`Rows.behind` has it.
        dtype : torch.dtype
            The precision of what is taken.
        """
        transform = (front, constant, generator, dtype)
        return replace(self, sample=self.sample.behind(*transform), transform=transform)

    def windows(self, batch_size: int, generator: torch.Generator) -> Iterator[Rows]:
        """Yield all rows once, but for those that are left out, some in memory at a time.

        Blocks follow each other in random order, and as many rows as a window holds are together.
        Each window is read while the one before it is used.

        Parameters
        ----------
        batch_size : int
            All windows but the last have a multiple of so many rows.
        generator : torch.Generator
            Where the order of the blocks comes from.
        """
        source = self.unread.source
        n_blocks = len(source.offsets) - 1
        order = torch.randperm(n_blocks, generator=generator, device=generator.device).tolist()
        n_bytes = self.n_features * source.dtype.itemsize
        n_rows = max(1, _WINDOW_BYTES // n_bytes // batch_size) * batch_size
        for x, weights in read_ahead(self._cut(order, min(n_rows, len(self)))):
            rows = Rows(x, weights=weights)
            yield rows.behind(*self.transform) if self.transform else rows

    def _cut(self, order: list[int], n_rows: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the rows of some blocks and their weights, so many at a time."""
        shape = n_rows, self.n_features
        weights: list[Tensor] = []
        x, n_filled = torch.empty(shape, dtype=self.unread.source.dtype), 0
        for piece, its_weights in self._pieces(order):
            while len(piece):
                n_taken = min(n_rows - n_filled, len(piece))
                x[n_filled : n_filled + n_taken] = piece[:n_taken]
                n_filled += n_taken
                piece = piece[n_taken:]
                if its_weights is not None:
                    weights.append(its_weights[:n_taken])
                    its_weights = its_weights[n_taken:]
                if n_filled == n_rows:
                    yield x, torch.cat(weights) if weights else None
                    x, weights, n_filled = torch.empty(shape, dtype=x.dtype), [], 0
        if n_filled:
            yield x[:n_filled], torch.cat(weights) if weights else None

    def _pieces(self, order: list[int]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield what is kept of some blocks, and its weights."""
        source, all_weights = self.unread.source, self.unread.weights
        for block in order:
            start = source.offsets[block]
            for piece in source.read(block):
                stop = start + len(piece)
                weights = None if all_weights is None else all_weights[start:stop]
                first, last = torch.searchsorted(self.left_out, torch.tensor([start, stop]))
                is_out = torch.zeros(len(piece), dtype=torch.bool)
                is_out[self.left_out[first:last] - start] = True
                if weights is not None:
                    is_out |= weights == 0
                if is_out.any():
                    piece = piece[~is_out]
                    weights = None if weights is None else weights[~is_out]
                yield piece, weights
                start = stop


# Rows that are in memory, and others.
AnyRows = Rows | StreamedRows
