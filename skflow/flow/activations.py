"""Fixed elementwise nonlinearities, invertible and smooth."""

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from skflow.flow.bijection import Bijection
from skflow.flow.parametrized import Parametrized
from skflow.flow.root_finding import bracketed_newton

__all__ = ["Activation", "LeakyTanh", "SmoothLeakyReLU"]


class Activation(Parametrized, Bijection):
    r"""An increasing function :math:`\sigma: \mathbb{R} \to \mathbb{R}`, elementwise.

    A subclass states a bounded function :math:`s`, and the function and its derivatives in
    terms of it, and a bracket for the inverse: :math:`s` is the one costly operation, and is
    done once for all of them. Nothing is left to automatic differentiation, so that a training
    step costs as few operations as it can. Cost: O(N·D) forward, and some two or three
    evaluations for the inverse.
    """

    @abstractmethod
    def squash(self, x: Tensor, *, out: Tensor | None = None) -> Tensor:
        r"""Return :math:`s(x)`, in `out` if there is one.

        Parameters
        ----------
        x : Tensor
            Values of any shape.
        out : Tensor or None, default=None
            Where the result is put; by default, in a new tensor.
        """

    @abstractmethod
    def value(self, x: Tensor, squashed: Tensor, *, out: Tensor | None = None) -> Tensor:
        r"""Return :math:`\sigma(x)`, where `squashed` is :math:`s(x)`.

        Parameters
        ----------
        x : Tensor
            Values of any shape.
        squashed : Tensor
            What :meth:`squash` returned.
        out : Tensor or None, default=None
            Where the result is put; by default, in a new tensor.
        """

    @abstractmethod
    def slope(self, squashed: Tensor, *, out: Tensor | None = None) -> Tensor:
        r"""Return :math:`\sigma'(x)`, positive, where `squashed` is :math:`s(x)`.

        Parameters
        ----------
        squashed : Tensor
            What :meth:`squash` returned.
        out : Tensor or None, default=None
            Where the result is put; by default, in a new tensor.
        """

    @abstractmethod
    def log_slope_derivative(
        self, squashed: Tensor, slope: Tensor, *, out: Tensor | None = None
    ) -> Tensor:
        r"""Return :math:`(\log \sigma')'(x)`, where `slope` is :math:`\sigma'(x)`.

        `out` may be `squashed`.

        Parameters
        ----------
        squashed : Tensor
            What :meth:`squash` returned.
        slope : Tensor
            What :meth:`slope` returned.
        out : Tensor or None, default=None
            Where the result is put; by default, in a new tensor.
        """

    @abstractmethod
    def start(self, y: Tensor) -> Tensor:
        r"""Return a guess of :math:`\sigma^{-1}(y)`, from which Halley's iteration converges.

        Parameters
        ----------
        y : Tensor
            Values of any shape.
        """

    @abstractmethod
    def bracket(self, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return bounds for :math:`\sigma^{-1}(y)`, the lower and the upper.

        Parameters
        ----------
        y : Tensor
            Values of any shape.
        """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.value(x, self.squash(x))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        squashed = self.squash(x)
        return self.value(x, squashed), self.slope(squashed).log().sum(-1)

    def inverse(self, y: Tensor) -> Tensor:  # noqa: D102
        def value_and_derivatives(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            squashed = self.squash(x)
            value, slope = self.value(x, squashed), self.slope(squashed)
            return value, slope, self.log_slope_derivative(squashed, slope, out=squashed)

        return bracketed_newton(value_and_derivatives, y, start=self.start, bracket=self.bracket)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        x = self.inverse(y)
        return x, -self.slope(self.squash(x)).log().sum(-1)


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

    def squash(self, x: Tensor, *, out: Tensor | None = None) -> Tensor:  # noqa: D102
        return torch.sigmoid(x, out=out)

    def value(  # noqa: D102
        self, x: Tensor, squashed: Tensor, *, out: Tensor | None = None
    ) -> Tensor:
        # PyTorch's softplus is linear above its threshold, and 20, its default, shows in float64.
        return torch.lerp(F.softplus(x, threshold=40.0), x, self.alpha, out=out)

    def slope(self, squashed: Tensor, *, out: Tensor | None = None) -> Tensor:  # noqa: D102
        return torch.mul(squashed, 1 - self.alpha, out=out).add_(self.alpha)

    def log_slope_derivative(  # noqa: D102
        self, squashed: Tensor, slope: Tensor, *, out: Tensor | None = None
    ) -> Tensor:
        gap = torch.addcmul(squashed, squashed, squashed, value=-1, out=out)
        return gap.div_(slope).mul_(1 - self.alpha)

    def start(self, y: Tensor) -> Tensor:  # noqa: D102
        # A hyperbola with the same asymptotes and the same value at zero,
        # y = p x + q √(x² + (2 log 2)²), has an inverse of the same form.
        p, q = (1 + self.alpha) / 2, (1 - self.alpha) / 2
        root = torch.mul(y, y).add_(4 * math.log(2) ** 2 * self.alpha).sqrt_()
        return root.mul_(-q / self.alpha).add_(y, alpha=p / self.alpha)

    def bracket(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        # leaky(x) <= s_L(x) <= leaky(x) + (1 - alpha) log 2
        return self._leaky_inverse(y - (1 - self.alpha) * math.log(2)), self._leaky_inverse(y)

    def _leaky_inverse(self, y: Tensor) -> Tensor:
        return y.clamp_min(0) + y.clamp_max(0) / self.alpha

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
        self._corner = _corner(beta / alpha) / alpha

    def squash(self, x: Tensor, *, out: Tensor | None = None) -> Tensor:  # noqa: D102
        return torch.tanh(x if self.alpha == 1 else self.alpha * x, out=out)

    def value(  # noqa: D102
        self, x: Tensor, squashed: Tensor, *, out: Tensor | None = None
    ) -> Tensor:
        return torch.add(squashed, x, alpha=self.beta, out=out)

    def slope(self, squashed: Tensor, *, out: Tensor | None = None) -> Tensor:  # noqa: D102
        # Where tanh rounds to 1, what is lost is small against beta.
        square = torch.mul(squashed, squashed, out=out)
        return square.mul_(-self.alpha).add_(self.alpha + self.beta)

    def log_slope_derivative(  # noqa: D102
        self, squashed: Tensor, slope: Tensor, *, out: Tensor | None = None
    ) -> Tensor:
        gap = torch.addcdiv(squashed, squashed, slope, value=-self.beta, out=out)
        return gap.mul_(-2 * self.alpha)

    def start(self, y: Tensor) -> Tensor:  # noqa: D102
        # For y > 0, the inverse lies above the lines y/(α + β) and (y - 1)/β. A hyperbola with
        # these as asymptotes, and the right value where they meet, follows it.
        near, far = 0.5 / (self.alpha + self.beta), 0.5 / self.beta
        size = y.abs()
        half_gap = size.mul(near - far).add_(far)
        root = half_gap.square_().add_((self._corner - 1 / self.alpha) ** 2).sqrt_()
        return root.add_(size, alpha=near + far).sub_(far).copysign_(y)

    def bracket(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        # tanh(αx) <= min(1, αx) for x > 0
        size = y.abs()
        near = torch.maximum(size / (self.alpha + self.beta), (size - 1) / self.beta)
        near, far = near.copysign_(y), y / self.beta
        return torch.minimum(near, far), torch.maximum(near, far)

    def extra_repr(self) -> str:  # noqa: D102
        return f"alpha={self.alpha}, beta={self.beta}"


def _corner(ratio: float) -> float:
    """Return the `u` at which tanh(u) + ratio · u is what its asymptotes are where they meet."""
    u = 1.0  # Newton on a concave function comes up from the left
    for _ in range(60):
        tanh = math.tanh(u)
        u -= (tanh + ratio * u - 1 - ratio) / (1 - tanh**2 + ratio)
    return u
