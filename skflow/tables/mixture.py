"""Mixtures of normal distributions of rows with holes, and their conditionals."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Mixture", "fit_mixture"]

# Of more rows, some are enough. A component has so many rows for each of its columns.
_MOST_ROWS = 4000
_ROWS_OF_COLUMN = 10
_MOST_COMPONENTS = 16
# Of more columns there is one component, as a step takes time with the cube of the columns.
_MOST_COLUMNS = 64
_N_STEPS = 30

# Rows that each covariance counts as if they had the covariance of all rows, by column.
_PRIOR_ROWS_OF_COLUMN = 1.0
_LEAST_VARIANCE = 1e-6

# Entries of the matrices that are held at once.
_MOST_ENTRIES = 2**23


class Mixture(NamedTuple):
    """A mixture of normal distributions."""

    log_shares: Tensor
    """Of shape (M,)."""

    means: Tensor
    """Of shape (M, D)."""

    covariances: Tensor
    """Of shape (M, D, D)."""

    def given(self, x: Tensor) -> Given:
        """Return the distributions of what is missing in rows.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            NaN where an entry is missing.
        """
        observed = ~x.isnan()
        both = observed[:, None, :, None] & observed[:, None, None, :]
        identity = torch.eye(x.shape[1], dtype=x.dtype)
        # What is missing is replaced by a variance of one without any correlation.
        known = torch.where(both, self.covariances, identity)
        factors = torch.linalg.cholesky(known)
        centred = torch.where(observed[:, None], x[:, None].nan_to_num() - self.means, 0.0)
        whitened = torch.linalg.solve_triangular(factors, centred[..., None], upper=False)[..., 0]
        n_observed = observed.sum(1).to(x.dtype)
        log_probs = (
            self.log_shares
            - 0.5 * whitened.square().sum(-1)
            - factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            - 0.5 * math.log(2 * math.pi) * n_observed[:, None]
        )
        # Regression of what is missing on what is observed.
        mixed = (~observed)[:, None, :, None] & observed[:, None, None, :]
        cross = torch.where(mixed, self.covariances, 0.0)
        gains = torch.cholesky_solve(cross.mT, factors).mT
        means = torch.where(
            observed[:, None], x[:, None].nan_to_num(), self.means + _times(gains, centred)
        )
        gone = ~both & ~mixed & ~mixed.mT
        rest = torch.where(gone, self.covariances - gains @ cross.mT, 0.0)
        return Given(log_probs, means, rest, observed)


class Given(NamedTuple):
    """Of each row, what a mixture says of its missing entries given the others."""

    log_probs: Tensor
    """Of the observed entries by each component, times its share, of shape (N, M)."""

    means: Tensor
    """Of the components, of shape (N, M, D); observed entries are as they are."""

    covariances: Tensor
    """Of shape (N, M, D, D), zero where an entry is observed."""

    observed: Tensor
    """Of shape (N, D)."""

    def sample(self, u: Tensor, width: float = 1.0) -> tuple[Tensor, Tensor]:
        """Complete rows, as uniform numbers say.

        Parameters
        ----------
        u : Tensor of shape (N, n_samples, 1 + D)
            Between 0 and 1: which component it is, and where in it.
        width : float, default=1.0
            By what standard deviations are multiplied.

        Returns
        -------
        x : Tensor of shape (N, n_samples, D)
            The rows.
        log_prob : Tensor of shape (N, n_samples)
            The log-density of what was drawn, given what is observed.
        """
        n_rows, n_columns = self.observed.shape
        shares = self.log_probs.softmax(1)
        below = shares.cumsum(1)[:, None, :-1]
        which = (u[:, :, :1] >= below).sum(-1)
        missing = ~self.observed
        identity = torch.eye(n_columns, dtype=self.means.dtype)
        known = self.observed[:, None, :, None] & self.observed[:, None, None, :]
        covariances = width**2 * self.covariances + torch.where(known, identity, 0.0)
        factors = torch.linalg.cholesky(covariances)
        rows = torch.arange(n_rows)[:, None]
        noise = torch.where(missing[:, None], torch.special.ndtri(u[:, :, 1:]), 0.0)
        x = self.means[rows, which] + _times(factors[rows, which], noise)
        log_prob = torch.stack([self._log_prob(x, factors, k) for k in range(shares.shape[1])], -1)
        return x, (log_prob + shares.log()[:, None]).logsumexp(-1)

    def _log_prob(self, x: Tensor, factors: Tensor, k: int) -> Tensor:
        """Return the log-density of completed rows by one component."""
        missing = ~self.observed
        factor = factors[:, k]
        centred = torch.where(missing[:, None], x - self.means[:, k, None], 0.0)
        z = torch.linalg.solve_triangular(factor, centred.mT, upper=False)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = 0.5 * math.log(2 * math.pi) * missing.sum(1).to(x.dtype) + log_det
        return -0.5 * z.square().sum(1) - constant[:, None]


def fit_mixture(
    x: Tensor, counts: Tensor | None, generator: torch.Generator, n_steps: int = _N_STEPS
) -> Mixture:
    """Fit a mixture to rows with holes by expectation maximisation.

    A fifth of the rows chooses the number of components.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        Standardised, in float64, NaN where an entry is missing.
    counts : Tensor of shape (N,) or None
        How many rows each row stands for; None is one each.
    generator : torch.Generator
        Where the randomness comes from.
    n_steps : int, default=30
        The number of steps.

    Notes
    -----
    Cost: O(N·M·D³) a step, for M components.
    """
    some = torch.randperm(len(x), generator=generator)[:_MOST_ROWS]
    x, counts = x[some], None if counts is None else counts[some]
    n_rows, n_columns = x.shape
    counts = x.new_ones(n_rows) if counts is None else counts
    most = min(_MOST_COMPONENTS, n_rows // (_ROWS_OF_COLUMN * n_columns))
    if n_columns > _MOST_COLUMNS:
        most = 1
    sizes = [2**k for k in range(int(math.log2(most)) + 1)] if most > 1 else [1]
    if len(sizes) > 1:
        n_held_out = n_rows // 5
        held_out, own = x[:n_held_out], counts[:n_held_out]
        scores = []
        for size in sizes:
            one = _fitted(x[n_held_out:], counts[n_held_out:], size, generator, n_steps)
            scores.append(float(own @ one.given(held_out).log_probs.logsumexp(1)))
        sizes = [sizes[max(range(len(sizes)), key=scores.__getitem__)]]
    return _fitted(x, counts, sizes[0], generator, n_steps)


def _fitted(
    x: Tensor, counts: Tensor, n_components: int, generator: torch.Generator, n_steps: int
) -> Mixture:
    """Fit a mixture of so many components."""
    n_columns = x.shape[1]
    if n_components == 1 and not bool(x.isnan().any()):
        covariance = torch.cov(x.T, correction=0, aweights=counts).reshape(n_columns, n_columns)
        covariance.diagonal().add_(_LEAST_VARIANCE)
        return Mixture(x.new_zeros(1), (counts @ x / counts.sum())[None], covariance[None])
    mixture = _normal(x, counts)
    for _ in range(n_steps if n_components == 1 else 3):
        mixture = _step(mixture, x, counts, mixture.covariances[0])
    if n_components == 1:
        return mixture
    pooled = mixture.covariances[0]
    filled = mixture.given(x).means[:, 0]
    centres = _distant_rows(filled, n_components, generator)
    mixture = Mixture(
        x.new_full((n_components,), -math.log(n_components)),
        centres,
        pooled.expand(n_components, -1, -1) / n_components ** (2 / n_columns),
    )
    for _ in range(n_steps):
        mixture = _step(mixture, x, counts, pooled)
    return mixture


def _normal(x: Tensor, counts: Tensor) -> Mixture:
    """Return the normal distribution of columns without correlations."""
    present = (~x.isnan()).double() * counts[:, None]
    total = present.sum(0).clamp_min(1e-12)
    means = (present * x.nan_to_num()).sum(0) / total
    variances = (present * (x.nan_to_num() - means).square()).sum(0) / total
    covariance = torch.diag(variances.clamp_min(_LEAST_VARIANCE))
    return Mixture(x.new_zeros(1), means[None], covariance[None])


def _step(mixture: Mixture, x: Tensor, counts: Tensor, pooled: Tensor) -> Mixture:
    """Take a step of expectation maximisation, towards the covariance of all rows."""
    n_components, n_columns = mixture.means.shape
    totals = x.new_zeros(n_components)
    firsts = torch.zeros_like(mixture.means)
    seconds = torch.zeros_like(mixture.covariances)
    length = max(1, _MOST_ENTRIES // (n_components * n_columns**2))
    for rows, own in zip(x.split(length), counts.split(length), strict=True):
        given = mixture.given(rows)
        shares = given.log_probs.softmax(1) * own[:, None]
        totals += shares.sum(0)
        firsts += torch.einsum("nm,nmd->md", shares, given.means)
        seconds += torch.einsum("nm,nmd,nme->mde", shares, given.means, given.means)
        seconds += torch.einsum("nm,nmde->mde", shares, given.covariances)
    known = totals.clamp_min(1e-6)
    means = firsts / known[:, None]
    covariances = seconds / known[:, None, None] - means[:, :, None] * means[:, None]
    prior = _PRIOR_ROWS_OF_COLUMN * n_columns if n_components > 1 else 0.0
    covariances = (totals[:, None, None] * covariances + prior * pooled) / (
        totals[:, None, None].clamp_min(1e-6) + prior
    )
    covariances = (covariances + covariances.mT) / 2
    covariances.diagonal(dim1=-2, dim2=-1).add_(_LEAST_VARIANCE)
    log_shares = ((totals + 1e-3) / (totals + 1e-3).sum()).log()
    return Mixture(log_shares, means, covariances)


def _distant_rows(x: Tensor, n_rows: int, generator: torch.Generator) -> Tensor:
    """Return rows that lie apart, each drawn by its squared distance from those before."""
    chosen = [int(torch.randint(len(x), (1,), generator=generator))]
    distances = (x - x[chosen[0]]).square().sum(1)
    while len(chosen) < n_rows:
        at = int(torch.multinomial(distances.clamp_min(1e-12), 1, generator=generator))
        chosen.append(at)
        distances = torch.minimum(distances, (x - x[at]).square().sum(1))
    return x[chosen]


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None])[..., 0]
