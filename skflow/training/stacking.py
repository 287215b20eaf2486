r"""A mixture of normal distributions that several fits share in, as held-out rows weigh them.

Fits with few components and with many, and several of each, make one mixture, whose weights
maximise the mean log-likelihood of rows that no fit has seen (P. Smyth and D. Wolpert, "Linearly
combining density estimators via stacking", Machine Learning 36, 1999). By Jensen's inequality the
mean of densities has a higher mean log-likelihood than the densities have in the mean, and what
chance makes of one fit is not what it makes of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from skflow.flow import Bijection, Components, NormalMixtureMap, fit_components
from skflow.flow.composition import composed
from skflow.flow.initialization import shrunk_whitening
from skflow.flow.weighted import mean
from skflow.training.groups import folds
from skflow.training.scores import winsorized

__all__ = ["Start", "gaussian", "stacked_start", "stacking_weights"]

# Each number of components is fitted so often, from so many sets of distant rows. The numbers
# double, as long as each component has as many rows as a mean and a row of a covariance have
# numbers, and until so many of them in a row were no better.
_N_FITS = 2
_N_TRIALS = 2
_PATIENCE = 2
_MOST_COMPONENTS = 256

# With fewer rows, each is held out once: there are so many folds. They weigh numbers of
# components, each of which is fitted to all rows so often: chance makes more of few rows.
_FOLDED_ROWS = 2000
_N_FOLDS = 5
_N_FITS_OF_FEW = 6

# Fits of less weight are left out.
_LEAST_WEIGHT = 0.01

# Steps of expectation maximisation for the weights, which are concave.
_WEIGHT_STEPS = 300

Before = Callable[[Tensor, Tensor | None], Bijection]


class Start(NamedTuple):
    """A density to start from."""

    log_probs: Tensor
    """The log-densities of rows that no fit has seen, in nats."""

    bijection: Bijection
    """What makes rows standard normal, if they follow the density."""


@torch.no_grad()
def stacked_start(
    x: Tensor,
    held_out: Tensor,
    generator: torch.Generator,
    counts: Tensor | None = None,
    before: Before | None = None,
    *,
    groups: Tensor | None = None,
    n_fits: int | None = None,
    most_components: int = _MOST_COMPONENTS,
) -> Start:
    """Fit mixtures of several numbers of components, and weigh them on held-out rows.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows to fit, as :class:`Standardize` makes them, in float64.
    held_out : Tensor of shape (M, D)
        Rows that choose the weights of the fits. With fewer than 2,000 rows in `x`, these choose
        them instead, in five folds.
    generator : torch.Generator
        Where the randomness comes from.
    counts : Tensor of shape (N,) or None, default=None
        How many rows each row stands for; by default one.
    before : callable or None, default=None
        Makes the bijection that stands before the mixture, from rows and from their counts.
    groups : Tensor of shape (N,) or None, default=None
        The group of each row of `x`, all of which come into the same fold. With one group alone,
        the held-out rows choose.
    n_fits : int or None, default=None
        How often each number of components is fitted. None is 2 if `held_out` chooses the weights,
        and else 6.
    most_components : int, default=256
        The largest number of components.

    Returns
    -------
    start : Start
        The stacked mixture.
    """
    first = None if before is None else before(x, counts)
    whitened = _Whitened(x, counts, first)
    of_one = groups is not None and bool((groups == groups[0]).all())
    if len(x) >= _FOLDED_ROWS or of_one:
        fits, log_probs = _fits_and_scores(
            whitened, held_out, generator, n_fits or _N_FITS, most_components
        )
        weights = stacking_weights(log_probs)
        log_prob = (log_probs + weights.log()).logsumexp(1)
    else:
        cut = folds(len(x), _N_FOLDS, generator, groups)
        sizes, log_probs = _scores_of_sizes(x, cut, generator, counts, before, most_components)
        of_sizes = stacking_weights(log_probs, counts)
        log_prob = (log_probs + of_sizes.log()).logsumexp(1)
        kept = [k for k, weight in enumerate(of_sizes) if weight >= _LEAST_WEIGHT]
        n_each = n_fits or _N_FITS_OF_FEW
        fits = [whitened.fit(sizes[k], generator) for k in kept for _ in range(n_each)]
        weights = of_sizes[kept].repeat_interleave(n_each) / n_each
    mixture = NormalMixtureMap.of(whitened.joined(fits, weights))
    return Start(log_prob, mixture if first is None else composed(first, mixture))


@torch.no_grad()
def gaussian(x: Tensor, counts: Tensor | None = None) -> NormalMixtureMap:
    """Fit the normal distribution whose covariance is shrunk as rows that are left out say.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows to fit, as :class:`Standardize` makes them, in float64.
    counts : Tensor of shape (N,) or None, default=None
        How many rows each row stands for; by default one.

    Returns
    -------
    bijection : NormalMixtureMap
        It has one component, and makes such rows standard normal.
    """
    whitened = _Whitened(x, counts, None)
    fit = whitened.standard_normal()
    return NormalMixtureMap.of(whitened.joined([fit], torch.ones_like(fit.log_weights)))


def stacking_weights(
    log_probs: Tensor,
    counts: Tensor | None = None,
    *,
    n_steps: int = _WEIGHT_STEPS,
    tolerance: float = 0.0,
) -> Tensor:
    r"""Return the weights of densities that maximise the likelihood of their mixture.

    One row in all counts for every density alike, so that chance does not choose one of several
    that are about as good.

    Parameters
    ----------
    log_probs : Tensor of shape (N, M)
        The log-density of each row by each of M densities, in nats.
    counts : Tensor of shape (N,) or None, default=None
        How many rows each row stands for; by default one.
    n_steps : int, default=300
        The most steps of expectation maximisation, of O(N·M) each.
    tolerance : float, default=0.0
        The nats per row by which the weights may fall short of the best ones before `n_steps`.

    Returns
    -------
    weights : Tensor of shape (M,)
        They add up to 1.
    """
    n, m = log_probs.shape
    total = n if counts is None else float(counts.sum())
    weights = log_probs.new_full((m,), 1 / m)
    for _ in range(n_steps):
        shares = (log_probs + weights.log()).softmax(1)
        sums = shares.sum(0) if counts is None else counts @ shares
        previous, weights = weights, (sums + 1 / m) / (total + 1)
        # A step multiplies each weight by the slope of the likelihood along it. The likelihood is
        # concave, and its slope along the weights is 1, so that no more than this is left to gain.
        if float((weights / previous).max()) - 1 <= tolerance:
            break
    return weights


def _sizes(n_rows: float, n_features: int, most_components: int) -> Iterator[int]:
    """Yield the numbers of components to try."""
    most = min(most_components, n_rows / (n_features + 1))
    size = 1
    while size <= max(1, most):
        yield size
        size *= 2


class _Whitened:
    """Rows behind a bijection and whitened, and mixtures of them.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows.
    counts : Tensor of shape (N,) or None
        How many rows each row stands for, if not one.
    first : Bijection or None
        What stands before the whitening.
    """

    def __init__(self, x: Tensor, counts: Tensor | None, first: Bijection | None) -> None:
        self.first = first
        self.counts = counts
        x = x if first is None else first(x)
        self.centre = mean(x, counts)
        self.whitening, self.log_det = shrunk_whitening(x, counts)
        self.z = (x - self.centre) @ self.whitening

    def fit(self, n_components: int, generator: torch.Generator) -> Components:
        """Return a mixture of so many components, behind the whitening."""
        if n_components == 1:  # what the whitening is shrunk for, and not the sample's covariance
            return self.standard_normal()
        return fit_components(self.z, n_components, generator, self.counts, most_trials=_N_TRIALS)

    def standard_normal(self) -> Components:
        """Return the mixture of one component that the whitening makes of normal rows."""
        identity = torch.eye(self.z.shape[1], dtype=self.z.dtype, device=self.z.device)
        return Components(
            identity.new_zeros(1), identity.new_zeros(1, len(identity)), identity[None]
        )

    def log_prob(self, fit: Components, x: Tensor) -> Tensor:
        """Return the log-density of rows, of shape (N,), in nats."""
        log_det = self.log_det
        if self.first is not None:
            x, term = self.first.forward_and_log_det(x)
            log_det = log_det + term
        return fit.log_prob((x - self.centre) @ self.whitening) + log_det

    def joined(self, fits: list[Components], weights: Tensor) -> Components:
        """Return the mixture of the fits that have some weight, behind the first bijection."""
        kept = [k for k, weight in enumerate(weights) if weight >= _LEAST_WEIGHT / _N_FITS_OF_FEW]
        log_weights = torch.cat([fits[k].log_weights + weights[k].log() for k in kept])
        means = torch.cat([fits[k].means for k in kept])
        factors = torch.cat([fits[k].precision_factors for k in kept]) @ self.whitening
        # Triangular again: the inverse of the covariance's Cholesky factor.
        roots = torch.linalg.inv(factors)
        factors = torch.linalg.inv(torch.linalg.cholesky(roots @ roots.mT)).tril()
        means = means @ torch.linalg.inv(self.whitening) + self.centre
        return Components(log_weights - log_weights.logsumexp(0), means, factors)


def _fits_and_scores(
    rows: _Whitened, held_out: Tensor, generator: torch.Generator, n_fits: int, most: int
) -> tuple[list[Components], Tensor]:
    """Return fits to all rows, and the log-densities of held-out rows, of shape (M, fits)."""
    fits: list[Components] = []
    scores: list[Tensor] = []
    search = _Search()
    for size in _sizes(len(rows.z), rows.z.shape[1], most):
        some = [rows.fit(size, generator) for _ in range(n_fits)]
        fits += some
        scores += [rows.log_prob(fit, held_out) for fit in some]
        if search.ends(max(float(winsorized(score).mean()) for score in scores[-n_fits:])):
            break
    return fits, torch.stack(scores, 1)


def _scores_of_sizes(
    x: Tensor,
    cut: list[Tensor],
    generator: torch.Generator,
    counts: Tensor | None,
    before: Before | None,
    most: int,
) -> tuple[list[int], Tensor]:
    """Return numbers of components, and the rows' log-densities by fits to other rows."""
    parts = []
    for fold in cut:
        rest = torch.ones(len(x), dtype=torch.bool, device=x.device)
        rest[fold] = False
        own = None if counts is None else counts[rest]
        first = None if before is None else before(x[rest], own)
        parts.append((fold, _Whitened(x[rest], own, first)))
    sizes: list[int] = []
    scores: list[Tensor] = []
    search = _Search()
    for size in _sizes(len(parts[-1][1].z), x.shape[1], most):
        log_probs = x.new_empty(len(x))
        for fold, rows in parts:
            log_probs[fold] = rows.log_prob(rows.fit(size, generator), x[fold])
        sizes.append(size)
        scores.append(log_probs)
        if search.ends(float(mean(winsorized(log_probs), counts))):
            break
    return sizes, torch.stack(scores, 1)


class _Search:
    """Ends when so many sizes in a row were no better."""

    def __init__(self) -> None:
        self.best = -torch.inf
        self.n_worse = 0

    def ends(self, score: float) -> bool:
        self.n_worse = 0 if score > self.best else self.n_worse + 1
        self.best = max(self.best, score)
        return self.n_worse >= _PATIENCE
