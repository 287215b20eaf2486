"""Base distributions: what the latents are made to follow."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BaseDistribution", "HyperbolicSecant", "Normal"]


class BaseDistribution(nn.Module, ABC):
    r"""A distribution on :math:`\mathbb{R}^D` with independent components."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density, in nats.

        Parameters
        ----------
        z : Tensor of shape (N, D)

        Returns
        -------
        log_prob : Tensor of shape (N,)
        """

    def log_prob_and_pullback(self, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the log-density, and what takes its gradient to that of `z`.

        By default this is automatic differentiation, and trains the parameters as well.

        Parameters
        ----------
        z : Tensor of shape (N, D)

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
    def quantile(self, u: Tensor) -> Tensor:
        """Return the quantile of each component.

        Parameters
        ----------
        u : Tensor of any shape
            Probabilities in (0, 1).

        Returns
        -------
        z : Tensor of the shape of `u`
        """

    def sample(
        self,
        shape: tuple[int, int],
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """Draw independent rows, by inversion unless a distribution knows better.

        Parameters
        ----------
        shape : (int, int)
            The numbers of rows and of columns.
        generator : torch.Generator
            Where the randomness comes from; the sample lives on its device.
        dtype : torch.dtype, default=torch.float64

        Returns
        -------
        z : Tensor of the given shape
        """
        uniform = torch.rand(shape, generator=generator, dtype=dtype, device=generator.device)
        # Multiples of the machine's epsilon in [0, 1): half a step keeps them off both ends.
        half_step = 0.5 * torch.finfo(dtype).eps
        return self.quantile(uniform * (1 - 2 * half_step) + half_step)


class Normal(BaseDistribution):
    r"""Standard normal, :math:`\log p(z) = -\frac12 \sum_i (z_i^2 + \log 2\pi)`.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import Normal
    >>> Normal().log_prob(torch.zeros(1, 2))
    tensor([-1.8379])
    """

    def log_prob(self, z: Tensor) -> Tensor:  # noqa: D102
        squared_norm = torch.linalg.vector_norm(z, dim=-1).square()
        # The scalar, less half of that.
        return torch.rsub(squared_norm, -0.5 * math.log(2 * math.pi) * z.shape[-1], alpha=0.5)

    def log_prob_and_pullback(self, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:  # noqa: D102
        return self.log_prob(z), lambda grad: z * grad.neg().unsqueeze(-1)

    def quantile(self, u: Tensor) -> Tensor:  # noqa: D102
        return torch.special.ndtri(u)

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

    def quantile(self, u: Tensor) -> Tensor:  # noqa: D102
        return torch.log(torch.tan(u * (0.5 * math.pi))).mul(2 / math.pi)
