"""Batches of rows."""

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["Batches"]


class Batches:
    """Shuffled batches of equal size from the rows of a tensor.

    Rows that do not fill a last batch wait for the next epoch: each epoch has its own order,
    so that all rows are seen equally often.

    Parameters
    ----------
    rows : Tensor of shape (N, D)
    batch_size : int
        No more than N rows are ever in a batch.
    generator : torch.Generator
        Where the order comes from; on the device of the rows.
    """

    def __init__(self, rows: Tensor, batch_size: int, generator: torch.Generator) -> None:
        self.rows = rows
        self.batch_size = min(batch_size, len(rows))
        self.generator = generator

    def __len__(self) -> int:
        return len(self.rows) // self.batch_size

    def __iter__(self) -> Iterator[Tensor]:
        if len(self) == 1 and self.batch_size == len(self.rows):
            yield self.rows
            return
        order = torch.randperm(
            len(self.rows), generator=self.generator, device=self.generator.device
        )
        for chunk in order[: len(self) * self.batch_size].split(self.batch_size):
            yield self.rows[chunk]
