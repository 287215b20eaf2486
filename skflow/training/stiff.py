"""Densities that are too stiff to learn a clump of rows: of each column, and of pairs of columns."""

from __future__ import annotations

import torch
from torch import Tensor

from skflow.flow import ElementwiseSpline, Flow, LinearStack, Normal
from skflow.flow.blocks import block_length
from skflow.flow.weighted import row_counts
from skflow.training.rows import Rows
from skflow.training.standardization import standardization

__all__ = ["StiffDensities"]

# More rows do not tell a margin or a correlation any better.
_MOST_ROWS = 10_000

_N_BINS = 16

# Silverman's bandwidth is so much, times the number of rows to the power of -1/5, for a column
# of unit variance. The kernel is cut into so many parts of equal probability.
_BANDWIDTH = 0.9
_KERNEL_PARTS = 8


class StiffDensities:
    """Two densities of rows in closed form: independent columns, and a normal copula.

    Each column is brought to one scale and goes through a spline that makes it about normal: that
    is the first density. The second is normal behind the same splines, with a shrunk covariance.
    The quantiles that the splines map are those of a kernel density with Silverman's bandwidth,
    so that a value that repeats does not have a density without bounds.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows. Of more than 10,000, as many are drawn.
    weights : Tensor of shape (N,) or None, default=None
        How many rows each of them stands for. Positive; by default one.

    Attributes
    ----------
    margins : Flow
        The density of independent columns.
    copula : Flow
        The density with correlated columns.

    Notes
    -----
    Cost: a sort of eight times the rows, O(N·D²) and O(D³). All of it is computed in float64.

    Examples
    --------
    >>> import torch
    >>> from skflow.training.stiff import StiffDensities
    >>> x = torch.randn(500, 1, generator=torch.Generator().manual_seed(0)).double()
    >>> densities = StiffDensities(torch.hstack([x, x + 0.1 * x.flip(0)]))
    >>> by_columns, by_copula = densities.log_probs(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
    >>> bool(by_copula[0] > by_copula[1] + 50)  # the columns are nearly equal
    True
    >>> bool((by_columns[0] - by_columns[1]).abs() < 0.5)  # each by itself is usual
    True
    """

    margins: Flow
    copula: Flow

    @torch.no_grad()
    def __init__(self, x: Tensor, weights: Tensor | None = None) -> None:
        generator = torch.Generator().manual_seed(0)
        if len(x) > _MOST_ROWS:
            some = torch.randperm(len(x), generator=generator)[:_MOST_ROWS].to(x.device)
            x, weights = x[some], None if weights is None else weights[some.cpu()]
        x = x.detach().cpu().double().contiguous()
        counts = None if weights is None else row_counts(weights.cpu())
        d = x.shape[1]
        front = standardization(Rows(x, weights=weights), robust=True)
        spline = ElementwiseSpline(d, n_bins=_N_BINS, init="quantiles", dtype=torch.float64)
        dense = LinearStack(1, d, init="whiten", dtype=torch.float64)
        z = front(x)
        spline.initialize(
            _blurred(z, counts),
            generator,
            None if counts is None else counts.repeat(_KERNEL_PARTS),
        )
        dense.initialize(spline(z), generator, counts)
        self.margins = Flow([front, spline], Normal(), n_features=d)
        self.copula = Flow([front, spline, dense], Normal(), n_features=d)

    @torch.no_grad()
    def log_probs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-densities of rows.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.

        Returns
        -------
        by_margins, by_copula : Tensor of shape (N,)
            In nats, in the units of the rows, float64, on the CPU.
        """
        blocks = x.detach().split(block_length(x.shape[1]))
        by_margins, by_copula = (
            torch.cat([flow.log_prob(block.cpu().double()) for block in blocks])
            for flow in (self.margins, self.copula)
        )
        return by_margins, by_copula


def _blurred(z: Tensor, counts: Tensor | None) -> Tensor:
    """Put parts of a kernel in the place of each entry; which columns move together is no matter."""
    n = len(z) if counts is None else float(counts.sum())
    levels = (torch.arange(_KERNEL_PARTS, dtype=z.dtype) + 0.5) / _KERNEL_PARTS
    shifts = _BANDWIDTH * n**-0.2 * torch.special.ndtri(levels)
    return torch.cat([z + shift for shift in shifts])
