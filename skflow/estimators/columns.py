"""Columns that have no density: what is wrong with them, and what to do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skflow.flow.standardize import values_repeat

__all__ = ["degenerate_columns"]

# Rows at equal distances that are looked at: enough to tell whole numbers from others, and of very
# many columns no more than so many entries.
_FEWEST_ROWS, _MOST_ROWS = 100, 1000
_MOST_COMPARED = 2**21

# How far two standardised columns may be apart and still be copies, in units of the precision.
_COPY_ULPS = 2.0**10

# How many columns a message names.
_MOST_NAMED = 10


def degenerate_columns(
    x: Tensor,
    constant: Tensor,
    which: Tensor | None = None,
    *,
    label: Callable[[int], str] = "column {}".format,
) -> str:
    """Say which columns have no density, and what to do about them.

    A column of whole numbers that repeat, or a copy of another column, has none: the likelihood
    of a model grows without bound as it closes in on the values.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows.
    constant : Tensor of shape (C,)
        The indices of the columns that are constant.
    which : Tensor of shape (M,) or None, default=None
        The indices of the rows to look at; by default, all.
    label : callable
        Names a column, by its index.

    Returns
    -------
    message : str
        A sentence or two for each fault. Empty if there is none. Cost: a sort of up to 1,000 rows,
        and of 100 at least; of more than 2,097 columns, of fewer than 1,000.
    """
    n_rows = len(x) if which is None else len(which)
    n_looked_at = max(_FEWEST_ROWS, min(_MOST_ROWS, _MOST_COMPARED // x.shape[1]))
    some = torch.linspace(0, n_rows - 1, min(n_rows, n_looked_at), device=x.device).long()
    some = some if which is None else which[some]
    rows = x[some].double()
    varies = torch.ones(x.shape[1], dtype=torch.bool, device=x.device)
    varies[constant] = False
    whole = ((rows == rows.round()).all(0) & values_repeat(rows) & varies).nonzero().flatten()
    copies = _copies(rows, varies, torch.finfo(x.dtype).eps)
    messages = []
    if len(constant):
        messages.append(
            f"Constant, and modelled as normal with unit variance: {_names(constant, label)}. "
            "Drop them, for example with sklearn.feature_selection.VarianceThreshold."
        )
    if len(whole):
        messages.append(
            f"Whole numbers that repeat: {_names(whole, label)}. Use "
            "skflow.preprocessing.DequantizationTransformer for counts, and drop or model by "
            "themselves columns of codes or of 0 and 1."
        )
    if len(copies):
        messages.append(
            f"Copies of a column before them, up to scale and shift: {_names(copies, label)}. "
            "Drop them."
        )
    return " ".join(messages)


def _copies(rows: Tensor, varies: Tensor, eps: float) -> Tensor:
    """Return the indices of columns that are a column before them, up to scale and shift."""
    if len(rows) < 3:  # through two points goes a line
        return varies.new_empty(0, dtype=torch.long)
    scale = torch.where(varies, rows.abs().amax(0), 1)
    scaled = rows / torch.where(scale > 0, scale, 1)
    centred = scaled - scaled.mean(0)
    deviation = centred.square().mean(0).sqrt()
    z = centred / torch.where(deviation > 0, deviation, 1)
    # How much of a deviation is left of an entry's own rounding.
    resolution = _COPY_ULPS * eps / torch.where(deviation > 0, deviation, 1)
    # The sign in which the largest entry is positive.
    z = z * torch.sign(z.gather(0, z.abs().argmax(0, keepdim=True)))
    # Equal columns are neighbours in the order of any one entry or sum.
    key = torch.cos(torch.arange(len(z), dtype=z.dtype, device=z.device)) @ z
    order = key.argsort(stable=True)
    left, right = order[:-1], order[1:]
    distance = (z[:, left] - z[:, right]).abs().amax(0)
    same = (distance <= torch.maximum(resolution[left], resolution[right])) & varies[left]
    same &= varies[right]
    # Of a run of equal columns, all but the first.
    starts = torch.cat([same.new_zeros(1), same])
    run = (~starts).cumsum(0)
    first = torch.full((int(run[-1]) + 1,), len(order), device=z.device).scatter_reduce(
        0, run, order, "amin"
    )
    return order[order != first[run]].sort().values


def _names(columns: Tensor, label: Callable[[int], str]) -> str:
    named = ", ".join(label(int(column)) for column in columns[:_MOST_NAMED])
    rest = len(columns) - _MOST_NAMED
    return f"{named} and {rest} more" if rest > 0 else named
