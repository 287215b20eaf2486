"""Base distributions: what the latents are made to follow."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skflow.flow.described import Described
from skflow.flow.parametrized import Parametrized
from skflow.flow.weighted import mean

__all__ = ["BaseDistribution", "HyperbolicSecant", "Logistic", "Normal", "open_uniform"]


class BaseDistribution(Described, Parametrized, nn.Module, ABC):
    r"""A distribution on :math:`\mathbb{R}^D`.

    A subclass states :meth:`log_prob` and :meth:`sample`, and computes in the precision of the
    input, whatever that of its parameters.
    """

    has_unit_sharpness: ClassVar[bool] = False
    """Whether :meth:`sharpness` is 1 whatever the latents."""

    def allocate(self, n_features: int) -> None:
        """Make the parameters for so many features, in float32, unless they are there.

        By default there are none whose number depends on that of the features.

        Parameters
        ----------
        n_features : int
            The number D of features.

        Raises
        ------
        ValueError
            If the distribution is one of another number of features.
        """

    @torch.no_grad()
    def initialize(
        self, z: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        """Set the parameters from a sample of the latents.

        By default, they stay what they are.

        Parameters
        ----------
        z : Tensor of shape (N, D)
            Latents: a row for each.
        generator : torch.Generator
            Where the randomness comes from.
        weights : Tensor of shape (N,) or None, default=None
            How many rows each row stands for; by default one.
        """

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density, in nats.

        Parameters
        ----------
        z : Tensor of shape (N, D)
            Latents: a row for each.

        Returns
        -------
        log_prob : Tensor of shape (N,)
            In nats.
        """

    def log_prob_and_pullback(self, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the log-density, and what takes its gradient to that of `z`.

        By default this is automatic differentiation, and trains the parameters as well.

        Parameters
        ----------
        z : Tensor of shape (N, D)
            Latents: a row for each.

        Returns
        -------
        log_prob : Tensor of shape (N,)
            In nats.
        pullback : callable
            Takes the gradient of a loss with respect to `log_prob`, of shape (N,); adds to the
            gradients of the parameters and returns the one with respect to `z`, of shape
            (N, D). To be called once.
        """
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            log_prob = self.log_prob(z)

        def pullback(grad: Tensor) -> Tensor:
            log_prob.backward(grad)
            assert z.grad is not None
            return z.grad

        return log_prob.detach(), pullback

    @abstractmethod
    def sample(
        self,
        shape: tuple[int, int],
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """Draw independent rows.

        Parameters
        ----------
        shape : (int, int)
            The numbers of rows and of columns.
        generator : torch.Generator
            Where the randomness comes from; the sample lives on its device.
        dtype : torch.dtype, default=torch.float64
            The precision of the result.

        Returns
        -------
        z : Tensor of the given shape
            Latents: a row for each.
        """

    def fixed(self) -> BaseDistribution:
        """Return the same distribution without training, for exporters.

        By default, it is this one.
        """
        return self

    def sharpness(self, z: Tensor, weights: Tensor | None = None) -> float:
        r"""Return the mean of :math:`(\partial \log p / \partial z_i)^2`, at least 1.

        That is the curvature of the log-likelihood along changes of the last dense layer, and
        the measure of a step that the density can bear: 1 for the standard normal, and
        :math:`1/\sigma^2` for narrow parts of standard deviation :math:`\sigma`.

        Parameters
        ----------
        z : Tensor of shape (N, D)
            A sample of the latents.
        weights : Tensor of shape (N,) or None, default=None
            Of the rows, in the mean.

        Returns
        -------
        sharpness : float
            At least 1.
        """
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            (score,) = torch.autograd.grad(self.log_prob(z).sum(), z)
        squares = score.square()
        if weights is not None:
            squares = mean(squares, weights)
        return max(1.0, float(squares.mean()))


class Normal(BaseDistribution):
    r"""Standard normal, :math:`\log p(z) = -\frac12 \sum_i (z_i^2 + \log 2\pi)`.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import Normal
    >>> Normal().log_prob(torch.zeros(1, 2))
    tensor([-1.8379])
    """

    has_unit_sharpness = True

    def log_prob(self, z: Tensor) -> Tensor:  # noqa: D102
        squared_norm = torch.linalg.vecdot(z, z)
        # The scalar, less half of that.
        return torch.rsub(squared_norm, -0.5 * math.log(2 * math.pi) * z.shape[-1], alpha=0.5)

    def log_prob_and_pullback(self, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:  # noqa: D102
        return self.log_prob(z), lambda grad: z * grad.neg().unsqueeze(-1)

    def sample(  # noqa: D102
        self,
        shape: tuple[int, int],
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype, device=generator.device)


class HyperbolicSecant(BaseDistribution):
    r"""Hyperbolic secant of variance 1, :math:`p(z) = \prod_i \frac12 \mathrm{sech}(\pi z_i/2)`.

    Its tails fall off exponentially, which suits heavier-tailed data than the normal does.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import HyperbolicSecant
    >>> HyperbolicSecant().log_prob(torch.zeros(1, 2))
    tensor([-1.3863])
    """

    def log_prob(self, z: Tensor) -> Tensor:  # noqa: D102
        # log(sech(u) / 2) = u - softplus(2u), even in u; with u <= 0 nothing cancels far out.
        u = z.abs().mul(-0.5 * math.pi)
        return (u - F.softplus(2 * u)).sum(-1)

    def log_prob_and_pullback(self, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:  # noqa: D102
        def pullback(grad: Tensor) -> Tensor:
            return torch.tanh(z * (0.5 * math.pi)).mul_(grad.mul(-0.5 * math.pi).unsqueeze(-1))

        return self.log_prob(z), pullback

    def sample(  # noqa: D102
        self,
        shape: tuple[int, int],
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        u = open_uniform(shape, generator, dtype)
        return torch.log(torch.tan(u * (0.5 * math.pi))).mul(2 / math.pi)


class Logistic(BaseDistribution):
    r"""Logistic of variance 1, :math:`p(z) = \prod_i \frac1{4s} \mathrm{sech}^2(z_i/2s)`.

    The scale is :math:`s = \sqrt3/\pi`. The tails fall off exponentially, a little faster than
    those of the hyperbolic secant.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import Logistic
    >>> Logistic().log_prob(torch.zeros(1, 2))
    tensor([-1.5818])
    """

    _SCALE = math.sqrt(3) / math.pi

    def log_prob(self, z: Tensor) -> Tensor:  # noqa: D102
        # Even in z; with u <= 0 nothing cancels or overflows far out.
        u = z.abs().mul(-1 / self._SCALE)
        return (u - 2 * F.softplus(u) - math.log(self._SCALE)).sum(-1)

    def log_prob_and_pullback(self, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:  # noqa: D102
        def pullback(grad: Tensor) -> Tensor:
            return torch.tanh(z * (0.5 / self._SCALE)).mul_(grad.div(-self._SCALE).unsqueeze(-1))

        return self.log_prob(z), pullback

    def sample(  # noqa: D102
        self,
        shape: tuple[int, int],
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        return torch.logit(open_uniform(shape, generator, dtype)).mul_(self._SCALE)


def open_uniform(shape: tuple[int, int], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Draw from the open interval (0, 1).

    Parameters
    ----------
    shape : (int, int)
        The numbers of rows and of columns.
    generator : torch.Generator
        Where the randomness comes from.
    dtype : torch.dtype
        The precision of the result.
    """
    uniform = torch.rand(shape, generator=generator, dtype=dtype, device=generator.device)
    # Multiples of the machine's epsilon in [0, 1): half a step keeps them off both ends.
    half_step = 0.5 * torch.finfo(dtype).eps
    return uniform * (1 - 2 * half_step) + half_step
