"""Where the weights of a flow start, as some of its rows say."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skflow.flow import (
    Bijection,
    ElementwiseSpline,
    Flow,
    LinearStack,
)
from skflow.flow.weighted import row_counts
from skflow.training.rows import Rows
from skflow.training.scores import log_probs, weighted_mean, winsorized
from skflow.training.stacking import stacked_start

__all__ = ["simple_start", "start", "start_as_identity"]

# Rows count as if they were no further out than this, in units of the standard deviation.
_FARTHEST = 8.0

# Splines come first if they are better by more than so many standard errors.
_STANDARD_ERRORS = 1.0
_COMPARED_ROWS = 3000
_MIXTURE_ROWS = 10_000

# What the weights start from. Of more columns than this, no covariance matrix is formed.
_START_ROWS = 20_000
_MOST_FACTORED_COLUMNS = 4096
_START_ROWS_OF_MANY_COLUMNS = 2048

# From so many on, no start is compared with another: they tell their quantiles well enough.
_MANY_START_ROWS = 10_000

# From how many of them the sharpness of the base distribution is estimated.
_SHARPNESS_ROWS = 256


@torch.no_grad()
def start(
    flow: Flow,
    rows: Rows,
    validation: Rows,
    generator: torch.Generator,
    *,
    continued: bool = False,
) -> float:
    """Let a flow start from some of its rows.

    Parameters
    ----------
    flow : Flow
        Changed in place.
    rows : Rows
        The rows to learn from, in random order.
    validation : Rows
        The rows that are held out, which choose between starts; there may be none.
    generator : torch.Generator
        Where the randomness comes from.
    continued : bool, default=False
        Whether the flow goes on from where it is.

    Returns
    -------
    sharpness : float
        That of the base distribution at the latents of the rows.
    """
    some = torch.arange(_n_start_rows(rows))
    x, weights = rows.take(some), rows.take_weights(some)
    if weights is not None:
        weights = row_counts(weights).to(x.device)
    if not continued:
        _initialize(flow, x, weights, validation, generator)
    x = x[:_SHARPNESS_ROWS]
    return flow.sharpness(x, None if weights is None else weights[:_SHARPNESS_ROWS])


@torch.no_grad()
def simple_start(
    rows: Rows, validation: Rows, generator: torch.Generator, *, n_bins: int
) -> Bijection | None:
    """Find the likeliest of the simple densities that a flow may start from.

    They are stacked mixtures of normal distributions: of the rows as they are, and of rows whose
    columns splines have made normal.

    Parameters
    ----------
    rows : Rows
        The rows to learn from, in random order.
    validation : Rows
        The rows that are held out.
    generator : torch.Generator
        Where the randomness comes from.
    n_bins : int
        The bins of the splines.

    Returns
    -------
    bijection : Bijection
        It makes the rows standard normal, as far as the density is theirs. It does not train.
    """

    def splines(x: Tensor, counts: Tensor | None) -> Bijection:
        spline = ElementwiseSpline(
            x.shape[1], n_bins=n_bins, init="quantiles", dtype=torch.float64
        )
        spline.to(x.device).initialize(x, generator, counts)
        return spline.requires_grad_(False)

    some = torch.arange(min(_MIXTURE_ROWS, len(rows)))
    x, weights = rows.take(some).double().clamp(-_FARTHEST, _FARTHEST), rows.take_weights(some)
    held_out = validation.take(torch.arange(len(validation))).double()
    if not len(held_out):
        n_held_out = len(x) // 10
        held_out, x = x[:n_held_out], x[n_held_out:]
        weights = None if weights is None else weights[n_held_out:]
    counts = None if weights is None else row_counts(weights).to(x.device)
    few = slice(_COMPARED_ROWS if len(x) > 2 * _COMPARED_ROWS else len(x))
    few_counts = None if counts is None else counts[few]
    state = generator.get_state()
    plain = stacked_start(x[few], held_out, generator, few_counts)
    generator.set_state(state)
    bent = stacked_start(x[few], held_out, generator, few_counts, splines)
    difference = winsorized(bent.log_probs) - winsorized(plain.log_probs)
    least = _STANDARD_ERRORS * float(difference.std()) / math.sqrt(len(difference))
    if float(difference.mean()) > least:
        return None
    if len(x) > 2 * _COMPARED_ROWS:
        plain = stacked_start(x, held_out, generator, counts)
    return plain.bijection


def start_as_identity(flow: Flow) -> None:
    """Let the flow start as a map that leaves standard normal rows as they are.

    Parameters
    ----------
    flow : Flow
        Of splines, couplings and dense layers.
    """
    for bijection in flow.bijections:
        if isinstance(bijection, ElementwiseSpline):
            bijection.start_from = "identity"
        elif isinstance(bijection, LinearStack):
            bijection.start_from = "rotation"


def _initialize(
    flow: Flow, x: Tensor, weights: Tensor | None, validation: Rows, generator: torch.Generator
) -> None:
    """Take the likeliest of the starts that the first bijection has to offer."""
    flow.initialize(x, generator, weights)
    first = flow.bijections[0] if flow.bijections else None
    if first is None or not first.starts or not len(validation) or len(x) >= _MANY_START_ROWS:
        return
    if any(b.start_from == "rotation" for b in flow.bijections if isinstance(b, LinearStack)):
        return
    best, best_score = first.start_from, _score(flow, validation)
    for kind in [kind for kind in first.starts if kind != best]:
        first.start_from = kind
        flow.initialize(x, generator, weights)
        score = _score(flow, validation)
        if score > best_score:
            best, best_score = kind, score
    if first.start_from != best:
        first.start_from = best
        flow.initialize(x, generator, weights)


def _score(flow: Flow, validation: Rows) -> float:
    return weighted_mean(winsorized(log_probs(flow, validation)), validation)


def _n_start_rows(rows: Rows) -> int:
    """Return how many rows the start is computed from, so that it stays cheap beside the fit."""
    d = rows.n_features
    wide = d > _MOST_FACTORED_COLUMNS
    return min(len(rows), _START_ROWS_OF_MANY_COLUMNS if wide else max(_START_ROWS, 10 * d))
