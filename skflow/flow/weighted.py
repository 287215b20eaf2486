"""Means, variances and quantiles of rows that have weights.

A weight says how many rows a row stands for: of two, each statistic is that of the row and a copy.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mean", "quantiles", "row_counts", "var_mean"]

# Nothing that is estimated from more rows is any more certain in float32.
_MOST_COUNT = 1e9


def row_counts(weights: Tensor) -> Tensor:
    r"""Return how many rows each row stands for.

    These are the weights themselves, unless they add up to less than
    :math:`(\sum_i w_i)^2 / \sum_i w_i^2`, the number of rows without weights whose mean is as
    certain (Kish, 1965). They are scaled to that number then, so that small weights are not
    taken for few rows. Weights that add up to more than a billion are scaled to a billion.

    Parameters
    ----------
    weights : Tensor of shape (N,)
        Positive, float64.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow.weighted import row_counts
    >>> row_counts(torch.tensor([1.0, 2.0, 3.0]))
    tensor([1., 2., 3.])
    >>> row_counts(torch.tensor([0.25, 0.25, 0.25]))
    tensor([1., 1., 1.])
    """
    total = weights.sum()
    shares = weights / total
    return shares * (total.clamp_min(1 / shares.square().sum())).clamp_max(_MOST_COUNT)


def mean(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the means of the columns of `x`, of shape (N, D).

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows.
    weights : Tensor of shape (N,) or None, default=None
        The weights of the rows.
    """
    if weights is None:
        return x.mean(0)
    # From the first row on, so that the mean of a constant is exact.
    return x[0] + (weights.to(x.dtype) @ (x - x[0])) / weights.sum().to(x.dtype)


def var_mean(x: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the variances and the means of the columns of `x`, of shape (N, D).

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows.
    weights : Tensor of shape (N,) or None, default=None
        The weights of the rows.
    """
    if weights is None:
        variance, centre = torch.var_mean(x, 0, correction=0)
        return variance, centre
    centre = mean(x, weights)
    return mean((x - centre).square(), weights), centre


def quantiles(x: Tensor, levels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the quantiles of the columns of `x`, with linear interpolation.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows.
    levels : Tensor of shape (Q,)
        Between 0 and 1.
    weights : Tensor of shape (N,) or None, default=None
        Whole numbers give the quantiles of rows that are repeated so many times.

    Returns
    -------
    quantiles : Tensor of shape (Q, D)
        A row for each level.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow.weighted import quantiles
    >>> x, half = torch.tensor([[1.0], [2.0], [10.0]]), torch.tensor([0.5])
    >>> quantiles(x, half, weights=torch.tensor([1.0, 2.0, 1.0]))
    tensor([[2.]])
    """
    if weights is None:
        return torch.quantile(x, levels, dim=0)
    values, order = x.sort(0)
    ends = weights.to(x.dtype)[order].cumsum(0)
    position = levels.unsqueeze(1) * (ends[-1] - 1).clamp_min(0)
    below = position.floor()

    def repeated(k: Tensor) -> Tensor:
        # Of the repeated rows, the k-th from 0 is where the weights first exceed k.
        index = torch.searchsorted(ends.mT.contiguous(), k.mT.contiguous(), right=True)
        return values.gather(0, index.mT.clamp_max(len(x) - 1))

    return torch.lerp(repeated(below), repeated(below + 1), position - below)
