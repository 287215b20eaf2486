"""Columns that a density does not suit: what is wrong with them, and what to do."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from skflow.estimators.extremes import extreme_columns
from skflow.exceptions import ColumnWarning
from skflow.flow.standardize import constant_columns, values_repeat
from skflow.flow.weighted import row_counts
from skflow.training.rows import Rows
from skflow.training.streams import AnyRows

__all__ = ["constant_and_named"]

# By so many rows at equal distances it is judged how often values repeat and how far out they are,
# and of many columns by no more than so many entries.
_MOST_SAMPLED = 10_000
_MOST_ENTRIES = 2**21

# Rows at equal distances that are looked at: enough to tell whole numbers from others, and of very
# many columns no more than so many entries.
_FEWEST_ROWS, _MOST_ROWS = 100, 1000
_MOST_COMPARED = 2**21

# How far two standardised columns may be apart and still be copies, in units of the precision.
_COPY_ULPS = 2.0**10

# One value in more than this share of the rows, and in so many of them, is no accident.
_REPEATED_SHARE = 0.05
_FEWEST_REPEATED = 10

# How many columns a message names.
_MOST_NAMED = 10

Label = Callable[[int], str]


def constant_and_named(
    rows: AnyRows, label: Label, *, stacklevel: int, parameter: str = "X"
) -> Tensor:
    """Find the constant columns, and name all columns to look at in one warning.

    Parameters
    ----------
    rows : Rows or StreamedRows
        As they came. Of those that are streamed, the sample is looked at, and the range of each
        column is that of all rows.
    label : callable
        Names a column, by its index.
    stacklevel : int
        How many calls lie between this one and the user's, for the warning.
    parameter : str, default="X"
        What the user passed the rows as.

    Returns
    -------
    constant : Tensor of shape (C,)
        The indices of the constant columns.
    """
    ends, n_rows = rows.column_ranges(), len(rows)
    constant = constant_columns(*ends).nonzero().flatten()
    rows = rows.sample
    which = _at_equal_distances(rows, _MOST_SAMPLED, _MOST_ENTRIES)
    x, weights = rows.data[which].double(), rows.weights
    counts = None if weights is None else row_counts(weights[which]).to(x.device)
    faults = degenerate_columns(rows, x, constant, label)
    if faults:
        faults = (
            f"Columns of {parameter} have no density, so that log-likelihoods mean little. "
            + faults
        )
    far, furthest = extreme_columns(x, ends, n_rows, counts)
    if len(far):
        named = _names(far, label, [f"{float(value):.4g}" for value in furthest])
        faults = (
            f"{faults} Columns of {parameter} have a few extreme values, which make nine tenths "
            f"of their variance: {named}. Remove or correct those that are errors, or codes of "
            "what is missing."
        ).lstrip()
    if faults:
        warnings.warn(faults, ColumnWarning, stacklevel=stacklevel + 1)
    return constant


def degenerate_columns(rows: Rows, x: Tensor, constant: Tensor, label: Label) -> str:
    """Say which columns have no density, and what to do about them.

    A column that repeats a value, or a copy of another column, has none: the likelihood of a
    model grows without bound as it closes in on the value.

    Parameters
    ----------
    rows : Rows
        As they came.
    x : Tensor of shape (N, D)
        Many of them, in float64.
    constant : Tensor of shape (C,)
        The indices of the columns that are constant.
    label : callable
        Names a column, by its index.

    Returns
    -------
    message : str
        A sentence or two for each fault. Empty if there is none. Cost: a sort of `x`.
    """
    some = rows.data[_at_equal_distances(rows, _MOST_ROWS, _MOST_COMPARED)].double()
    varies = torch.ones(x.shape[1], dtype=torch.bool, device=x.device)
    varies[constant] = False
    is_whole = (some == some.round()).all(0) & values_repeat(some) & varies
    whole = is_whole.nonzero().flatten()
    repeated, values = _repeated(x, varies & ~is_whole)
    copies = _copies(some, varies, torch.finfo(rows.data.dtype).eps)
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
    if len(repeated):
        shares = (x[:, repeated] == values).double().mean(0)
        details = [
            f"{float(value):.4g} in {float(share):.0%}"
            for value, share in zip(values, shares, strict=True)
        ]
        messages.append(
            f"One value in more than {_REPEATED_SHARE:.0%} of the rows: "
            f"{_names(repeated, label, details)}. Drop them or model them by themselves, or use "
            "skflow.preprocessing.DequantizationTransformer, with its step, for what is rounded."
        )
    if len(copies):
        messages.append(
            f"Copies of a column before them, up to scale and shift: {_names(copies, label)}. "
            "Drop them."
        )
    return " ".join(messages)


def _at_equal_distances(rows: Rows, most: int, most_entries: int) -> Tensor:
    """Return the indices, in the data, of some rows."""
    n_looked_at = max(_FEWEST_ROWS, min(most, most_entries // rows.n_features))
    device = rows.data.device
    some = torch.linspace(0, len(rows) - 1, min(len(rows), n_looked_at), device=device).long()
    return some if rows.which is None else rows.which.to(device)[some]


def _repeated(x: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of the columns that often repeat one value, and that value."""
    n_others = max(int(_REPEATED_SHARE * len(x)), _FEWEST_REPEATED - 1)
    if n_others >= len(x):
        return candidates.new_empty(0, dtype=torch.long), x.new_empty(0)
    x = x.mT.contiguous().sort(1).values.mT
    same = x[n_others:] == x[:-n_others]
    columns = (same.any(0) & candidates).nonzero().flatten()
    first = same[:, columns].to(torch.int8).argmax(0, keepdim=True)
    return columns, x[:, columns].gather(0, first)[0]


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


def _names(columns: Tensor, label: Label, details: list[str] | None = None) -> str:
    names = [label(int(column)) for column in columns[:_MOST_NAMED]]
    if details is not None:
        names = [f"{name} ({detail})" for name, detail in zip(names, details, strict=False)]
    rest = len(columns) - _MOST_NAMED
    return ", ".join(names) + (f" and {rest} more" if rest > 0 else "")
