"""The first pass over rows that are streamed: the ranges of their columns, and a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from skflow.training.defaults import held_out_and_few
from skflow.training.groups import whole_groups
from skflow.training.rows import Rows
from skflow.training.sources import in_order, read_ahead
from skflow.training.start import n_start_rows
from skflow.training.streams import StreamedRows, UnreadRows

__all__ = ["survey"]

# The most entries of the rows that are held out, which stay in memory, unless these are so few
# rows. A mean of so many log-likelihoods is known as well as a validation score has to be.
_MOST_HELD_OUT_ENTRIES = 2**23
_FEWEST_HELD_OUT = 2000

# Of so many rows, as many as are drawn are told from the others by shuffling all.
_SHUFFLED = 2**20


def survey(
    rows: UnreadRows, parameters: Mapping[str, Any], generator: torch.Generator
) -> StreamedRows:
    """Read all rows once, and keep some of them.

    These are the rows that are held out, and as many others as a flow starts from. They are drawn
    without replacement, each row with the same probability; whole groups are held out.

    Parameters
    ----------
    rows : UnreadRows
        All rows.
    parameters : mapping
        With `early_stopping` and `validation_fraction`.
    generator : torch.Generator
        Where the randomness comes from.

    Returns
    -------
    rows : StreamedRows
        The rows. The ranges of the columns are exact.
    """
    source, n_features = rows.source, rows.source.n_features
    n_held_out, _ = held_out_and_few(parameters, len(rows), n_features)
    most = max(_FEWEST_HELD_OUT, _MOST_HELD_OUT_ENTRIES // n_features)
    held_out, others = _drawn(rows, min(n_held_out, most), generator)
    positions = torch.cat([held_out, others])
    sample = torch.empty((len(positions), n_features), dtype=source.dtype)
    ordered, order = positions.sort()
    low, high = (
        sample.new_full((n_features,), torch.inf),
        sample.new_full((n_features,), -torch.inf),
    )
    sums = torch.zeros(n_features, dtype=torch.float64)
    for start, piece in read_ahead(in_order(source)):
        first, last = torch.searchsorted(ordered, torch.tensor([start, start + len(piece)]))
        sample[order[first:last]] = piece[ordered[first:last] - start]
        if rows.weights is not None:
            piece = piece[rows.weights[start : start + len(piece)] > 0]
        if len(piece):
            low, high = torch.minimum(low, piece.amin(0)), torch.maximum(high, piece.amax(0))
            sums += piece.sum(0, dtype=torch.float64)
    weights, groups = (
        None if one is None else one[positions] for one in (rows.weights, rows.groups)
    )
    return StreamedRows(
        rows,
        Rows(sample, weights=weights, groups=groups),
        positions,
        len(held_out),
        (low, high),
        sums,
    )


def _drawn(rows: UnreadRows, n_held_out: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the positions of rows to hold out, and of others to look at, in random order."""
    n_all, n_features = rows.source.offsets[-1], rows.source.n_features
    allowed = None if rows.weights is None else rows.weights > 0
    if rows.groups is None or not n_held_out:
        n_others = n_start_rows(len(rows) - n_held_out, n_features)
        drawn = _distinct(n_held_out + n_others, n_all, allowed, generator)
        return drawn[:n_held_out], drawn[n_held_out:]
    if allowed is None:
        allowed = torch.ones(n_all, dtype=torch.bool)
    held_out = allowed.clone()
    held_out[allowed] = whole_groups(rows.groups[allowed], n_held_out, generator)
    allowed &= ~held_out
    n_others = n_start_rows(int(allowed.sum()), n_features)
    drawn = _distinct(int(held_out.sum()), n_all, held_out, generator)
    return drawn, _distinct(n_others, n_all, allowed, generator)


def _distinct(n: int, n_all: int, allowed: Tensor | None, generator: torch.Generator) -> Tensor:
    """Draw so many different positions of those that are allowed, without a list of all."""
    device = generator.device
    n_allowed = n_all if allowed is None else int(allowed.sum())
    if n_allowed <= max(_SHUFFLED, 2 * n):
        order = torch.randperm(n_allowed, generator=generator, device=device).cpu()[:n]
        return order if allowed is None else allowed.nonzero().flatten()[order]
    found = torch.empty(0, dtype=torch.long)
    while len(found) < n:
        some = torch.randint(n_all, (2 * n,), generator=generator, device=device).cpu()
        found = torch.cat([found, some if allowed is None else some[allowed[some]]]).unique()
    return found[torch.randperm(len(found), generator=generator, device=device).cpu()[:n]]
