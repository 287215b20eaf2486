"""The part of each batch that one of several processes takes."""

from __future__ import annotations

import torch
from torch import Tensor

from skflow.training.batches import Batch, Batches, Whole

__all__ = ["PartsOfBatches", "part"]


def part(n_rows: int, rank: int, n_ranks: int) -> slice:
    """Return which of some rows one of several processes takes: next to one another, and as many.

    Parameters
    ----------
    n_rows : int
        The number of rows. The first processes have one more where they cannot have the same.
    rank : int
        The number of the process.
    n_ranks : int
        The number of processes. Of fewer rows, each takes all.
    """
    if n_rows < n_ranks:
        return slice(0, n_rows)
    n_each, n_left = divmod(n_rows, n_ranks)
    start = rank * n_each + min(rank, n_left)
    return slice(start, start + n_each + (rank < n_left))


class PartsOfBatches(Batches):
    """The part of each batch that is this process's, with the noise that it has in the whole.

    The weights of a part are such that losses, gradients and masses of all parts add up to those
    of the batch. No other rows are read but those whose differences are the noise.

    Parameters
    ----------
    batches : Batches
        Those of all processes.
    rank : int
        The number of the process.
    n_ranks : int
        The number of processes.

    Raises
    ------
    ValueError
        If there are more processes than rows in a batch.
    """

    def __init__(self, batches: Batches, rank: int, n_ranks: int) -> None:
        self.__dict__.update(batches.__dict__)
        self.rank, self.n_ranks = rank, n_ranks
        if self.batch_size < n_ranks:
            raise ValueError(
                f"A batch of {self.batch_size} row(s) cannot be divided among {n_ranks} "
                f"processes. Set batch_size={n_ranks} or more, pass as many rows, or start fewer "
                "processes."
            )

    def _take(self, indices: Tensor) -> Batch:
        n_rows = len(indices)
        mine = part(n_rows, self.rank, self.n_ranks)
        weights = self._weights_of(indices)
        mass = 1.0 if weights is None else float(weights.mean())
        x, log_det = self.rows.take_with_log_det(indices[mine])
        ones = torch.ones(len(x), dtype=torch.float64)
        own = (ones if weights is None else weights[mine]) * (len(x) / n_rows)
        return Batch(x, own, log_det, Whole(indices, mass))

    def _add_noise(self, batch: Batch, shift: int, noise: Tensor) -> None:
        assert batch.whole is not None
        indices = batch.whole.indices
        mine = part(len(indices), self.rank, self.n_ranks)
        positions = torch.arange(mine.start - shift - 1, mine.stop - shift) % len(indices)
        others = self.rows.take(indices[positions])
        batch.x.addcmul_(others[1:] - others[:-1], noise)
