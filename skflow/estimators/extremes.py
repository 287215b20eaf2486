"""Columns with values so far out that these would decide their scale."""

from __future__ import annotations

import torch
from torch import Tensor

from skflow.flow import LogTails
from skflow.flow.weighted import mean

__all__ = ["extreme_columns"]

# Beyond so many units from the median a value is far out, where the middle nine tenths of the rows
# say how long a unit is: that of a normal distribution is its standard deviation. Of 2,000 rows of
# Student's t with three degrees of freedom, the furthest lies about 14 units out.
_FAR = 20.0

# Far values decide the scale where they add up to so many square units a row: the others, of which
# a row has about one, then have a tenth of the variance.
_SQUARES_OF_FAR = 9.0

# Of the logarithm of a positive column, in units of its wider side. Lognormal columns, those with
# the tails of a power, and pixels that are dark in most rows stay within that.
_FAR_LOGARITHM = 10.0


@torch.no_grad()
def extreme_columns(
    x: Tensor, ends: tuple[Tensor, Tensor], n_rows: int, counts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Say in which columns a few values far out make nine tenths of the variance.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        All rows or some, in float64.
    ends : tuple of two Tensors of shape (D,)
        The least and the greatest value of each column, of all rows.
    n_rows : int
        The number of all rows.
    counts : Tensor of shape (N,) or None, default=None
        How many rows each row stands for; by default one.

    Returns
    -------
    columns : Tensor of shape (C,)
        Their indices.
    furthest : Tensor of shape (C,)
        Of each of these, the value that is furthest out.
    """
    both = torch.stack(ends).double()
    tails = LogTails.from_rows(x, counts)
    outside = _units_out(tails, both)
    candidates = (outside.amax(0) > _FAR).nonzero().flatten()
    outside = outside[:, candidates]
    distances = _units_out(tails, x[:, candidates], candidates)
    squares = mean(torch.where(distances > _FAR, distances.square(), 0), counts)
    if counts is None:  # one row by itself, which need not be in `x`
        squares = torch.maximum(squares, outside.amax(0).square() / n_rows)
    decide = squares > _SQUARES_OF_FAR
    positive = both[0, candidates] > 0
    if bool((decide & positive).any()):
        logarithms = LogTails.from_rows(x[:, candidates[positive]].log(), counts)
        of_ends = _units_out(logarithms, both[:, candidates[positive]].log())
        wider = (logarithms.units / logarithms.units.amax(0)).nan_to_num(1)
        decide[positive] &= (of_ends * wider).amax(0) > _FAR_LOGARITHM
    furthest = both[:, candidates].gather(0, outside.argmax(0, keepdim=True))[0]
    return candidates[decide], furthest[decide]


def _units_out(tails: LogTails, x: Tensor, columns: Tensor | None = None) -> Tensor:
    """Return how many units from the median values are, 0 in columns without tails."""
    (low, high), units = tails.ends, tails.units
    if columns is not None:
        low, high, units = low[columns], high[columns], units[:, columns]
    median = (low * units[1] + high * units[0]) / units.sum(0)  # as many units from either end
    unit = torch.where(x < median, units[0], units[1])
    return ((x - median).abs() / unit).nan_to_num(0)
