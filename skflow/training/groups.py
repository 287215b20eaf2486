"""Rows that come in groups, which are held out together."""

from __future__ import annotations

import torch
from torch import Tensor

from skflow.training.rows import Rows

__all__ = ["folds", "held_out_first", "whole_groups"]


def held_out_first(rows: Rows, n_held_out: int, generator: torch.Generator) -> tuple[Rows, int]:
    """Bring whole groups to the front, which have about as many rows as are to be held out.

    Parameters
    ----------
    rows : Rows
        In random order. Without groups, they stay as they are.
    n_held_out : int
        About how many rows to hold out. With 0, they stay as they are, too.
    generator : torch.Generator
        Where the order comes from in which groups are considered.

    Returns
    -------
    rows : Rows
        In random order, but for those to hold out, which come first.
    n_held_out : int
        How many these are. They are of one group at least, and not of all.

    Raises
    ------
    ValueError
        If all rows are of one group.
    """
    groups = rows.take_groups()
    if groups is None or not n_held_out:
        return rows, n_held_out
    is_held_out = whole_groups(groups, n_held_out, generator)
    first, others = is_held_out.nonzero().flatten(), (~is_held_out).nonzero().flatten()
    return rows.reordered(torch.cat([first, others])), len(first)


def whole_groups(groups: Tensor, n_held_out: int, generator: torch.Generator) -> Tensor:
    """Choose groups that have about as many rows as are to be held out.

    Parameters
    ----------
    groups : Tensor of shape (N,)
        The group of each row.
    n_held_out : int
        About how many rows to hold out, one at least.
    generator : torch.Generator
        Where the order comes from in which groups are considered.

    Returns
    -------
    is_held_out : Tensor of shape (N,), of bools
        True for the rows of one group at least, and not of all.

    Raises
    ------
    ValueError
        If all rows are of one group.
    """
    of_row, sizes = _numbered(groups)
    if len(sizes) < 2:
        raise ValueError(
            "groups must have two values at least, so that one group can be held out; got one. "
            "Leave groups out, or set early_stopping=False to hold nothing out."
        )
    order = torch.randperm(len(sizes), generator=generator, device=generator.device).tolist()
    of_group, chosen, total = sizes.tolist(), [], 0
    for group in order:
        size = of_group[group]
        # What comes closer to the number that is asked for, but leaves rows to learn from.
        if size <= 2 * (n_held_out - total) and total + size < len(groups):
            chosen.append(group)
            total += size
    if not chosen:
        chosen = [min(order, key=of_group.__getitem__)]
    return torch.isin(of_row, torch.tensor(chosen))


def folds(
    n_rows: int, n_folds: int, generator: torch.Generator, groups: Tensor | None = None
) -> list[Tensor]:
    """Cut rows at random into folds, of about the same size.

    Parameters
    ----------
    n_rows : int
        The number of rows.
    n_folds : int
        The number of folds, or as many as there are rows or groups if these are fewer.
    generator : torch.Generator
        Where the randomness comes from.
    groups : Tensor of shape (n_rows,) or None, default=None
        The group of each row. Rows of a group come into the same fold.

    Returns
    -------
    folds : list of Tensor
        The indices of the rows of each, on the device of the generator. None is empty. Of folds
        by groups, the largest comes last.
    """
    device = generator.device
    if groups is None:
        order = torch.randperm(n_rows, generator=generator, device=device)
        return list(order.tensor_split(min(n_folds, n_rows)))
    of_row, sizes = _numbered(groups.to(device))
    order = torch.randperm(len(sizes), generator=generator, device=device)
    n_folds = min(n_folds, len(sizes))
    # Where the middle of each group lies, when one comes after the other.
    middles = sizes[order].cumsum(0) - sizes[order] / 2
    of_group = torch.empty_like(order)
    of_group[order] = (n_folds * middles / n_rows).long()
    of_row = of_group[of_row]
    parts = [(of_row == fold).nonzero().flatten() for fold in range(n_folds)]
    return sorted((part for part in parts if len(part)), key=len)


def _numbered(groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of each row's group, from 0 on, and the sizes of the groups."""
    _, of_row, sizes = groups.unique(return_inverse=True, return_counts=True)
    return of_row, sizes
