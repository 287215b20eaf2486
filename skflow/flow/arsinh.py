"""The inverse hyperbolic sine, which goes on as a straight line far out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["long_arsinh", "long_sinh"]


def long_arsinh(x: Tensor, longest: float) -> tuple[Tensor, Tensor]:
    r"""Return :math:`\operatorname{arsinh}(x)` and the logarithm of its slope.

    Parameters
    ----------
    x : Tensor
        In float64.
    longest : float
        From this size of `x` on, the function is the straight line that touches it there.

    Returns
    -------
    y, log_slope : Tensor of the shape of `x`
        The inverse of `y` does not overflow as soon as that of the hyperbolic sine.
    """
    size = x.abs().clamp_max(longest)
    square = size.square()
    y = torch.asinh(size) + (x.abs() - size) * torch.rsqrt(1 + square)
    return torch.copysign(y, x), -0.5 * torch.log1p(square)


def long_sinh(y: Tensor, longest: float) -> tuple[Tensor, Tensor]:
    """Return the inverse of :func:`long_arsinh`, and the logarithm of its slope.

    Parameters
    ----------
    y : Tensor
        In float64.
    longest : float
        As there.
    """
    size = y.abs().clamp_max(math.asinh(longest))
    slope = torch.cosh(size)
    x = torch.sinh(size) + (y.abs() - size) * slope
    return torch.copysign(x, y), slope.log()
