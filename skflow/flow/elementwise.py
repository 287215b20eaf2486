"""A learned monotone spline for each column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skflow.flow.bijection import Pullback, add_gradient
from skflow.flow.compilable import Compilable
from skflow.flow.operations import Operation
from skflow.flow.splines import (
    LEAST_SLOPE,
    UNIT_SLOPE,
    evaluate,
    evaluate_and_pullback,
    evaluate_inverse,
    table_and_pullback,
)
from skflow.flow.weighted import quantiles

__all__ = ["ElementwiseSpline"]

# A bin takes at least one of so many equal shares of a margin's box: margins may be piled up.
N_SHARES = 10_000
_LEAST_SHARE = 1 / N_SHARES

# An identity's box.
HALF_BOX = 4.0

_MOST_SORTED = 2**22

# How many numbers of the parameters' precision lie within a bin of a constant column.
_LEAST_STEPS = 4

# How many rows of a sample lie beyond either end of the box that is made for it.
_ROWS_BEYOND = 10


class ElementwiseSpline(Compilable):
    r"""A learned monotone spline for each column, with straight tails of learned slopes.

    Starts as the identity.

    Parameters
    ----------
    n_features : int
        The number D of columns.
    n_bins : int, default=16
        The number K of bins, a power of two.
    init : {"identity", "quantiles"}, default="identity"
        What :meth:`initialize` makes of it: the identity, or what maps each column of a sample
        to about a normal one.
    dtype : torch.dtype, default=torch.float32
        The precision of the parameters.

    Notes
    -----
    Cost: O(N·D·log K + D·K), forward, back and inverse.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import ElementwiseSpline
    >>> x = torch.linspace(0.01, 0.99, 99).log().neg().unsqueeze(1)  # exponential
    >>> spline = ElementwiseSpline(1, init="quantiles")
    >>> spline.initialize(x, torch.Generator())
    >>> z = spline(x)
    >>> bool(torch.allclose(spline.inverse(z), x, atol=1e-4))
    True
    """

    starts = ("quantiles", "identity")
    noun = "splines"
    low: Tensor
    size: Tensor

    def __init__(
        self,
        n_features: int,
        *,
        n_bins: int = 16,
        init: Literal["identity", "quantiles"] = "identity",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if n_bins < 2 or n_bins & (n_bins - 1):
            raise ValueError(f"n_bins must be a power of two and at least 2, got {n_bins!r}.")
        self.init = self.start_from = init
        self.n_features = n_features
        self.spacings = nn.Parameter(torch.zeros(2, n_features, n_bins, dtype=dtype))
        self.slopes = nn.Parameter(torch.zeros(n_features, n_bins + 1, dtype=dtype))
        self.register_buffer("low", torch.full((2, n_features, 1), -HALF_BOX, dtype=dtype))
        self.register_buffer("size", torch.full((2, n_features, 1), 2 * HALF_BOX, dtype=dtype))

    @property
    def can_be_neutral(self) -> bool:  # noqa: D102
        return True

    def start_neutral(self) -> None:  # noqa: D102
        self.start_from = "identity"

    def plain_forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        y, log_slope = self.map_entries(x)
        return y, log_slope.sum(-1)

    def plain_inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        x, log_slope = evaluate_inverse(self._table(y.dtype)[0], y)
        return x, log_slope.sum(-1)

    def plain_forward_and_pullback(  # noqa: D102
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]:
        table, table_pullback = self._table(self.slopes.dtype)
        y, log_slope, spline_pullback = evaluate_and_pullback(table, x.to(table.dtype))

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            grad_x, grad_table = spline_pullback(grad_y, grad_log_det.unsqueeze(-1))
            by_spacings, by_slopes = table_pullback(grad_table)
            add_gradient(self.spacings, by_spacings[0])
            add_gradient(self.slopes, by_slopes[0])
            return grad_x if input_gradient else None

        return y, log_slope.sum(-1), pullback

    @torch.no_grad()
    def initialize(
        self, x: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        """Become the identity, or map quantiles of `x` to those of the standard normal.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        generator : torch.Generator
            Not used.
        weights : Tensor of shape (N,) or None, default=None
            How many rows each row stands for; by default one.
        """
        if self.start_from == "identity":
            for parameter in self.parameters():
                parameter.zero_()
            self.low.fill_(-HALF_BOX)
            self.size.fill_(2 * HALF_BOX)
            return
        n_bins = self.n_bins
        # From the box's ends on, some rows lie on either side to tell the slope of the tail.
        count = len(x) if weights is None else float(weights.sum())
        end = float(torch.special.ndtri(torch.tensor(1 - _ROWS_BEYOND / count).clamp_min(0.8)))
        end = min(end, HALF_BOX)
        y = torch.linspace(-end, end, n_bins + 1, dtype=torch.float64, device=x.device)
        levels = torch.special.ndtr(y)
        # Some columns at a time: a sort takes several times the room of what it sorts.
        parts = x.split(max(1, _MOST_SORTED // len(x)), dim=1)
        knots = torch.cat([quantiles(part.double(), levels, weights) for part in parts], 1)
        knots = knots.mT.contiguous()
        # Bins of a constant column are as wide as the parameters' precision can tell apart.
        resolution = torch.finfo(self.slopes.dtype).eps * knots[:, :1].abs()
        least = (_LEAST_STEPS * n_bins * resolution).clamp_min(1e-6)
        size = torch.maximum(knots[:, -1:] - knots[:, :1], least)
        shares = (knots.diff(dim=-1) / size).clamp_min(2 * _LEAST_SHARE)
        shares /= shares.sum(-1, keepdim=True)
        free = (shares - _LEAST_SHARE).clamp_min(1e-6).log()
        self.spacings[0] = free - free.mean(-1, keepdim=True)
        self.spacings[1] = 0
        self.low[0], self.size[0] = knots[:, :1], size
        self.low[1], self.size[1] = -end, 2 * end
        mean_slopes = (2 * end / n_bins) / (shares * size)
        # At a knot, the harmonic mean of the bins' slopes on its sides.
        sides = F.pad(mean_slopes, (1, 1), mode="replicate")
        slopes = 2 / (1 / sides[:, 1:] + 1 / sides[:, :-1])
        free = (slopes - LEAST_SLOPE).clamp(1e-3, 1e4)
        raw = free + torch.log(-torch.expm1(-free))  # the inverse of softplus
        self.slopes.copy_(raw - UNIT_SLOPE)

    def map_entries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map `x`, and return the logarithm of the slope at each of its entries.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.

        Returns
        -------
        y, log_slopes : Tensor of shape (N, D)
            The sum of the latter over the columns is the log-determinant.
        """
        return evaluate(self._table(x.dtype)[0], x)

    @property
    def n_bins(self) -> int:
        """The number of bins."""
        return self.spacings.shape[-1]

    def extra_repr(self) -> str:  # noqa: D102
        n_features = len(self.slopes)
        return f"n_features={n_features}, n_bins={self.n_bins}, dtype={self.slopes.dtype}"

    def operation(self) -> Operation | None:  # noqa: D102
        if type(self) is not ElementwiseSpline:
            return None
        return Operation(
            len(self.slopes),
            n_bins=self.n_bins,
            spacings=self.spacings,
            slopes=self.slopes,
            low=self.low,
            size=self.size,
            n_shares=N_SHARES,
        )

    def _table(
        self, dtype: torch.dtype
    ) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
        return table_and_pullback(
            self.spacings.to(dtype).unsqueeze(0),
            self.slopes.to(dtype).unsqueeze(0),
            self.low.to(dtype),
            self.size.to(dtype),
            least_share=_LEAST_SHARE,
        )
