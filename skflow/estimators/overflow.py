"""What is mapped, but for what overflows."""

from __future__ import annotations

from torch import Tensor

__all__ = ["checked_finite"]


def checked_finite(mapped: Tensor) -> Tensor:
    """Return what became of rows of numbers, if that is finite.

    Parameters
    ----------
    mapped : Tensor
        With a row, or an entry, for each row.

    Raises
    ------
    ValueError
        If an entry is infinite or NaN.
    """
    finite = mapped.isfinite()
    if not bool(finite.all()):
        n_rows = int((~finite).reshape(len(mapped), -1).any(1).sum())
        raise ValueError(
            f"What {n_rows} row(s) become is not finite in {mapped.dtype}. They are too far from "
            "the rows of the fit: leave them out, or pass rows of a higher precision."
        )
    return mapped
