"""Student's t as a base distribution, with tails that are learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from skflow.flow.base import BaseDistribution, open_uniform
from skflow.flow.weighted import mean

__all__ = ["StudentT"]

# The degrees of freedom that Student's t starts from are the likeliest of these.
_START_DF = (2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0)

# One over the most that they exceed two by: the normal distribution, to the eye.
LEAST_INVERSE = 1e-4


class StudentT(BaseDistribution):
    r"""Student's t of variance 1, whose degrees of freedom are learned for each component.

    .. math::
        p(z) = \prod_i \frac{\Gamma(\frac{\nu_i + 1}2)}{\Gamma(\frac{\nu_i}2)
            \sqrt{\pi (\nu_i - 2)}} \left(1 + \frac{z_i^2}{\nu_i - 2}\right)^{-(\nu_i + 1)/2}

    Its tails fall off as a power, the one that suits the data. The variance is fixed, rather
    than the scale, as it is for the other distributions: the degrees of freedom shape the
    density and leave its width to the layers before. They exceed 2, towards which the
    likelihood of latents falls without bound, and cannot settle there.

    Attributes
    ----------
    df : Tensor of shape (D,)
        The degrees of freedom :math:`\nu`, in (2, 10002). Before :meth:`initialize` they are 30.

    Notes
    -----
    What is learned is :math:`\log(1/(\nu - 2))`, nearly, in which the shape changes evenly.
    Samples are drawn by Bailey's polar method [1]_.

    References
    ----------
    .. [1] R. W. Bailey, "Polar generation of random variates with the t-distribution",
       Mathematics of Computation 62 (1994).

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import StudentT
    >>> base = StudentT()
    >>> base.allocate(2)
    >>> base.log_prob(torch.zeros(1, 2)).detach()
    tensor([-1.7855])
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_inverse: nn.Parameter | None
        self.register_parameter("log_inverse", None)

    @property
    def df(self) -> Tensor:  # noqa: D102
        return 2 + 1 / self._inverse().detach()

    def allocate(self, n_features: int) -> None:  # noqa: D102
        if self.log_inverse is None:
            start = torch.full((n_features,), 1 / 28)
            self.log_inverse = nn.Parameter((start - LEAST_INVERSE).log())
        elif len(self.log_inverse) != n_features:
            raise ValueError(
                f"This distribution has {len(self.log_inverse)} features, and {n_features} "
                "are asked for: make a new one."
            )

    @torch.no_grad()
    def initialize(
        self, z: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        """Set each component's degrees of freedom to the likeliest of a few.

        Parameters
        ----------
        z : Tensor of shape (N, D)
            Latents: a row for each.
        generator : torch.Generator
            Not used.
        weights : Tensor of shape (N,) or None, default=None
            How many rows each row stands for; by default one.
        """
        inverses = [1 / (df - 2) for df in _START_DF]
        candidates = [z.new_full((), inverse) for inverse in inverses]
        scores = [mean(_t_log_prob(z, inv, _t_log_norm(inv)), weights) for inv in candidates]
        likeliest = z.new_tensor(inverses)[torch.stack(scores).argmax(0)]
        self._log_inverse().copy_((likeliest - LEAST_INVERSE).log())

    def log_prob(self, z: Tensor) -> Tensor:  # noqa: D102
        return _t_log_prob(z, self._inverse(), self.log_norm()).sum(-1)

    def log_norm(self) -> Tensor:
        """Return the log-density of each component at zero, of shape (D,), float64, in nats."""
        return _t_log_norm(self._inverse())

    def fixed(self) -> StudentT:
        """Return a copy whose gamma functions are in a buffer, for exporters."""
        return _FixedStudentT(self)

    def sample(  # noqa: D102
        self,
        shape: tuple[int, int],
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        excess = self.df - 2
        u, v = (open_uniform(shape, generator, torch.float64) for _ in range(2))
        radius = (excess * torch.expm1(u.log() * (-2 / (2 + excess)))).sqrt_()
        return (radius * torch.cos(2 * math.pi * v)).to(dtype)

    def _log_inverse(self) -> nn.Parameter:
        if self.log_inverse is None:
            raise RuntimeError("Tell the distribution its number of features first: allocate(D).")
        return self.log_inverse

    def _inverse(self) -> Tensor:
        """Return 1 / (ν - 2) in float64: as ν grows, its terms of the density nearly cancel."""
        return self._log_inverse().double().exp() + LEAST_INVERSE


class _FixedStudentT(StudentT):
    """A Student's t that does not change, so that its gamma functions are in a buffer."""

    fixed_log_norm: Tensor

    def __init__(self, base: StudentT) -> None:
        super().__init__()
        self.log_inverse = base.log_inverse
        self.register_buffer("fixed_log_norm", base.log_norm())

    def log_norm(self) -> Tensor:
        return self.fixed_log_norm


def _t_log_norm(inverse: Tensor) -> Tensor:
    """Return the log-density at zero, where ν = 2 + 1 / `inverse`."""
    df = 2 + 1 / inverse.double()
    return (
        torch.lgamma(0.5 * (df + 1))
        - torch.lgamma(0.5 * df)
        + 0.5 * (inverse.double().log() - math.log(math.pi))
    )


def _t_log_prob(z: Tensor, inverse: Tensor, log_norm: Tensor) -> Tensor:
    """Return the log-density of each component, where `log_norm` is that at zero."""
    df = 2 + 1 / inverse.double()
    inverse = inverse.to(z.dtype)
    square = z.square()
    # Where the square overflows, its logarithm does not.
    most = torch.finfo(z.dtype).max ** 0.25
    log_square = 2 * z.abs().clamp_min(most).log() + inverse.log()
    tail = torch.where(square.isfinite(), torch.log1p(square * inverse), log_square)
    return tail * (-0.5 * (df + 1)).to(z.dtype) + log_norm.to(z.dtype)
