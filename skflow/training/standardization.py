"""What brings the columns of a table to one scale, before all that trains."""

from __future__ import annotations

import torch
from torch import Tensor

from skflow.flow import (
    Bijection,
    ElementwiseSpline,
    LogTails,
    SoftLogarithm,
    Standardize,
)
from skflow.flow.composition import composed
from skflow.flow.standardize import constant_columns
from skflow.flow.weighted import row_counts, var_mean
from skflow.training.streams import AnyRows

__all__ = ["standardization"]

# By so many rows it is judged where the tails of a column begin, and what its logarithm is worth.
_SOME_ROWS = 10_000

# The logarithm of a column must make it likelier by so many standard errors and so many nats,
# where a spline of so many bins follows either way.
_STANDARD_ERRORS = 2.0
_LEAST_GAIN = 0.01
_N_BINS = 16

# The logarithm turns into a straight line at such a share of the least value.
_SHARE_OF_LEAST = 0.1


@torch.no_grad()
def standardization(rows: AnyRows, *, robust: bool) -> Bijection:
    """Find what brings the columns to one scale, before all that trains.

    Parameters
    ----------
    rows : Rows or StreamedRows
        All rows, as they came. Of those that are streamed, the sample says how far they spread.
    robust : bool
        Whether tails are bent, and do not count for the scale. Positive columns then also go
        through their logarithm, if that makes them likelier.

    Returns
    -------
    bijection : Bijection
        It does not train.
    """
    some = rows.sample
    if not robust:
        return Standardize.from_rows(some.data, some.weights, some.which)
    # Whatever the number of rows, the fit's own randomness goes on from where it is.
    generator = torch.Generator().manual_seed(0)
    which = torch.arange(len(some.data)) if some.which is None else some.which
    which = which[torch.randperm(len(which), generator=generator)[:_SOME_ROWS]]
    x = some.data[which].double().contiguous()
    counts = None if some.weights is None else row_counts(some.weights[which]).to(x.device)
    constant = constant_columns(*rows.column_ranges()).to(x.device)
    first = _logarithm(x, counts, constant)
    tails = LogTails.from_rows(x if first is None else first(x), counts)
    tails.leave(constant)

    def bulk(block: Tensor) -> Tensor:
        block = block.double()
        return (block if first is None else first(block)).clamp(*tails.ends)

    scale = Standardize.from_rows(some.data, some.weights, some.which, bulk)
    return composed(*(part for part in (first, tails, scale) if part is not None))


def _logarithm(x: Tensor, counts: Tensor | None, constant: Tensor) -> SoftLogarithm | None:
    """Return the logarithm of the columns that it makes likelier, if there are any."""
    least = x.amin(0)
    logarithm = SoftLogarithm(x.shape[1]).to(x.device)
    candidates = ((least > 0) & ~constant).nonzero().flatten()
    if not len(candidates) or len(x) < 4:
        return None
    some = SoftLogarithm(len(candidates)).to(x.device)
    some.units.copy_(_SHARE_OF_LEAST * least[candidates])
    x = x[:, candidates]
    variance, gain = var_mean(
        _log_densities(some, x, counts) - _log_densities(None, x, counts), counts
    )
    total = len(x) if counts is None else float(counts.sum())
    better = gain > (_STANDARD_ERRORS * (variance / total).sqrt()).clamp_min(_LEAST_GAIN)
    if not bool(better.any()):
        return None
    logarithm.units[candidates[better]] = some.units[better]
    return logarithm


def _log_densities(first: SoftLogarithm | None, x: Tensor, counts: Tensor | None) -> Tensor:
    """Return the log-density of each entry, but for a constant, as a spline makes it normal."""
    log_det = torch.zeros_like(x)
    if first is not None:
        x, log_det = first.map_entries(x)
    x, log_slopes = LogTails.from_rows(x, counts).map_entries(x)
    variance, centre = var_mean(x, counts)
    scale = variance.sqrt()
    x, log_det = (x - centre) / scale, log_det + log_slopes - scale.log()
    spline = ElementwiseSpline(x.shape[1], n_bins=_N_BINS, init="quantiles", dtype=x.dtype)
    spline.to(x.device).initialize(x, torch.Generator(), counts)
    z, log_slopes = spline.map_entries(x)
    return log_slopes - 0.5 * z.square() + log_det
