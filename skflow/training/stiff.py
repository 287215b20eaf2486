"""Densities that are too stiff to learn a clump of rows: independent columns, and normal ranks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import StudentT

from skflow.flow import Bijection, ElementwiseSpline, Flow, LinearStack, Normal, Standardize
from skflow.flow.composition import composed
from skflow.flow.weighted import quantiles, row_counts
from skflow.training.rows import Rows
from skflow.training.standardization import standardization

__all__ = ["stiff_densities"]

# More rows do not tell quantiles or correlations much better.
_MOST_ROWS = 10_000

# The fewest whole degrees of freedom that have a variance, and the upper quartile of these.
_DEGREES_OF_FREEDOM = 3.0
_QUARTILE = 0.7648923

# Silverman's bandwidth for a column of unit variance: so much, times the number of rows to the
# power of -1/5. For quantiles, the kernel is cut into so many parts of equal probability.
_BANDWIDTH = 0.9
_KERNEL_PARTS = 8

_N_BINS = 16


@torch.no_grad()
def stiff_densities(x: Tensor, weights: Tensor | None = None) -> tuple[Flow, Flow]:
    """Return two densities in closed form, of columns by themselves and of their correlations.

    The first is of independent columns, each of Student's t with 3 degrees of freedom. Medians
    and quartiles set the places and the scales, which a quarter of the rows cannot move far. Each
    column has one mode, so that rows that lie apart do not make one of their own.

    The second is a normal copula: a spline makes each column normal, and behind it there is a
    shrunk covariance of normal scores. The splines follow the quantiles of a kernel density with
    Silverman's bandwidth, so that a value that repeats has no density without bounds.

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
    columns, copula : Flow
        In float64, on the CPU.

    Notes
    -----
    Cost: a sort of each column, O(N·D²) and O(D³).

    Examples
    --------
    >>> import torch
    >>> from skflow.training.stiff import stiff_densities
    >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> x[:, 1] = x[:, 0] + 0.1 * x[:, 1]  # nearly equal
    >>> columns, copula = stiff_densities(x)
    >>> odd = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double()
    >>> bool(columns.log_prob(odd).diff().abs() < 0.5)  # each entry by itself is usual
    True
    >>> bool(copula.log_prob(odd).diff() < -20)
    True
    """
    if len(x) > _MOST_ROWS:
        generator = torch.Generator().manual_seed(0)
        some = torch.randperm(len(x), generator=generator)[:_MOST_ROWS]
        x, weights = x[some.to(x.device)], None if weights is None else weights[some]
    x = x.cpu().double().contiguous()
    counts = None if weights is None else row_counts(weights.cpu())
    front = standardization(Rows(x, weights=weights), robust=True)
    z = front(x)
    n = len(x) if counts is None else float(counts.sum())
    bandwidth = _BANDWIDTH * n**-0.2
    return _columns(front, z, counts, bandwidth), _copula(front, z, counts, bandwidth)


def _columns(front: Bijection, z: Tensor, counts: Tensor | None, least_scale: float) -> Flow:
    levels = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    low, median, high = quantiles(z, levels, counts)
    # Where half of the values are the same, quartiles tell no scale.
    scale = ((high - low) / (2 * _QUARTILE)).clamp_min(least_scale)
    base = StudentT(torch.tensor(_DEGREES_OF_FREEDOM, dtype=torch.float64))
    columns = Flow([composed(front, Standardize(median, scale))], base, n_features=z.shape[1])
    return columns.requires_grad_(False)


def _copula(front: Bijection, z: Tensor, counts: Tensor | None, bandwidth: float) -> Flow:
    d = z.shape[1]
    spline = ElementwiseSpline(d, n_bins=_N_BINS, init="quantiles", dtype=torch.float64)
    dense = LinearStack(1, d, init="whiten", dtype=torch.float64)
    levels = (torch.arange(_KERNEL_PARTS, dtype=z.dtype) + 0.5) / _KERNEL_PARTS
    shifts = bandwidth * torch.special.ndtri(levels)
    blurred = torch.cat([z + shift for shift in shifts])  # each column by itself
    generator = torch.Generator()  # neither draws from it
    spline.initialize(blurred, generator, None if counts is None else counts.repeat(_KERNEL_PARTS))
    # As ranks have it, no row lies farther out than the extremes of so many normal rows.
    n = len(z) if counts is None else float(counts.sum())
    extreme = float(torch.special.ndtri(torch.tensor(1 - 0.5 / n, dtype=torch.float64)))
    dense.initialize(spline(z).clamp(-extreme, extreme), generator, counts)
    return Flow([front, spline, dense], Normal(), n_features=d).requires_grad_(False)
