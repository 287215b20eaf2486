"""A learned mixture of normal distributions, for data in separate parts."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skflow.flow.base import BaseDistribution
from skflow.flow.weighted import mean, var_mean

__all__ = ["NormalMixture"]

# Expectation maximisation starts the mixture, from so many rows. The best of several trials, of a
# few steps each, goes on to so many at most; where they take many multiplications, to fewer.
_MIXTURE_ROWS = 10_000
_MOST_TRIALS = 4
_TRIAL_STEPS = 4
_MOST_CLIMBS = 100
_MOST_MULTIPLICATIONS = 1e10
_TOLERANCE = 1e-3  # nats


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
        common.

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
        log_weights, means, factors = _expectation_maximization(
            z, self.n_components, generator, weights
        )
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
        log_det = (
            self.precision_factor.diagonal(dim1=1, dim2=2).log()
            + self.triangle.diagonal(dim1=1, dim2=2)
        ).sum(1)
        log_scale = self.logits.log_softmax(0) + log_det
        joint = log_scale.to(z.dtype).unsqueeze(1) - 0.5 * standard.square().sum(-1)
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


def _expectation_maximization(
    z: Tensor, n_components: int, generator: torch.Generator, counts: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logarithms of weights (K,), means (K, D) and precision factors (K, D, D).

    `counts` says how many rows each row stands for, if not one.
    """
    order = torch.randperm(len(z), generator=generator, device=z.device)[:_MIXTURE_ROWS]
    z = z[order].double()
    counts = None if counts is None else counts[order].double()
    affordable = max(1, int(_MOST_MULTIPLICATIONS / (z.numel() * z.shape[1] * n_components)))
    n_first = min(_TRIAL_STEPS, affordable)
    n_trials = _MOST_TRIALS if affordable >= _MOST_CLIMBS else 1
    trials = []
    for _ in range(n_trials):
        distant = _distant_rows(z, n_components, generator, counts)
        nearest = torch.cdist(z, distant).argmin(1)
        shares = F.one_hot(nearest, n_components).double()
        trials.append(_climb(z, shares, counts, n_first))
    _, shares, components = max(trials, key=lambda trial: trial[0])
    n_steps = min(_MOST_CLIMBS, affordable) - n_first
    return _climb(z, shares, counts, n_steps)[2] if n_steps > 0 else components


def _climb(
    z: Tensor, shares: Tensor, counts: Tensor | None, n_steps: int
) -> tuple[float, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Take steps of expectation maximisation until the score hardly rises.

    Returns
    -------
    score : float
        The mean log-density of the rows but for a constant, in nats.
    shares : Tensor of shape (N, K)
        Those of the components in the rows.
    components : tuple of Tensor
        What :func:`_maximize` returned last.
    """
    score = -math.inf
    for _ in range(n_steps):
        components = _maximize(z, shares, counts)
        joint = _log_joint(z, *components)
        log_prob = joint.logsumexp(1)
        shares = (joint - log_prob.unsqueeze(1)).exp()
        previous, score = score, float(mean(log_prob, counts))
        if score - previous < _TOLERANCE:
            break
    return score, shares, components


def _distant_rows(z: Tensor, n: int, generator: torch.Generator, counts: Tensor | None) -> Tensor:
    """Choose `n` rows far from each other: greedy k-means++ (Arthur and Vassilvitskii, 2007)."""
    n_trials = 2 + int(math.log(n))
    if counts is None:
        chosen = torch.randint(len(z), (1,), generator=generator, device=z.device)
    else:
        chosen = torch.multinomial(counts, 1, generator=generator)
    squares = torch.cdist(z[chosen], z).square().squeeze(0)
    for _ in range(n - 1):
        weights = squares if squares.any() else torch.ones_like(squares)
        if counts is not None:
            weights = weights * counts
        trials = torch.multinomial(weights, n_trials, replacement=True, generator=generator)
        after = torch.minimum(squares, torch.cdist(z[trials], z).square())
        best = (after.sum(1) if counts is None else after @ counts).argmin()
        chosen = torch.cat([chosen, trials[best].unsqueeze(0)])
        squares = after[best]
    return z[chosen]


def _maximize(z: Tensor, shares: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Fit the components to the shares, of shape (N, K), that they have in the rows.

    Two things are added to what the rows say. A thousandth of a row lies at the mean of all, so
    that no component is empty. And D + 2 rows have the pooled covariance of all components,
    which itself has as many with the variances that equal parts of the whole would have.
    """
    n, d = z.shape
    n_components = shares.shape[1]
    variance, centre = var_mean(z, counts)
    variance = torch.where(variance > 0, variance, 1)
    n_prior, n_empty = d + 2, 1e-3

    if counts is not None:
        shares = shares * counts.unsqueeze(1)
    sizes = shares.sum(0) + n_empty
    means = (shares.mT @ z + n_empty * centre) / sizes.unsqueeze(1)
    scatters = z.new_empty(n_components, d, d)
    for scatter, share, own in zip(scatters, shares.mT, means, strict=True):
        deviations = z - own
        torch.mm((deviations * share.unsqueeze(1)).mT, deviations, out=scatter)
    part = torch.diag(variance) * n_components ** (-2 / d)
    total = n if counts is None else counts.sum()
    pooled = (scatters.sum(0) + n_prior * part) / (total + n_prior)
    covariances = (scatters + n_prior * pooled) / (sizes + n_prior).reshape(-1, 1, 1)
    roots = torch.linalg.cholesky(covariances)
    identity = torch.eye(d, dtype=z.dtype, device=z.device)
    factors = torch.linalg.solve_triangular(roots, identity, upper=False)
    return (sizes / sizes.sum()).log(), means, factors


def _log_joint(z: Tensor, log_weights: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """Return the log-density of each row and component together, shape (N, K), but for 2π."""
    distances = [
        ((z - own) @ factor.mT).square().sum(1) for own, factor in zip(means, factors, strict=True)
    ]
    log_dets = factors.diagonal(dim1=1, dim2=2).log().sum(1)
    return log_weights + log_dets - 0.5 * torch.stack(distances, 1)
