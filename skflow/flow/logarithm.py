"""A map that takes positive columns to about their logarithms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skflow.flow.arsinh import long_arsinh, long_sinh
from skflow.flow.bijection import Bijection

__all__ = ["SoftLogarithm"]

# From so many units on, it is a straight line.
LONGEST = 1e15


class SoftLogarithm(Bijection):
    r"""Elementwise :math:`y = \operatorname{arsinh}(x / s)` of some columns.

    Far above the unit `s` that is the logarithm of :math:`2 x / s`. Near zero it is linear, so
    that zero and negative values have an image as well. From 10¹⁵ units on it is linear again, so
    that the inverse does not overflow. A column whose unit is infinite stays as it is.

    Parameters
    ----------
    n_features : int
        The number D of columns.

    Attributes
    ----------
    units : Tensor of shape (D,)
        Positive, in float64. At first all are infinite.

    Notes
    -----
    Computed in float64. Cost: O(N·D).

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import SoftLogarithm
    >>> logarithm = SoftLogarithm(2)
    >>> logarithm.units[0] = 0.01
    >>> logarithm(torch.tensor([[100.0, 100.0], [0.0, 0.0]])).round(decimals=2)
    tensor([[  9.9000, 100.0000],
            [  0.0000,   0.0000]])
    """

    units: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.n_features = n_features
        self.register_buffer("units", torch.full((n_features,), torch.inf, dtype=torch.float64))

    def arguments(self) -> dict[str, Any]:  # noqa: D102
        return {"n_features": self.n_features}

    def map_entries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map `x`, and return the logarithm of the slope at each of its entries.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.

        Returns
        -------
        y, log_slopes : Tensor of shape (N, D)
            In float64. The sum of the latter over the columns is the log-determinant.
        """
        units, bent, exact = self._prepared(x)
        y, log_slopes = long_arsinh(exact / units, LONGEST)
        log_slopes = torch.where(bent, log_slopes - units.log(), 0.0)
        return torch.where(bent, y, exact), log_slopes

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        y, log_slopes = self.map_entries(x)
        return y.to(x.dtype), log_slopes.sum(-1).to(x.dtype)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        units, bent, exact = self._prepared(y)
        x, log_slopes = long_sinh(exact, LONGEST)
        log_slopes = torch.where(bent, log_slopes + units.log(), 0.0)
        x = torch.where(bent, x * units, exact)
        return x.to(y.dtype), log_slopes.sum(-1).to(y.dtype)

    def _prepared(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the units, with 1 for columns that stay, which do not, and exact rows."""
        bent = self.units.isfinite()
        return torch.where(bent, self.units, 1.0), bent, x.double().contiguous()
