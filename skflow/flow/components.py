"""Mixtures of normal distributions, and their fit by expectation maximisation."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skflow.flow.weighted import mean, var_mean

__all__ = ["Components", "fit_components"]

# The best of several trials, of a few steps each, goes on to so many steps at most. Where a step
# takes many multiplications, there are fewer.
_MOST_TRIALS = 4
_TRIAL_STEPS = 4
_MOST_CLIMBS = 100
_MOST_MULTIPLICATIONS = 1e10
_TOLERANCE = 1e-3  # nats

# Of a component, as a share of that of all rows: more than rounding makes of it.
_LEAST_VARIANCE = 1e-9


class Components(NamedTuple):
    r"""The mixture :math:`\sum_k w_k\, \mathcal{N}(\mu_k, (P_k^\top P_k)^{-1})`."""

    log_weights: Tensor
    """The logarithms of the weights, of shape (K,)."""

    means: Tensor
    """Of shape (K, D)."""

    precision_factors: Tensor
    """The factors P of the precisions, lower triangular, of shape (K, D, D)."""

    def standardized(self, z: Tensor) -> Tensor:
        """Return what each component takes for standard normal, of shape (K, N, D).

        Parameters
        ----------
        z : Tensor of shape (N, D)
            The rows.
        """
        offsets = (self.precision_factors @ self.means.unsqueeze(2)).mT
        rows = z.expand(len(self.means), *z.shape)
        return torch.baddbmm(offsets, rows, self.precision_factors.mT, beta=-1)

    def joint_log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of each row and component together, shape (N, K), in nats.

        Parameters
        ----------
        z : Tensor of shape (N, D)
            The rows.

        Notes
        -----
        Cost: O(N·K·D²), in products of matrices.
        """
        precisions = self.precision_factors.mT @ self.precision_factors
        by_mean = precisions @ self.means.unsqueeze(2)
        log_dets = self.precision_factors.diagonal(dim1=1, dim2=2).log().sum(1)
        squares = (self.means.unsqueeze(1) @ by_mean).flatten()
        n_features = z.shape[1]
        constant = 0.5 * math.log(2 * math.pi) * n_features
        offsets = self.log_weights + log_dets - 0.5 * squares - constant
        joint = torch.addmm(offsets, z, by_mean.squeeze(2).mT)
        return joint.addmm_(_products(z), precisions.flatten(1).mT, alpha=-0.5)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of each row, of shape (N,), in nats.

        Parameters
        ----------
        z : Tensor of shape (N, D)
            The rows.
        """
        return self.joint_log_prob(z).logsumexp(1)


def fit_components(
    z: Tensor,
    n_components: int,
    generator: torch.Generator,
    counts: Tensor | None = None,
    *,
    most_trials: int = _MOST_TRIALS,
) -> Components:
    """Fit a mixture by expectation maximisation.

    It starts from the parts that distant rows attract (k-means++), a few times over. With few
    rows for each component, the covariances are drawn towards the one that they have in common.

    Parameters
    ----------
    z : Tensor of shape (N, D)
        The rows, in float64. Their columns are brought to one scale first.
    n_components : int
        The number K of components.
    generator : torch.Generator
        Where the randomness comes from.
    counts : Tensor of shape (N,) or None, default=None
        How many rows each row stands for, if not one.
    most_trials : int, default=4
        From how many sets of distant rows it starts, at the most.

    Returns
    -------
    components : Components
        In float64.

    Notes
    -----
    Cost: O(N·K·D²) for each of 100 steps at most.
    """
    variance, centre = var_mean(z, counts)
    scale = torch.where(variance > 0, variance, 1).sqrt()
    log_weights, means, factors = _climb_best(
        (z - centre) / scale, n_components, generator, counts, most_trials
    )
    return Components(log_weights, means * scale + centre, factors / scale)


def _climb_best(
    z: Tensor,
    n_components: int,
    generator: torch.Generator,
    counts: Tensor | None,
    most_trials: int,
) -> Components:
    affordable = max(1, int(_MOST_MULTIPLICATIONS / (z.numel() * z.shape[1] * n_components)))
    n_first = min(_TRIAL_STEPS, affordable)
    n_trials = most_trials if affordable >= _MOST_CLIMBS else 1
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
) -> tuple[float, Tensor, Components]:
    """Take steps of expectation maximisation until the score hardly rises.

    Returns
    -------
    score : float
        The mean log-density of the rows, in nats.
    shares : Tensor of shape (N, K)
        Those of the components in the rows.
    components : Components
        What :func:`_maximize` returned last.
    """
    score = -math.inf
    for _ in range(n_steps):
        components = _maximize(z, shares, counts)
        joint = components.joint_log_prob(z)
        most = joint.amax(1, keepdim=True)
        # Shares need few digits, and exponentials of fewer take less time.
        parts = joint.sub_(most).float().exp_()
        total = parts.sum(1, keepdim=True)
        shares = parts.div_(total).double()
        log_prob = (total.double().log() + most).squeeze(1)
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


def _maximize(z: Tensor, shares: Tensor, counts: Tensor | None) -> Components:
    """Fit the components to the shares, of shape (N, K), that they have in the rows.

    The columns have mean 0 and variance 1. Two things are added to what the rows say. A
    thousandth of a row lies at the mean of all, so that no component is empty. And D + 2 rows
    have the pooled covariance of all components, which itself has as many with the variances
    that equal parts of the whole would have.
    """
    n, d = z.shape
    n_components = shares.shape[1]
    n_prior, n_empty = d + 2, 1e-3

    if counts is not None:
        shares = shares * counts.unsqueeze(1)
    masses = shares.sum(0)
    sizes = masses + n_empty
    sums = shares.mT @ z
    means = sums / sizes.unsqueeze(1)
    second = (shares.mT @ _products(z)).unflatten(1, (d, d))
    cross = sums.unsqueeze(2) * means.unsqueeze(1)
    own = masses.reshape(-1, 1, 1) * (means.unsqueeze(2) * means.unsqueeze(1))
    scatters = second - cross - cross.mT + own
    identity = torch.eye(d, dtype=z.dtype, device=z.device)
    part = identity * n_components ** (-2 / d)
    total = n if counts is None else counts.sum()
    pooled = (scatters.sum(0) + n_prior * part) / (total + n_prior)
    covariances = (scatters + n_prior * pooled) / (sizes + n_prior).reshape(-1, 1, 1)
    covariances += _LEAST_VARIANCE * identity
    roots = torch.linalg.cholesky(covariances)
    factors = torch.linalg.solve_triangular(roots, identity, upper=False)
    return Components((sizes / sizes.sum()).log(), means, factors)


def _products(z: Tensor) -> Tensor:
    """Return the products of the columns with each other, of shape (N, D²)."""
    return (z.unsqueeze(2) * z.unsqueeze(1)).flatten(1)
