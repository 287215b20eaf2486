"""Shuffled batches of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from skflow.flow.blocks import block_length
from skflow.training.rows import Rows

__all__ = ["Batch", "Batches", "Whole"]


class Whole(NamedTuple):
    """The batch that rows are a part of."""

    indices: Tensor
    """Which rows it has, in their order."""

    mass: float
    """Their mean weight."""


class Batch(NamedTuple):
    """Rows for a step, and their weights."""

    x: Tensor
    """Of shape (B, D)."""

    weights: Tensor | None = None
    """Of shape (B,), in float64, on the CPU."""

    log_det: Tensor | None = None
    """The log-determinants of what was done to the rows before, of shape (B,), in nats."""

    whole: Whole | None = None
    """What they are a part of, on one of several processes."""

    @property
    def n_rows(self) -> int:
        """The number of rows of the step, on all processes."""
        return len(self.x) if self.whole is None else len(self.whole.indices)

    @property
    def mass(self) -> float:
        """The mean weight of the rows of the step, on all processes."""
        if self.whole is not None:
            return self.whole.mass
        return 1.0 if self.weights is None else float(self.weights.mean())


class Batches:
    r"""Shuffled batches of equal size.

    Rows that do not fill a last batch wait for the next epoch: each epoch has its own order,
    so that all rows are seen equally often. Each batch is taken before the last one is used, so
    that a copy to a GPU runs while that computes.

    Noise keeps a flow from learning rows by heart. To each row is added, over :math:`\sqrt 2`,
    the difference of two others of its batch: that has the covariance of the data, so that no
    direction in which they hardly vary is blurred, and the flow's steps stay equivariant.

    Parameters
    ----------
    rows : Rows
        The rows.
    batch_size : int
        No more than N rows are ever in a batch.
    generator : torch.Generator
        Where the order comes from.
    noise : Tensor of shape (D,) or None, default=None
        The standard deviation of each column's noise, as a share of that of the data. Batches of
        one or two rows have none.
    every_row : bool, default=False
        Whether no row waits: all are spread evenly over batches of no more than that size.
    weight_unit : float, default=1.0
        What the rows' weights are divided by.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        generator: torch.Generator,
        *,
        noise: Tensor | None = None,
        every_row: bool = False,
        weight_unit: float = 1.0,
    ) -> None:
        self.rows = rows
        self.batch_size = min(batch_size, len(rows))
        self.generator = generator
        self.noise = None if noise is None or self.batch_size <= 2 else noise / math.sqrt(2)
        self.every_row = every_row
        self.weight_unit = weight_unit

    def __len__(self) -> int:
        n_whole, n_left = divmod(len(self.rows), self.batch_size)
        return n_whole + (self.every_row and n_left > 0)

    def __iter__(self) -> Iterator[Batch]:
        batches = self._shuffled()
        return batches if self.noise is None else map(self._noisy, batches)

    def _noisy(self, batch: Batch) -> Batch:
        assert self.noise is not None
        n_rows, generator = batch.n_rows, self.generator
        shift = int(torch.randint(1, n_rows - 1, (), generator=generator, device=generator.device))
        self._add_noise(batch, shift, self.noise)
        return batch

    def _add_noise(self, batch: Batch, shift: int, noise: Tensor) -> None:
        n_columns = block_length(len(batch.x))
        parts = zip(batch.x.split(n_columns, 1), noise.split(n_columns), strict=True)
        for part, part_noise in parts:
            difference = part.roll(shift, 0).sub_(part.roll(shift + 1, 0))
            part.addcmul_(difference, part_noise)

    def _shuffled(self) -> Iterator[Batch]:
        if self.batch_size == len(self.rows):
            yield self._take(torch.arange(len(self.rows)))
            return
        order = torch.randperm(
            len(self.rows), generator=self.generator, device=self.generator.device
        ).cpu()
        if not self.every_row:
            order = order[: len(self) * self.batch_size]
        chunks = iter(order.tensor_split(len(self)))
        batch = self._take(next(chunks))
        for chunk in chunks:
            upcoming = self._take(chunk)
            yield batch
            batch = upcoming
        yield batch

    def _take(self, indices: Tensor) -> Batch:
        weights = self._weights_of(indices)
        x, log_det = self.rows.take_with_log_det(indices)
        return Batch(x, weights, log_det)

    def _weights_of(self, indices: Tensor) -> Tensor | None:
        weights = self.rows.take_weights(indices)
        if weights is None and self.weight_unit != 1:
            weights = torch.ones(len(indices), dtype=torch.float64)
        if weights is not None:
            weights /= self.weight_unit
        return weights
