"""Rows of a data set, from the door of a fit to its batches."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor

from skflow.flow.bijection import Bijection
from skflow.flow.blocks import MATRIX_ROWS, block_length
from skflow.flow.standardize import column_ranges, values_repeat

__all__ = ["Rows", "noisy_columns"]

# What a processor's cache holds of rows that go through a flow.
_CACHED_ENTRIES = 2**15

# By how many rows it is judged whether a column's values repeat.
_ROWS_COMPARED = 1000

# Of a device's free memory, the share that the data may take.
_DEVICE_SHARE = 0.5


class Rows:
    """Rows of a data set, mapped by the first bijection of a flow as they are taken.

    The data stay where they are and as they are: no more than what is taken is ever copied. For
    a GPU, all of it is prepared there at once if it fits, and else what is taken goes through
    pinned memory, so that the copy runs while the device computes.

    Parameters
    ----------
    data : Tensor of shape (N, D)
        All rows, in the units of the user.
    front : Bijection or None, default=None
        Applied to what is taken, in float64, where the data are. It does not train.
    filling : (Tensor of shape (C,), Tensor of shape (N, C)) or None, default=None
        Indices of constant columns, and what is added to them behind `front`, where the data are.
    dtype : torch.dtype or None, default=None
        The precision of what is taken; by default, that of `data`.
    device : torch.device or str, default="cpu"
        Where it is taken to.
    which : Tensor of shape (M,) or None, default=None
        Which rows there are, by their index in `data`; by default, all in their order.
    weights : Tensor of shape (N,) or None, default=None
        Of all rows of `data`, in float64.
    groups : Tensor of shape (N,) or None, default=None
        Whole numbers: the group of each row of `data`.
    """

    def __init__(
        self,
        data: Tensor,
        *,
        front: Bijection | None = None,
        filling: tuple[Tensor, Tensor] | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        which: Tensor | None = None,
        weights: Tensor | None = None,
        groups: Tensor | None = None,
    ) -> None:
        self.data = data
        self.front = front
        self.filling = filling
        self.dtype = data.dtype if dtype is None else dtype
        self.device = torch.device(device)
        self.which = which
        self.weights = weights
        self.groups = groups
        self._resident: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.data if self.which is None else self.which)

    @property
    def n_features(self) -> int:
        """The number of columns that rows have as a whole."""
        return self.data.shape[1]

    @property
    def location(self) -> torch.device:
        """The device that the data are on."""
        return self.data.device

    @property
    def sample(self) -> Rows:
        """The rows that can be taken in any order, which are all here."""
        return self

    @property
    def traits(self) -> list[Tensor | None]:
        """What tells these rows from others."""
        return [self.data]

    @property
    def attributes(self) -> list[Tensor | None]:
        """What else is known of each row: its weight, its group, and which of them there are."""
        return [self.weights, self.groups, self.which]

    def column_ranges(self) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest entry of each column, in the data."""
        return column_ranges(self.data, self.which)

    @property
    def first_column(self) -> int:
        """Which of these is the first column of `data`."""
        return 0

    def subset(self, which: slice) -> Rows:
        """Return some of the rows.

        Parameters
        ----------
        which : slice
            The rows to keep.
        """
        order = torch.arange(len(self.data)) if self.which is None else self.which
        return self._changed(which=order[which])

    def without_first(self, n_rows: int) -> Rows:
        """Return all rows but the first ones.

        Parameters
        ----------
        n_rows : int
            How many of them to leave out.
        """
        return self.subset(slice(n_rows, None))

    def shuffled(self, n_at_once: int, generator: torch.Generator) -> Rows:
        """Return the rows in random order.

        If they would fit in one batch of `n_at_once` when each is repeated as its weight says, so
        many are shuffled: what is drawn next is what it would be with the rows repeated.

        Parameters
        ----------
        n_at_once : int
            The number of rows in a batch.
        generator : torch.Generator
            Where the order comes from.
        """
        n_drawn = len(self)
        if self.weights is not None:
            n_repeated = round(float(self.weights.sum()))
            if n_drawn < n_repeated <= n_at_once:
                n_drawn = n_repeated
        order = torch.randperm(n_drawn, generator=generator, device=generator.device).cpu()
        if n_drawn > len(self):
            order = order[order < len(self)]
        return self.reordered(order)

    def reordered(self, order: Tensor) -> Rows:
        """Return the rows in another order.

        Parameters
        ----------
        order : Tensor of shape (M,)
            Their positions.
        """
        return self._changed(which=order if self.which is None else self.which[order])

    def behind(
        self,
        front: Bijection,
        constant: Tensor,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> Rows:
        """Return the rows as the flow behind its first bijection takes them.

        Parameters
        ----------
        front : Bijection
            The first bijection, which is copied.
        constant : Tensor of shape (C,)
            The columns that are constant, which are filled with draws of unit variance.
        generator : torch.Generator
            Where the draws come from. The rows are taken to its device.
        dtype : torch.dtype
            The precision of what is taken.
        """
        filling = self._filling(constant, generator) if len(constant) else None
        front = deepcopy(front).to(self.data.device)
        rows = self._changed(front=front, filling=filling, dtype=dtype, device=generator.device)
        rows._move_if_it_fits()
        return rows

    def take(self, indices: Tensor) -> Tensor:
        """Return the rows with these indices, of shape (len(indices), D), on the device.

        Parameters
        ----------
        indices : Tensor of shape (B,)
            The positions of the rows.
        """
        return self.take_with_log_det(indices)[0]

    def take_with_log_det(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows, and the log-determinants of `front` at them.

        Parameters
        ----------
        indices : Tensor of shape (B,)
            The positions of the rows.

        Returns
        -------
        x : Tensor of shape (B, D)
            On the device.
        log_det : Tensor of shape (B,)
            In nats, float64, on the device; zeros without `front`.
        """
        chosen = indices if self.which is None else self.which[indices]
        if self._resident is not None:
            chosen = chosen.to(self.device)
            return self._resident[0][chosen], self._resident[1][chosen]
        n_rows = self._block_length()
        if len(chosen) <= n_rows:
            x, log_det = self._prepare(chosen)
        else:
            x = self.data.new_empty((len(chosen), self.data.shape[1]), dtype=self.dtype)
            log_det = self.data.new_empty(len(chosen), dtype=torch.float64)
            for start in range(0, len(chosen), n_rows):
                part = slice(start, start + n_rows)
                x[part], log_det[part] = self._prepare(chosen[part])
        if self.device.type == "cuda" and not x.is_cuda:
            pinned = x.pin_memory(), log_det.contiguous().pin_memory()
            x, log_det = (part.to(self.device, non_blocking=True) for part in pinned)
        return x.to(self.device), log_det.to(self.device)

    def take_weights(self, indices: Tensor | None = None) -> Tensor | None:
        """Return the weights of the rows with these indices, or of all, on the CPU, if any.

        Parameters
        ----------
        indices : Tensor of shape (B,)
            The positions of the rows.
        """
        if self.weights is None:
            return None
        if self.which is None:
            return self.weights if indices is None else self.weights[indices]
        return self.weights[self.which if indices is None else self.which[indices]]

    def take_groups(self, indices: Tensor | None = None) -> Tensor | None:
        """Return the groups of the rows with these indices, or of all, if there are groups.

        Parameters
        ----------
        indices : Tensor of shape (B,)
            The positions of the rows.
        """
        if self.groups is None:
            return None
        which = indices if self.which is None else self.which
        if self.which is not None and indices is not None:
            which = self.which[indices]
        return self.groups if which is None else self.groups[which]

    @property
    def mean_weight(self) -> float:
        """The mean of the weights, 1 if there are none."""
        weights = self.take_weights()
        return 1.0 if weights is None else float(weights.mean())

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all rows with their log-determinants, in blocks that a processor's cache holds."""
        n_rows = max(MATRIX_ROWS, _CACHED_ENTRIES // self.n_features)
        for indices in torch.arange(len(self)).split(n_rows):
            yield self.take_with_log_det(indices)

    def move(self) -> None:
        """Prepare all of the data on the device."""
        x = torch.empty(self.data.shape, dtype=self.dtype, device=self.device)
        log_det = torch.empty(len(self.data), dtype=torch.float64, device=self.device)
        for start in range(0, len(self.data), self._block_length()):
            part = slice(start, start + self._block_length())
            some, term = self._prepare(torch.arange(len(self.data))[part])
            x[part], log_det[part] = some.to(self.device), term.to(self.device)
        self._resident = x, log_det

    def _move_if_it_fits(self) -> None:
        """Prepare all of the data on the device, if that is a GPU with room for it."""
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            if self.data.numel() * self.dtype.itemsize <= _DEVICE_SHARE * free:
                self.move()

    def _changed(self, **changes: object) -> Rows:
        changed = type(self).__new__(type(self))
        changed.__dict__ = self.__dict__ | changes
        return changed

    def _filling(self, constant: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        shape = (len(self), len(constant))
        draws = torch.randn(shape, generator=generator, device=generator.device)
        draws = draws.to(self.data.device)
        if len(self) == len(self.data):
            return constant, draws
        assert self.which is not None
        of_all = draws.new_zeros(len(self.data), len(constant))
        return constant, of_all.index_copy_(0, self.which.sort().values, draws)

    def _block_length(self) -> int:
        return block_length(self.n_features)

    def _prepare(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        x = self.data[indices]
        log_det = x.new_zeros((), dtype=torch.float64).expand(len(x))
        if self.front is not None:
            x, log_det = self.front.forward_and_log_det(x.double())
        if self.filling is not None:
            columns, draws = self.filling
            x[:, columns] += draws[indices].to(x.dtype)
        return x.to(self.dtype), log_det


def noisy_columns(rows: Rows) -> Tensor:
    """Return which columns bear noise.

    Parameters
    ----------
    rows : Rows
        In random order: the first of them are looked at.

    Returns
    -------
    noisy : Tensor of shape (D,)
        In the precision of the rows. It is 1, or 0 in columns of which at most half of the values
        are distinct: noise would wash out that they repeat.
    """
    x = rows.take(torch.arange(min(len(rows), _ROWS_COMPARED)))
    return (~values_repeat(x)).to(x.dtype)
