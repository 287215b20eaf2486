"""A learned mixture of normal distributions, for data in separate parts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from skflow.flow.base import BaseDistribution
from skflow.flow.components import fit_components
from skflow.flow.initialization import shrunk_whitening
from skflow.flow.weighted import mean, var_mean

__all__ = ["NormalMixture"]

# The mixture starts from so many rows.
_MIXTURE_ROWS = 10_000

# What a component starts from, for each column and one more.
_FEWEST_ROWS = 4


class NormalMixture(BaseDistribution):
    r"""Mixture of normal distributions whose weights, means and covariances are learned.

    .. math::
        p(z) = \sum_{k=1}^K w_k\, \mathcal{N}(z;\, \mu_k,\, \Sigma_k)

    A bijection of :math:`\mathbb{R}^D` stretches space and never tears it. If the data lie in
    separate parts and the base distribution in one, thin bridges remain between them; those of
    a mixture may be as separate as the data are.

    Parameters
    ----------
    n_components : int, default=16
        The number K of components, no fewer than the separate parts. More do little harm: they
        share a part.

    Attributes
    ----------
    weights : Tensor of shape (K,)
        They add up to 1.
    means : Tensor of shape (K, D)
    covariances : Tensor of shape (K, D, D)

    Raises
    ------
    ValueError
        If `n_components` is not a positive integer.

    Notes
    -----
    Each component is the standard normal, moved by two affine maps. The first is fixed where
    the mixture starts; the second begins as the identity and is what is learned,

    .. math::
        u = T_k P_k (z - c_k) - s_k,

    with T and P lower triangular. Steps are thus in units of the component, and one learning
    rate suits narrow ones and broad ones.

    Cost: O(K·N·D²), that of K dense layers.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import NormalMixture
    >>> generator = torch.Generator().manual_seed(0)
    >>> z = torch.randn(1000, 1, generator=generator)
    >>> z[:250] += 10
    >>> base = NormalMixture(n_components=2)
    >>> base.allocate(1)
    >>> base.initialize(z, generator)
    >>> base.weights.sort().values
    tensor([0.2500, 0.7500])
    """

    centre: Tensor
    precision_factor: Tensor
    logits: nn.Parameter
    shift: nn.Parameter
    triangle: nn.Parameter

    def __init__(self, n_components: int = 16) -> None:
        super().__init__()
        if not n_components >= 1 or n_components % 1:
            raise ValueError(f"n_components must be a positive integer, got {n_components!r}.")
        self.n_components = int(n_components)
        for name in ("centre", "precision_factor"):
            self.register_buffer(name, None)
        for name in ("logits", "shift", "triangle"):
            self.register_parameter(name, None)

    @property
    def weights(self) -> Tensor:  # noqa: D102
        return self.logits.detach().softmax(0)

    @property
    def means(self) -> Tensor:  # noqa: D102
        standard = self.shift.detach().unsqueeze(-1)
        offset = torch.linalg.solve_triangular(self._factor(), standard, upper=False)
        return self.centre + offset.squeeze(-1)

    @property
    def covariances(self) -> Tensor:  # noqa: D102
        identity = torch.eye(self.centre.shape[1]).to(self.centre)
        root = torch.linalg.solve_triangular(self._factor(), identity, upper=False)
        return root @ root.mT

    def allocate(self, n_features: int) -> None:  # noqa: D102
        if self._is_allocated():
            if self.centre.shape[1] != n_features:
                raise ValueError(
                    f"This mixture has {self.centre.shape[1]} features, and {n_features} are "
                    "asked for: make a new one."
                )
            return
        k, d = self.n_components, n_features
        self.centre = torch.zeros(k, d)
        self.precision_factor = torch.eye(d).repeat(k, 1, 1)
        self.logits = nn.Parameter(torch.zeros(k))
        self.shift = nn.Parameter(torch.zeros(k, d))
        # T below its diagonal, and the logarithms of what is on it.
        self.triangle = nn.Parameter(torch.zeros(k, d, d))

    @torch.no_grad()
    def initialize(
        self, z: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        """Fit the mixture to a sample by expectation maximisation.

        It starts from the parts that distant rows attract (k-means++), a few times over. With
        few rows for each component, the covariances are drawn towards the one that they have in
        common. No component starts from fewer than four rows for each of its columns, and one
        more: with fewer rows than all of them take, several are alike, and with very few all are
        the Gaussian whose covariance is shrunk as rows that are left out say.

        Parameters
        ----------
        z : Tensor of shape (N, D)
            Latents: a row for each.
        generator : torch.Generator
            Where the randomness comes from.
        weights : Tensor of shape (N,) or None, default=None
            How many rows each row stands for; by default one.

        Raises
        ------
        ValueError
            If the variances of the sample are not finite.
        """
        if not bool(torch.isfinite(var_mean(z.double())[0]).all()):
            raise ValueError(
                "The variances of the latents that a mixture starts from are not finite: the rows "
                "are too large, or not all finite. Centre and scale the columns."
            )
        order = torch.randperm(len(z), generator=generator, device=z.device)[:_MIXTURE_ROWS]
        z = z[order].double()
        counts = None if weights is None else weights[order].double()
        log_weights, means, factors = self._fitted(z, generator, counts)
        self.logits.copy_(log_weights)
        self.centre.copy_(means)
        self.precision_factor.copy_(factors)
        self.shift.zero_()
        self.triangle.zero_()

    def log_prob(self, z: Tensor) -> Tensor:  # noqa: D102
        start = torch.bmm(
            z - self.centre.to(z.dtype).unsqueeze(1), self.precision_factor.to(z.dtype).mT
        )
        shift = self.shift.to(z.dtype).unsqueeze(1)
        standard = torch.baddbmm(shift, start, self._triangle(z.dtype).mT, beta=-1)  # (K, N, D)
        diagonal = self.precision_factor.to(z.dtype).diagonal(dim1=1, dim2=2)
        log_det = (diagonal.log() + self.triangle.to(z.dtype).diagonal(dim1=1, dim2=2)).sum(1)
        log_scale = self.logits.to(z.dtype).log_softmax(0) + log_det
        joint = log_scale.unsqueeze(1) - 0.5 * standard.square().sum(-1)
        return joint.logsumexp(0) - 0.5 * math.log(2 * math.pi) * z.shape[1]

    def sample(  # noqa: D102
        self,
        shape: tuple[int, int],
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        chosen = torch.multinomial(
            self.weights.double(), shape[0], replacement=True, generator=generator
        )
        z = torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
        means, factors = self.means.double(), self._factor().double()
        for k in range(self.n_components):
            rows = chosen == k
            # Rows are samples: (z - μ) Aᵀ is standard normal, A lower triangular.
            z[rows] = means[k] + torch.linalg.solve_triangular(
                factors[k].mT, z[rows], upper=True, left=False
            )
        return z.to(dtype)

    def extra_repr(self) -> str:  # noqa: D102
        return f"n_components={self.n_components}"

    def _fitted(
        self, z: Tensor, generator: torch.Generator, counts: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logarithms of weights, the means and the precision factors to start with."""
        n_rows = len(z) if counts is None else int(counts.sum())
        n_fitted = min(self.n_components, n_rows // (_FEWEST_ROWS * (z.shape[1] + 1)))
        if n_fitted == self.n_components:
            return fit_components(z, self.n_components, generator, counts)
        if n_fitted > 1:
            log_weights, means, factors = fit_components(z, n_fitted, generator, counts)
        else:
            whitening, _ = shrunk_whitening(z, counts)
            precision = whitening @ whitening
            upper = torch.linalg.cholesky(precision.flip(0, 1)).flip(0, 1)
            factors = upper.mT[None]
            means, log_weights = mean(z, counts)[None], z.new_zeros(1)
        alike = torch.arange(self.n_components, device=z.device) % len(means)
        share = alike.bincount().log()[alike]
        return log_weights[alike] - share, means[alike], factors[alike]

    def _is_allocated(self) -> bool:
        return self.centre is not None

    def _triangle(self, dtype: torch.dtype) -> Tensor:
        """Return T, of shape (K, D, D)."""
        triangle = self.triangle.to(dtype)
        diagonal = triangle.diagonal(dim1=1, dim2=2).exp()
        return triangle.tril(-1) + torch.diag_embed(diagonal)

    def _factor(self) -> Tensor:
        """Return T P: lower triangular, it makes a component's deviations standard normal."""
        return (self._triangle(self.triangle.dtype) @ self.precision_factor).detach()
