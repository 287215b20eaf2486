"""Rows of a data set, prepared a few at a time, and shuffled batches of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from skflow.flow.standardize import Standardize, values_repeat

__all__ = ["Batch", "Batches", "Rows", "noise_scales"]

# How much is prepared at a time where all rows are wanted one after the other.
_BLOCK_ENTRIES = 2**16

# What a processor's cache holds of rows that go through a flow; of fewer rows than these, matrix
# products are slow.
_CACHED_ENTRIES = 2**15
_LEAST_BLOCK_ROWS = 256

# By how many rows it is judged whether a column's values repeat.
_ROWS_COMPARED = 1000

# Of a device's free memory, the share that the data may take.
_DEVICE_SHARE = 0.5


class Rows:
    """Rows of a data set, standardised as they are taken.

    The data stay where they are and as they are: no more than what is taken is ever copied. For
    a GPU, all of it is prepared there at once if it fits, and else what is taken goes through
    pinned memory, so that the copy runs while the device computes.

    Parameters
    ----------
    data : Tensor of shape (N, D)
        All rows, in the units of the user.
    standardize : Standardize or None, default=None
        Applied to what is taken, in float64, where the data are.
    noise : (Tensor of shape (C,), Tensor of shape (N, C)) or None, default=None
        Indices of columns, and what is added to them, where the data are.
    dtype : torch.dtype or None, default=None
        The precision of what is taken; by default, that of `data`.
    device : torch.device or str, default="cpu"
        Where it is taken to.
    order : Tensor of shape (M,) or None, default=None
        Which rows there are, by their index in `data`; by default, all in their order.
    weights : Tensor of shape (N,) or None, default=None
        Of all rows of `data`, in float64.
    """

    def __init__(
        self,
        data: Tensor,
        *,
        standardize: Standardize | None = None,
        noise: tuple[Tensor, Tensor] | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        order: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        self.data = data
        self.standardize = standardize
        self.noise = noise
        self.dtype = data.dtype if dtype is None else dtype
        self.device = torch.device(device)
        self.order = torch.arange(len(data)) if order is None else order
        self.weights = weights
        self.resident: Tensor | None = None

    def __len__(self) -> int:
        return len(self.order)

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and of columns."""
        return len(self.order), self.data.shape[1]

    def subset(self, which: slice) -> Rows:
        """Return some of the rows.

        Parameters
        ----------
        which : slice
            The rows to keep.
        """
        subset = Rows(
            self.data,
            standardize=self.standardize,
            noise=self.noise,
            dtype=self.dtype,
            device=self.device,
            order=self.order[which],
            weights=self.weights,
        )
        subset.resident = self.resident
        return subset

    def take(self, indices: Tensor) -> Tensor:
        """Return the rows with these indices, of shape (len(indices), D), on the device.

        Parameters
        ----------
        indices : Tensor of shape (B,)
            The positions of the rows.
        """
        chosen = self.order[indices]
        if self.resident is not None:
            return self.resident[chosen.to(self.device)]
        n_rows = self._block_length()
        if len(chosen) <= n_rows:
            x = self._prepare(chosen)
        else:
            x = self.data.new_empty((len(chosen), self.data.shape[1]), dtype=self.dtype)
            for part, some in zip(x.split(n_rows), chosen.split(n_rows), strict=True):
                part.copy_(self._prepare(some))
        if self.device.type == "cuda" and not x.is_cuda:
            return x.pin_memory().to(self.device, non_blocking=True)
        return x.to(self.device)

    def take_weights(self, indices: Tensor | None = None) -> Tensor | None:
        """Return the weights of the rows with these indices, or of all, on the CPU, if any.

        Parameters
        ----------
        indices : Tensor of shape (B,)
            The positions of the rows.
        """
        if self.weights is None:
            return None
        return self.weights[self.order if indices is None else self.order[indices]]

    @property
    def mean_weight(self) -> float:
        """The mean of the weights, 1 if there are none."""
        weights = self.take_weights()
        return 1.0 if weights is None else float(weights.mean())

    def blocks(self) -> Iterator[Tensor]:
        """Yield all rows in their order, in blocks that a processor's cache holds."""
        n_rows = max(_LEAST_BLOCK_ROWS, _CACHED_ENTRIES // self.data.shape[1])
        for indices in torch.arange(len(self)).split(n_rows):
            yield self.take(indices)

    def move_if_it_fits(self) -> None:
        """Prepare all of the data on the device, if that is a GPU with room for it."""
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            if self.data.numel() * self.dtype.itemsize <= _DEVICE_SHARE * free:
                self.move()

    def move(self) -> None:
        """Prepare all of the data on the device."""
        resident = torch.empty(self.data.shape, dtype=self.dtype, device=self.device)
        for indices in torch.arange(len(self.data)).split(self._block_length()):
            resident[indices[0] : indices[-1] + 1] = self._prepare(indices).to(self.device)
        self.resident = resident

    def _block_length(self) -> int:
        return max(1, _BLOCK_ENTRIES // self.data.shape[1])

    def _prepare(self, indices: Tensor) -> Tensor:
        x = self.data[indices]
        if self.standardize is not None:
            x = self.standardize(x.double())
        if self.noise is not None:
            columns, noise = self.noise
            x[:, columns] += noise[indices].to(x.dtype)
        return x.to(self.dtype)


def noise_scales(rows: Rows, share: float) -> Tensor | None:
    """Return how much noise each column bears.

    Parameters
    ----------
    rows : Rows
        In random order: the first of them are looked at.
    share : float
        The standard deviation of the noise, as a share of that of the data.

    Returns
    -------
    scales : Tensor of shape (D,) or None
        None if there is no noise at all. It is zero in columns of which at most half of the values
        are distinct: noise would wash out that they repeat.
    """
    if share == 0:
        return None
    x = rows.take(torch.arange(min(len(rows), _ROWS_COMPARED)))
    return share * (~values_repeat(x)).to(x.dtype)


class Batch(NamedTuple):
    """Rows for a step, and their weights."""

    x: Tensor
    """Of shape (B, D)."""

    weights: Tensor | None = None
    """Of shape (B,), in float64, on the CPU."""

    @property
    def mass(self) -> float:
        """The mean weight."""
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
        x = batch.x
        shift = int(
            torch.randint(
                1, len(x) - 1, (), generator=self.generator, device=self.generator.device
            )
        )
        n_columns = max(1, _BLOCK_ENTRIES // len(x))
        for part, noise in zip(x.split(n_columns, 1), self.noise.split(n_columns), strict=True):
            difference = part.roll(shift, 0).sub_(part.roll(shift + 1, 0))
            part.addcmul_(difference, noise)
        return batch

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
        weights = self.rows.take_weights(indices)
        if weights is None and self.weight_unit != 1:
            weights = torch.ones(len(indices), dtype=torch.float64)
        if weights is not None:
            weights /= self.weight_unit
        return Batch(self.rows.take(indices), weights)
