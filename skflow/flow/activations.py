"""Fixed elementwise nonlinearities, invertible and smooth."""

from abc import abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skflow.flow.bijection import Bijection
from skflow.flow.root_finding import bracketed_newton

__all__ = ["Activation", "Bracket", "LeakyTanh", "SlopeTerms", "SmoothLeakyReLU"]


class SlopeTerms(NamedTuple):
    r"""What the backward pass needs of an activation :math:`\sigma`, elementwise."""

    slope: Tensor
    r""":math:`\sigma'`"""
    log_slope: Tensor
    r""":math:`\log \sigma'`"""
    log_slope_derivative: Tensor
    r""":math:`(\log \sigma')' = \sigma'' / \sigma'`"""


class Bracket(NamedTuple):
    """Where the inverse of an activation lies, and where to start looking for it."""

    lower: Tensor
    upper: Tensor
    start: Tensor


class Activation(Bijection):
    r"""An increasing function :math:`\sigma: \mathbb{R} \to \mathbb{R}`, elementwise.

    A subclass states the function and its derivatives in closed form, and a bracket for
    its inverse; nothing is left to automatic differentiation, so that a training step costs
    as few operations as it can. Cost: O(N·D) forward, and some five evaluations for the
    inverse.
    """

    @abstractmethod
    def value(self, x: Tensor) -> Tensor:
        r"""Return :math:`\sigma(x)`."""

    @abstractmethod
    def slope_terms(self, x: Tensor) -> SlopeTerms:
        r"""Return :math:`\sigma'`, :math:`\log\sigma'` and its derivative, without overflow."""

    @abstractmethod
    def bracket(self, y: Tensor) -> Bracket:
        r"""Return bounds for :math:`\sigma^{-1}(y)`, and a start from which Newton converges."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        return self.value(x), self.slope_terms(x).log_slope.sum(-1)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        bracket = self.bracket(y)
        x = bracketed_newton(
            lambda x: (self.value(x), self.slope_terms(x).slope), y, **bracket._asdict()
        )
        return x, -self.slope_terms(x).log_slope.sum(-1)


class SmoothLeakyReLU(Activation):
    r"""Smooth leaky ReLU, :math:`s_L(x) = \alpha x + (1 - \alpha) \log(1 + e^x)`.

    Its slope rises from `alpha` on the left to 1 on the right. Equation (34) of the appendix
    of Gresele et al. (2020).

    Parameters
    ----------
    alpha : float, default=0.3
        The slope far on the left, in (0, 1).

    Raises
    ------
    ValueError
        If `alpha` is not in (0, 1).

    Examples
    --------
    >>> import torch
    >>> from skflow import SmoothLeakyReLU
    >>> activation = SmoothLeakyReLU(alpha=0.3)
    >>> y, log_det = activation.forward_and_log_det(torch.tensor([[-10.0, 0.0, 10.0]]))
    >>> y
    tensor([[-3.0000,  0.4852, 10.0000]])
    >>> log_det
    tensor([-1.6346])
    """

    def __init__(self, alpha: float = 0.3) -> None:
        super().__init__()
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must be in (0, 1), got {alpha!r}.")
        self.alpha = alpha

    def value(self, x: Tensor) -> Tensor:  # noqa: D102
        # PyTorch's softplus is linear above its threshold, and 20, its default, shows in float64.
        return torch.lerp(F.softplus(x, threshold=40.0), x, self.alpha)

    def slope_terms(self, x: Tensor) -> SlopeTerms:  # noqa: D102
        gate = torch.sigmoid(x)
        bump = gate * (1 - self.alpha)
        slope = bump + self.alpha
        return SlopeTerms(slope, slope.log(), (1 - gate) * bump / slope)

    def bracket(self, y: Tensor) -> Bracket:  # noqa: D102
        # leaky(x) <= s_L(x) <= leaky(x) + (1 - alpha) log 2, and Newton on a convex function
        # comes down from the right without ever leaving the bracket.
        shifted = y - (1 - self.alpha) * 0.6931471805599454
        lower = torch.where(shifted > 0, shifted, shifted / self.alpha)
        upper = torch.where(y > 0, y, y / self.alpha)
        return Bracket(lower, upper, upper)

    def extra_repr(self) -> str:  # noqa: D102
        return f"alpha={self.alpha}"


class LeakyTanh(Activation):
    r"""Leaky hyperbolic tangent, :math:`s_T(x) = \tanh(\alpha x) + \beta x`.

    Steep near zero and linear far out. Equation (35) of the appendix of Gresele et al. (2020).

    Parameters
    ----------
    alpha : float, default=1.0
        The steepness of the hyperbolic tangent, positive.
    beta : float, default=0.1
        The slope far out, positive.

    Raises
    ------
    ValueError
        If `alpha` or `beta` is not positive.

    Examples
    --------
    >>> import torch
    >>> from skflow import LeakyTanh
    >>> activation = LeakyTanh()
    >>> activation(torch.tensor([[-10.0, 0.0, 10.0]]))
    tensor([[-2.,  0.,  2.]])
    """

    def __init__(self, alpha: float = 1.0, beta: float = 0.1) -> None:
        super().__init__()
        if not alpha > 0:
            raise ValueError(f"alpha must be positive, got {alpha!r}.")
        if not beta > 0:
            raise ValueError(f"beta must be positive, got {beta!r}.")
        self.alpha = alpha
        self.beta = beta

    def value(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.add(torch.tanh(self.alpha * x), x, alpha=self.beta)

    def slope_terms(self, x: Tensor) -> SlopeTerms:  # noqa: D102
        # sech² in terms of exp(-2|αx|) keeps its relative precision where tanh rounds to 1.
        decay = torch.exp(x.abs().mul(-2 * self.alpha))
        bump = (4 * self.alpha) * decay / (1 + decay).square()
        slope = bump + self.beta
        derivative = (-2 * self.alpha) * torch.tanh(self.alpha * x) * (bump / slope)
        return SlopeTerms(slope, slope.log(), derivative)

    def bracket(self, y: Tensor) -> Bracket:  # noqa: D102
        # For y > 0, tanh(αx) <= min(1, αx) bounds x from below and tanh >= 0 from above;
        # there s_T is concave, and Newton comes up from the left inside the bracket.
        size = y.abs()
        near = torch.maximum(size / (self.alpha + self.beta), (size - 1) / self.beta)
        far = size / self.beta
        sign = y.sign()
        lower = torch.where(y > 0, near, -far)
        upper = torch.where(y > 0, far, -near)
        return Bracket(lower, upper, sign * near)

    def extra_repr(self) -> str:  # noqa: D102
        return f"alpha={self.alpha}, beta={self.beta}"
