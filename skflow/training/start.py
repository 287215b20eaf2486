"""Where the weights of a flow start, as some of its rows say."""

from __future__ import annotations

import torch
from torch import Tensor

from skflow.flow import (
    Flow,
)
from skflow.flow.weighted import row_counts
from skflow.training.rows import Rows
from skflow.training.scores import log_probs, weighted_mean, winsorized

__all__ = ["n_start_rows", "start"]


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
    neutral: bool = False,
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
    neutral : bool, default=False
        Whether the rows are standard normal, as far as is known, and the flow leaves them so.

    Returns
    -------
    sharpness : float
        That of the base distribution at the latents of the rows.
    """
    some = torch.arange(n_start_rows(len(rows), rows.n_features))
    x, weights = rows.take(some), rows.take_weights(some)
    if weights is not None:
        weights = row_counts(weights).to(x.device)
    if neutral:
        for bijection in flow.bijections:
            bijection.start_neutral()
        flow.initialize(x, generator, weights)
    elif not continued:
        _initialize(flow, x, weights, validation, generator)
    x = x[:_SHARPNESS_ROWS]
    return flow.sharpness(x, None if weights is None else weights[:_SHARPNESS_ROWS])


def _initialize(
    flow: Flow, x: Tensor, weights: Tensor | None, validation: Rows, generator: torch.Generator
) -> None:
    """Take the likeliest of the starts that the first bijection has to offer."""
    flow.initialize(x, generator, weights)
    first = flow.bijections[0] if flow.bijections else None
    if first is None or not first.starts or not len(validation) or len(x) >= _MANY_START_ROWS:
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


def n_start_rows(n_rows: int, n_features: int) -> int:
    """Return how many rows the start is computed from, so that it stays cheap beside the fit.

    Parameters
    ----------
    n_rows : int
        The number of rows to learn from.
    n_features : int
        The number of columns.
    """
    wide = n_features > _MOST_FACTORED_COLUMNS
    return min(n_rows, _START_ROWS_OF_MANY_COLUMNS if wide else max(_START_ROWS, 10 * n_features))
