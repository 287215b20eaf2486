"""How many entries are computed at a time, where many rows are at hand."""

import torch
from torch import Tensor

__all__ = ["BLOCK_ENTRIES", "MATRIX_ROWS", "all_finite", "block_length"]

# A processor's cache holds so many, with what is made of them. They are so few that the room for
# them is given back to the system.
BLOCK_ENTRIES = 2**16

# Of fewer rows, matrix products are slow.
MATRIX_ROWS = 256


def block_length(n_columns: int, *, least: int = 1) -> int:
    """Return how many rows of so many columns are computed at a time.

    Parameters
    ----------
    n_columns : int
        The number of columns.
    least : int, default=1
        The fewest rows.
    """
    return max(least, BLOCK_ENTRIES // n_columns)


def all_finite(tensor: Tensor, *, block_entries: int = 2**20) -> bool:
    """Whether all entries of a tensor are finite, in little room beside it.

    Parameters
    ----------
    tensor : Tensor
        Of any shape.
    block_entries : int, default=1048576
        How many entries are looked at at a time.
    """
    blocks = tensor.detach().reshape(-1).split(block_entries)
    return all(bool(torch.isfinite(block).all()) for block in blocks)
