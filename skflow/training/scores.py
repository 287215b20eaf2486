"""Log-likelihoods of rows, their mean, and how far chance moves it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skflow.flow.network import Flow
from skflow.training.rows import Rows

__all__ = ["log_probs", "mean_log_prob", "standard_error", "weighted_mean", "winsorized"]

# Fewer rows say nothing of how far chance moves their mean.
_FEWEST_ROWS = 3

# A log-likelihood counts as no less than so many times the distance from the median to the lowest
# tenth below the median. Normal rows of one column lie below that in one of 50,000 cases, and of
# more columns less often.
_LEAST_DISTANCE = 8.0

# So many values say where that is: of more, PyTorch has no quantiles.
_MOST_RANKED = 2**24


@torch.no_grad()
def log_probs(flow: Flow, rows: Rows) -> Tensor:
    """Return the log-likelihood of each row, in the units of the data.

    Parameters
    ----------
    flow : Flow
        The flow behind the first bijection of `rows`.
    rows : Rows
        The rows.

    Returns
    -------
    log_probs : Tensor of shape (N,)
        In nats, float64, on the CPU.
    """
    with flow.unchanged():
        blocks = [flow.log_prob(x).double() + log_det for x, log_det in rows.blocks()]
        return torch.cat(blocks).cpu()


def mean_log_prob(flow: Flow, rows: Rows) -> float:
    """Return the mean log-likelihood of `rows` in nats, by their weights if they have any.

    Parameters
    ----------
    flow : Flow
        The flow behind the first bijection of `rows`.
    rows : Rows
        The rows.
    """
    return weighted_mean(log_probs(flow, rows), rows)


def weighted_mean(values: Tensor, rows: Rows) -> float:
    """Return the mean of a value for each row, by the weights of the rows if they have any.

    Parameters
    ----------
    values : Tensor of shape (N,)
        The values, float64.
    rows : Rows
        The rows.
    """
    weights = rows.take_weights()
    return float(values.mean() if weights is None else (values @ weights) / weights.sum())


def standard_error(values: Tensor, rows: Rows) -> float:
    """Return the standard error of :func:`weighted_mean`; infinite of one or two rows.

    Parameters
    ----------
    values : Tensor of shape (N,)
        The values, float64.
    rows : Rows
        The rows.
    """
    if len(values) < _FEWEST_ROWS:
        return math.inf
    weights = rows.take_weights()
    shares = torch.ones_like(values) if weights is None else weights
    deviations = shares * (values - weighted_mean(values, rows))
    return float(torch.linalg.vector_norm(deviations) / shares.sum())


def winsorized(values: Tensor) -> Tensor:
    """Raise the lowest of some log-likelihoods to a floor, so that no row outvotes the rest.

    Parameters
    ----------
    values : Tensor of shape (N,)
        The log-likelihoods of rows in random order, in nats.

    Returns
    -------
    values : Tensor of shape (N,)
        The floor lies eight times as far below the median as the lowest tenth does.
    """
    tenth, median = torch.quantile(values[:_MOST_RANKED], values.new_tensor([0.1, 0.5]))
    floor = median - _LEAST_DISTANCE * (median - tenth)
    return torch.where(values < floor, floor, values) if torch.isfinite(floor) else values
