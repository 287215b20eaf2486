"""A density of independent columns that is too stiff to learn a clump of rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import StudentT

from skflow.flow import Flow, Standardize
from skflow.flow.composition import composed
from skflow.flow.weighted import quantiles, row_counts
from skflow.training.rows import Rows
from skflow.training.standardization import standardization

__all__ = ["independent_columns"]

# More rows do not tell a median or quartiles any better.
_MOST_ROWS = 10_000

# The fewest whole degrees of freedom that have a variance, and the quartiles of such a column.
_DEGREES_OF_FREEDOM = 3.0
_QUARTILE = 0.7648923

# Silverman's bandwidth for a column of unit variance: so much, times the number of rows to the
# power of -1/5.
_BANDWIDTH = 0.9


@torch.no_grad()
def independent_columns(x: Tensor, weights: Tensor | None = None) -> Flow:
    """Return the density of independent columns, each of Student's t with 3 degrees of freedom.

    Medians and quartiles set the places and the scales, which a quarter of the rows cannot
    move far. Each column has one mode, so that rows that lie apart do not make one of their own.
    Tails of columns are bent first, and positive ones go through their logarithm, as a flow has
    them.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows. Of more than 10,000, as many are drawn.
    weights : Tensor of shape (N,) or None, default=None
        How many rows each of them stands for. Positive; by default one.

    Returns
    -------
    density : Flow
        In float64, on the CPU.

    Notes
    -----
    Where half of the values are about the same, a scale is no less than the bandwidth of a kernel
    density by Silverman's rule. Cost: a sort of each column.

    Examples
    --------
    >>> import torch
    >>> from skflow.training.independent import independent_columns
    >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> x[:100] = 5.0  # a fifth of the rows
    >>> density = independent_columns(x)
    >>> likely, unlikely = density.log_prob(torch.tensor([[0.0, 0.0], [5.0, 5.0]]).double())
    >>> bool(likely > unlikely + 2)
    True
    """
    if len(x) > _MOST_ROWS:
        generator = torch.Generator().manual_seed(0)
        some = torch.randperm(len(x), generator=generator)[:_MOST_ROWS]
        x, weights = x[some.to(x.device)], None if weights is None else weights[some]
    x = x.cpu().double().contiguous()
    counts = None if weights is None else row_counts(weights.cpu())
    front = standardization(Rows(x, weights=weights), robust=True)
    levels = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    low, median, high = quantiles(front(x), levels, counts)
    n = len(x) if counts is None else float(counts.sum())
    scale = ((high - low) / (2 * _QUARTILE)).clamp_min(_BANDWIDTH * n**-0.2)
    base = StudentT(torch.tensor(_DEGREES_OF_FREEDOM, dtype=torch.float64))
    return Flow([composed(front, Standardize(median, scale))], base, n_features=x.shape[1])
