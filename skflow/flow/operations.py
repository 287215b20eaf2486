"""What compiled kernels do: operations on rows, and the tensors that they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Operation"]


@dataclass(frozen=True)
class Operation:
    """What a compiled kernel does: a dense layer, or maps of M columns, one by one.

    Columns are mapped by an affine map, if there is one, and then by a spline, if there is one.
    The numbers that these are made of are in `spacings` and `slopes`, or a conditioner says them
    for each row: M raw log-scales and M shifts, then spacings and slopes.
    """

    n_columns: int
    """The number M of columns that are mapped; all of them by a dense layer."""

    n_given: int = 0
    """How many columns stand before them, stay what they are and are what a conditioner sees."""

    weight: Tensor | None = None
    """Of a dense layer, of shape (M, M)."""

    bias: Tensor | None = None
    """Of a dense layer, of shape (M,)."""

    conditioner: tuple[Tensor, ...] = ()
    """The weights of its three layers, each of shape (outputs, inputs) and with its bias next."""

    has_affine: bool = False
    """Whether there is an affine map."""

    n_bins: int = 0
    """The number K of bins of a spline, 0 where there is none."""

    spacings: Tensor | None = None
    """Of shape (2, M, K), if all rows go through the same splines."""

    slopes: Tensor | None = None
    """Of shape (M, K + 1), likewise. Splines of a conditioner have slopes of 1 at their ends."""

    low: Tensor | None = None
    """Of 2 M entries: the lower ends of the box that the knots lie in, on both sides."""

    size: Tensor | None = None
    """Of 2 M entries: its sizes."""

    n_shares: int = 1
    """A bin takes at least one of so many equal shares of the box."""

    @property
    def trained(self) -> tuple[Tensor, ...]:
        """What has a gradient: all parameters but those of a dense layer."""
        if self.spacings is None or self.slopes is None:
            return self.conditioner
        return self.spacings, self.slopes

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors that the kernels read."""
        others = (self.weight, self.bias, self.low, self.size)
        return *self.trained, *(tensor for tensor in others if tensor is not None)

    @property
    def n_hidden(self) -> int:
        """The width of the conditioner, 0 where there is none."""
        return len(self.conditioner[1]) if self.conditioner else 0

    @property
    def n_outputs(self) -> int:
        """How many numbers it says for a row."""
        return len(self.conditioner[-1]) if self.conditioner else 0

    def to(self, dtype: torch.dtype) -> Operation:
        """Return the operation in another precision, with contiguous tensors.

        Parameters
        ----------
        dtype : torch.dtype
            The precision.
        """
        if all(t.dtype == dtype and t.is_contiguous() for t in self.tensors):
            return self
        cast: dict[str, Any] = {name: _cast(part, dtype) for name, part in vars(self).items()}
        return Operation(**cast)


def _cast(value: object, dtype: torch.dtype) -> object:
    if isinstance(value, Tensor):
        return value.detach().to(dtype).contiguous()
    if isinstance(value, tuple):
        return tuple(_cast(entry, dtype) for entry in value)
    return value
