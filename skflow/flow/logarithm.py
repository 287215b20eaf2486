"""A map that takes positive columns to about their logarithms."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from skflow.flow.bijection import Bijection

__all__ = ["SoftLogarithm"]


class SoftLogarithm(Bijection):
    r"""Elementwise :math:`y = \operatorname{arsinh}(x / s)` of some columns.

    Far above the unit `s` that is the logarithm of :math:`2 x / s`. Near zero it is linear, so
    that zero and negative values have an image as well. A column whose unit is infinite stays as
    it is.

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

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        units, bent = self._units()
        exact = x.double()
        ratio = exact / units
        y = torch.where(bent, torch.asinh(ratio), exact)
        slopes = torch.where(bent, -torch.hypot(ratio, torch.ones_like(ratio)).log(), 0.0)
        log_det = (slopes - units.log()).sum(-1)
        return y.to(x.dtype), log_det.to(x.dtype)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        units, bent = self._units()
        exact = y.double()
        x = torch.where(bent, torch.sinh(torch.where(bent, exact, 0.0)) * units, exact)
        size = torch.where(bent, exact.abs(), 0.0)
        # log cosh, which does not overflow.
        log_cosh = size + torch.log1p(torch.exp(-2 * size)) - math.log(2)
        return x.to(y.dtype), (log_cosh + units.log()).sum(-1).to(y.dtype)

    def _units(self) -> tuple[Tensor, Tensor]:
        """Return the units, with 1 for columns that stay, and which columns do not."""
        bent = self.units.isfinite()
        return torch.where(bent, self.units, 1.0), bent
