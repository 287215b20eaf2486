"""Mixtures of normal distributions of rows with holes, and their conditionals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Mixture", "choose_mixture"]

# Of more rows, some are enough. A component has so many rows for each of its columns.
_MOST_ROWS = 4000
_ROWS_OF_COLUMN = 3
_MOST_COMPONENTS = 32
# Of more columns there is one component, as a step takes time with the cube of the columns.
_MOST_COLUMNS = 64
_N_STEPS = 30
# Steps after which mixtures are compared.
_N_FIRST_STEPS = 10

# Rows that each covariance counts as if they had the covariance within all components, by column;
# and rows that this one counts as if columns had no correlations.
_PRIOR_ROWS_OF_COLUMN = 1.0
_PRIOR_ROWS_WITHOUT_CORRELATION = 0.3
_LEAST_VARIANCE = 1e-6

# A component does not learn from a row that it has a lesser share in.
_LEAST_SHARE = 1e-4

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

    def widened(self, width: float) -> Mixture:
        """Return the mixture with other standard deviations.

        Parameters
        ----------
        width : float
            By what they are multiplied.
        """
        return self._replace(covariances=width**2 * self.covariances)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of rows without holes.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        """
        return self._whole_log_probs(x).logsumexp(1)

    def log_probs(self, x: Tensor) -> Tensor:
        """Return the log-density of what is observed by each component, times its share.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            NaN where an entry is missing.

        Returns
        -------
        log_probs : Tensor of shape (N, M)
            Of which the log-sum is the log-density.
        """
        log_probs = x.new_empty(len(x), len(self.means))
        whole = ~x.isnan().any(1)
        log_probs[whole] = self._whole_log_probs(x[whole])
        log_probs[~whole] = self._holed_log_probs(x[~whole])
        return log_probs

    def regressions(self, x: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Return what components say of what is missing in rows, given what is observed.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            NaN where an entry is missing.
        which : Tensor of shape (N,), of ints
            One component for each row.

        Returns
        -------
        means : Tensor of shape (N, D)
            Where an entry is observed, that entry.
        covariances : Tensor of shape (N, D, D)
            Zero where an entry is observed.
        """
        filled, rest = x.clone(), x.new_zeros(*x.shape, x.shape[1])
        holed = x.isnan().any(1)
        x, which = x[holed], which[holed]
        observed = ~x.isnan()
        across, along = observed[:, :, None], observed[:, None, :]
        covariances, means = self.covariances[which], self.means[which]
        identity = torch.eye(x.shape[1], dtype=x.dtype)
        factors = torch.linalg.cholesky(torch.where(across & along, covariances, identity))
        cross = torch.where(~across & along, covariances, 0.0)
        gains = torch.cholesky_solve(cross.mT, factors).mT
        centred = torch.where(observed, x.nan_to_num() - means, 0.0)
        filled[holed] = torch.where(observed, x.nan_to_num(), means + _times(gains, centred))
        rest[holed] = torch.where(~across & ~along, covariances - gains @ cross.mT, 0.0)
        return filled, rest

    def complete(self, x: Tensor, u: Tensor) -> Tensor:
        """Draw what is missing in rows, as uniform numbers say.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            NaN where an entry is missing.
        u : Tensor of shape (N, n_samples, 1 + D)
            Between 0 and 1: which component it is, and where in it.

        Returns
        -------
        completed : Tensor of shape (N, n_samples, D)
            The rows.
        """
        n_samples, n_columns = u.shape[1], x.shape[1]
        length = max(1, _MOST_ENTRIES // (max(n_samples, len(self.means)) * n_columns**2))
        parts = zip(x.split(length), u.split(length), strict=True)
        return torch.cat([self._completed(*part) for part in parts])

    def _completed(self, x: Tensor, u: Tensor) -> Tensor:
        below = self.log_probs(x).softmax(1).cumsum(1)[:, None, :-1]
        which = (u[:, :, :1] >= below).sum(-1)
        rows = torch.arange(len(x))[:, None].expand_as(which)
        # A component's regression is computed once for each row that it is drawn for.
        pairs, place = (rows * len(self.means) + which).unique(return_inverse=True)
        row, component = pairs // len(self.means), pairs % len(self.means)
        means, covariances = self.regressions(x[row], component)
        missing = x.isnan()
        known = torch.diag_embed((~missing[row]).to(x.dtype))
        factors = torch.linalg.cholesky(covariances + known)
        noise = torch.where(missing[:, None], torch.special.ndtri(u[:, :, 1:]), 0.0)
        return means[place] + _times(factors[place], noise)

    def _whole_log_probs(self, x: Tensor) -> Tensor:
        factors = torch.linalg.cholesky(self.covariances)
        identity = torch.eye(x.shape[1], dtype=x.dtype)
        whiteners = torch.linalg.solve_triangular(factors, identity, upper=False)
        log_dets = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constants = self.log_shares - log_dets - 0.5 * math.log(2 * math.pi) * x.shape[1]
        each = [
            constant - 0.5 * ((x - mean) @ whitener.T).square().sum(1)
            for constant, mean, whitener in zip(constants, self.means, whiteners, strict=True)
        ]
        return torch.stack(each, 1)

    def _holed_log_probs(self, x: Tensor) -> Tensor:
        observed = ~x.isnan()
        both = (observed[:, :, None] & observed[:, None, :])[:, None]
        # What is missing is replaced by a variance of one without any correlation.
        identity = torch.eye(x.shape[1], dtype=x.dtype)
        factors = torch.linalg.cholesky(torch.where(both, self.covariances, identity))
        centred = torch.where(observed[:, None], x[:, None].nan_to_num() - self.means, 0.0)
        whitened = torch.linalg.solve_triangular(factors, centred[..., None], upper=False)[..., 0]
        return (
            self.log_shares
            - 0.5 * whitened.square().sum(-1)
            - factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            - 0.5 * math.log(2 * math.pi) * observed.sum(1, dtype=x.dtype)[:, None]
        )


def choose_mixture(
    versions: Sequence[tuple[Tensor, Tensor]],
    counts: Tensor | None,
    generator: torch.Generator,
) -> tuple[int, Mixture]:
    """Fit mixtures to rows with holes by expectation maximisation, and choose one of them.

    A fifth of the rows chooses the number of components, and on which scale of the columns.

    Parameters
    ----------
    versions : sequence of (Tensor of shape (N, D), Tensor of shape (N,))
        The same rows on several scales, standardised, in float64, NaN where an entry is missing;
        and what is added to their log-densities to compare them.
    counts : Tensor of shape (N,) or None
        How many rows each row stands for; None is one each.
    generator : torch.Generator
        Where the randomness comes from.

    Returns
    -------
    which : int
        The scale.
    mixture : Mixture
        Fitted to all rows there.

    Notes
    -----
    Cost: O(N·M·D³) a step, for M components.
    """
    n_rows, n_columns = versions[0][0].shape
    some = torch.randperm(n_rows, generator=generator)[:_MOST_ROWS]
    counts = versions[0][0].new_ones(len(some)) if counts is None else counts[some]
    versions = [(x[some], log_dets[some]) for x, log_dets in versions]
    most = 1
    if n_columns <= _MOST_COLUMNS:
        most = max(1, min(_MOST_COMPONENTS, len(some) // (_ROWS_OF_COLUMN * n_columns)))
    n_held_out = len(some) // 5
    if len(versions) == most == 1:
        return 0, _fitted(versions[0][0], counts, 1, generator, _N_STEPS)
    found: list[tuple[float, int, int]] = []
    for which, (x, log_dets) in enumerate(versions):
        before = -math.inf
        for size in (2**k for k in range(most.bit_length())):
            one = _fitted(x[n_held_out:], counts[n_held_out:], size, generator, _N_FIRST_STEPS)
            scores = one.log_probs(x[:n_held_out]).logsumexp(1) + log_dets[:n_held_out]
            score = float(counts[:n_held_out] @ scores)
            found.append((score, which, size))
            if score < before:
                break
            before = score
    _, which, size = max(found, key=lambda one: one[0])
    return which, _fitted(versions[which][0], counts, size, generator, _N_STEPS)


def _fitted(
    x: Tensor, counts: Tensor, n_components: int, generator: torch.Generator, n_steps: int
) -> Mixture:
    """Fit a mixture of so many components."""
    mixture = _normal(x, counts)
    # Without holes, a step is enough for one component.
    has_holes = bool(x.isnan().any())
    for _ in range((n_steps if n_components == 1 else 3) if has_holes else 1):
        mixture = _step(mixture, x, counts)
    if n_components == 1:
        return mixture
    pairs = torch.zeros(len(x), dtype=torch.long)
    filled, _ = mixture.regressions(x, pairs)
    mixture = Mixture(
        x.new_full((n_components,), -math.log(n_components)),
        _distant_rows(filled, n_components, generator),
        mixture.covariances.expand(n_components, -1, -1) / n_components ** (2 / x.shape[1]),
    )
    for _ in range(n_steps):
        mixture = _step(mixture, x, counts)
    return mixture


def _normal(x: Tensor, counts: Tensor) -> Mixture:
    """Return the normal distribution of columns without correlations."""
    present = (~x.isnan()).double() * counts[:, None]
    total = present.sum(0).clamp_min(1e-12)
    means = (present * x.nan_to_num()).sum(0) / total
    variances = (present * (x.nan_to_num() - means).square()).sum(0) / total
    covariance = torch.diag(variances.clamp_min(_LEAST_VARIANCE))
    return Mixture(x.new_zeros(1), means[None], covariance[None])


def _step(mixture: Mixture, x: Tensor, counts: Tensor) -> Mixture:
    """Take a step of expectation maximisation, with a prior on the covariances."""
    n_components, n_columns = mixture.means.shape
    totals = x.new_zeros(n_components)
    firsts = torch.zeros_like(mixture.means)
    seconds = torch.zeros_like(mixture.covariances)
    length = max(1, _MOST_ENTRIES // (n_components * n_columns**2))
    for rows, own in zip(x.split(length), counts.split(length), strict=True):
        shares = mixture.log_probs(rows).softmax(1)
        shares = torch.where(shares < _LEAST_SHARE, 0.0, shares)
        row, component = shares.nonzero(as_tuple=True)
        filled, rest = mixture.regressions(rows[row], component)
        weights = (own[:, None] * shares / shares.sum(1, keepdim=True))[row, component]
        totals.index_add_(0, component, weights)
        firsts.index_add_(0, component, weights[:, None] * filled)
        outer = filled[:, :, None] * filled[:, None] + rest
        seconds.index_add_(0, component, weights[:, None, None] * outer)
    known = totals.clamp_min(1e-6)[:, None]
    means = firsts / known
    scatters = seconds - totals[:, None, None] * means[:, :, None] * means[:, None]
    # Towards the covariance within components, and of this one towards no correlations.
    within = scatters.sum(0) / totals.sum()
    prior = _PRIOR_ROWS_WITHOUT_CORRELATION * n_columns
    lone = torch.diag(within.diagonal())
    within = (totals.sum() * within + prior * lone) / (totals.sum() + prior)
    prior = _PRIOR_ROWS_OF_COLUMN * n_columns
    covariances = (scatters + prior * within) / (totals[:, None, None] + prior)
    if n_components == 1:
        covariances = within[None]
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
