"""Numbers of rows to draw, refused where the machine has no room for them."""

from __future__ import annotations

import os
from contextlib import suppress
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["check_n_samples", "machine_memory"]

# No memory holds more numbers than these.
_MOST_ENTRIES = 2**60

# Where Linux says how much memory a container may take.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def check_n_samples(n_samples: Any, n_features: int = 1) -> None:
    """Refuse a number of rows to draw that is none, or that the machine has no room for.

    Parameters
    ----------
    n_samples : object
        What the user passed.
    n_features : int, default=1
        The number of entries of each row.

    Raises
    ------
    TypeError
        If it is no whole number.
    ValueError
        If it is less than 1, or beyond what any memory holds.
    MemoryError
        If the rows take more than all memory of the machine in float64, and before any of it is
        asked for: most systems promise memory that they do not have.
    """
    if isinstance(n_samples, bool | np.bool_) or not isinstance(n_samples, Integral):
        raise TypeError(
            f"n_samples must be a whole number, got {n_samples!r} of type "
            f"{type(n_samples).__name__}."
        )
    if n_samples < 1:
        raise ValueError(f"n_samples must be 1 or more, got {n_samples}.")
    if int(n_samples) * n_features > _MOST_ENTRIES:
        raise ValueError(
            f"n_samples={n_samples} rows of {n_features} column(s) are more than any memory "
            "holds. Draw fewer at a time."
        )
    needed, there_is = 8 * int(n_samples) * n_features, machine_memory()
    if needed > there_is:
        raise MemoryError(
            f"n_samples={n_samples} rows of {n_features} number(s) take {_gibibytes(needed)} GiB, "
            f"and this machine has {_gibibytes(there_is)} GiB in all. Pass fewer rows at a time."
        )


def machine_memory() -> int:
    """Return how many bytes of memory the machine has, or a container that this runs in."""
    try:
        n_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # a system that does not say
        n_bytes = 0
    limits = [n_bytes if n_bytes > 0 else 8 * _MOST_ENTRIES]
    for path in _LIMITS:
        with suppress(OSError, ValueError):  # there is none, or it is "max"
            limits.append(int(path.read_text(encoding="ascii")))
    return min(limits)


def _gibibytes(n_bytes: int) -> str:
    return f"{n_bytes // 2**30:,}" if n_bytes >= 2**34 else f"{n_bytes / 2**30:.1f}"
