"""Standardisation as the first bijection of a flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from skflow.flow.bijection import Bijection
from skflow.flow.blocks import block_length

__all__ = ["Standardize", "column_ranges", "constant_columns", "values_repeat"]

# A column is constant up to rounding if its range is so many units in the last place.
_ULPS = 8


def column_ranges(x: Tensor, which: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the least and the greatest entry of each column.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows.
    which : Tensor of shape (M,) or None, default=None
        The indices of the rows to look at; by default, all.
    """
    low = high = x[0 if which is None else which[0]]
    for block, _ in _blocks(x, None, which):
        low, high = torch.minimum(low, block.amin(0)), torch.maximum(high, block.amax(0))
    return low, high


def constant_columns(low: Tensor, high: Tensor) -> Tensor:
    """Say which columns are constant up to rounding, by their least and greatest entries.

    Parameters
    ----------
    low, high : Tensor of shape (D,)
        In the precision of the data.

    Returns
    -------
    constant : Tensor of shape (D,), of bools
        True for a column that is constant.
    """
    size = torch.maximum(low.abs(), high.abs())
    # Halves, since a range may overflow.
    return high / 2 - low / 2 <= _ULPS / 2 * torch.finfo(low.dtype).eps * size


def values_repeat(x: Tensor) -> Tensor:
    """Say in which columns at most half of the values are distinct.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows.

    Returns
    -------
    repeat : Tensor of shape (D,), of bools
        True for a column whose values repeat.
    """
    n_distinct = 1 + (x.sort(0).values.diff(dim=0) != 0).sum(0)
    return n_distinct <= len(x) / 2


class Standardize(Bijection):
    r"""Elementwise :math:`y = (x - \text{shift}) / \text{scale}`, computed in float64.

    Its log-determinant, :math:`-\sum_i \log \text{scale}_i`, is what keeps the scores of a
    flow in the units of the data.

    Parameters
    ----------
    shift : Tensor of shape (D,)
        What is subtracted.
    scale : Tensor of shape (D,)
        Positive.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import Standardize
    >>> standardize = Standardize(torch.tensor([1.0, 2.0]), torch.tensor([10.0, 10.0]))
    >>> standardize.forward_and_log_det(torch.tensor([[11.0, -8.0]]))
    (tensor([[ 1., -1.]]), tensor([-4.6052]))
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.n_features = len(shift)
        self.register_buffer("shift", shift.double())
        self.register_buffer("scale", scale.double())

    @classmethod
    @torch.no_grad()
    def from_rows(
        cls,
        x: Tensor,
        weights: Tensor | None = None,
        which: Tensor | None = None,
        before: Callable[[Tensor], Tensor] | None = None,
    ) -> Standardize:
        """Take the means and the standard deviations of the columns.

        The scale of a constant column is 1.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        weights : Tensor of shape (N,) or None, default=None
            Of the rows.
        which : Tensor of shape (M,) or None, default=None
            The indices of the rows to look at; by default, all.
        before : callable or None, default=None
            What is done to rows first, elementwise. It does not decrease, and returns float64.

        Raises
        ------
        ValueError
            If a mean or a standard deviation overflows.
        """
        low, high = column_ranges(x, which)
        varies = ~constant_columns(low, high)
        low, high = low.double(), high.double()
        if before is None:
            before = Tensor.double
        else:
            low, high = before(torch.stack([low, high]))
        # In units of the spread no square over- or underflows; block by block, no copy is made.
        spread = torch.where(varies, high - low, 1)
        mean, variance = torch.zeros_like(low), torch.zeros_like(low)
        if weights is None:
            total: float = len(x if which is None else which)
        else:
            total = float((weights if which is None else weights[which]).sum())
        for block, some in _blocks(x, weights, which):
            mean += _sum((before(block) - low) / spread, some) / total
        for block, some in _blocks(x, weights, which):
            deviations = (before(block) - low) / spread - mean
            variance += _sum(deviations.square(), some) / total
        shift = low + mean * spread
        scale = torch.where(varies, variance.sqrt() * spread, 1)
        bad = ~(torch.isfinite(shift) & torch.isfinite(scale) & (scale > 0))
        if bad.any():
            raise ValueError(
                f"The columns {bad.nonzero().flatten().tolist()} of X have a mean or a standard "
                "deviation that float64 cannot hold. Change their units."
            )
        return cls(shift, scale)

    def arguments(self) -> dict[str, Any]:
        """Return the number of columns: what is subtracted and divided by are buffers."""
        return {"n_features": self.n_features}

    @classmethod
    def from_arguments(cls, **arguments: Any) -> Standardize:
        """Make one that changes nothing.

        Parameters
        ----------
        **arguments : dict
            With `n_features`.
        """
        n_features = arguments["n_features"]
        return cls(torch.zeros(n_features), torch.ones(n_features))

    @property
    def log_det(self) -> float:
        """The log-determinant, the same for all rows, in nats."""
        return float(self._log_det())

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        y = (x.double() - self.shift).div_(self.scale).to(x.dtype)
        return y, self._log_det().to(x.dtype).expand(x.shape[0])

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        x = (y.double() * self.scale + self.shift).to(y.dtype)
        return x, -self._log_det().to(y.dtype).expand(y.shape[0])

    def _log_det(self) -> Tensor:
        return -self.scale.log().sum()


def _blocks(
    x: Tensor, weights: Tensor | None, which: Tensor | None
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield some rows at a time, and their weights; views of `x`, unless rows are left out."""
    n_rows = block_length(x.shape[1])
    n_all = len(x if which is None else which)
    for start in range(0, n_all, n_rows):
        rows = slice(start, start + n_rows)
        some = rows if which is None else which[rows]
        yield x[some], None if weights is None else weights[some]


def _sum(values: Tensor, weights: Tensor | None) -> Tensor:
    return values.sum(0) if weights is None else weights @ values
