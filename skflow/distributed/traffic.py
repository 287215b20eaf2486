r"""How many bytes a data-parallel step brings each process.

Of R processes with N rows of D columns in all, each receives

- of f factors of a dense layer, :math:`f (R - 1) \lceil N / R \rceil D` numbers: an all-gather
  brings it those of the others;
- of the sums of a dense layer, :math:`2 (R - 1) / R \cdot (D^2 + D)` numbers: an all-reduce
  along a ring brings each number twice, but for the process's own part;
- of P other parameters, :math:`2 (R - 1) / R \cdot (P + 2)` numbers. The two are the clock, and
  whether the fit was interrupted.

Factors are exchanged where N is less than D: then they are fewer, up to the rows that fill up the
parts. It is also where a process that fits alone takes its steps from the factors. They are
:math:`\delta` and :math:`y`; the product :math:`y W`, which each process could make of them, is
the third while the three are fewer than the sums.
"""

from __future__ import annotations

__all__ = [
    "CONTROL_NUMBERS",
    "n_factors",
    "received_by_gather",
    "received_by_reduction",
    "received_per_step",
    "rows_of_part",
]

# What goes with the gradients of the other parameters.
CONTROL_NUMBERS = 2


def n_factors(n_rows: int, n_features: int) -> int:
    """Return how many factors of a dense layer are exchanged: 2 or 3, or 0 for their sums.

    Parameters
    ----------
    n_rows : int
        The number of rows in a step, on all processes.
    n_features : int
        The number of columns.
    """
    if n_rows >= n_features:
        return 0
    return 3 if 3 * n_rows < 2 * n_features else 2


def rows_of_part(n_rows: int, n_ranks: int) -> int:
    """Return how many rows a process sends: as many as the longest part has.

    Parameters
    ----------
    n_rows : int
        The number of rows on all processes.
    n_ranks : int
        The number of processes.
    """
    return -(-n_rows // n_ranks)


def received_by_gather(n_numbers: int, n_ranks: int) -> int:
    """Return how many numbers a process receives if each sends so many to all.

    Parameters
    ----------
    n_numbers : int
        What each process has.
    n_ranks : int
        The number of processes.
    """
    return (n_ranks - 1) * n_numbers


def received_by_reduction(n_numbers: int, n_ranks: int) -> float:
    """Return how many numbers a process receives if so many are added up along a ring.

    Parameters
    ----------
    n_numbers : int
        What each process has.
    n_ranks : int
        The number of processes.
    """
    return 2 * (n_ranks - 1) / n_ranks * n_numbers


def received_per_step(
    n_rows: int,
    n_features: int,
    *,
    n_layers: int,
    n_others: int,
    n_ranks: int,
    itemsize: int = 4,
) -> float:
    """Return how many bytes each process receives in a step.

    Parameters
    ----------
    n_rows : int
        The number of rows on all processes.
    n_features : int
        The number of columns.
    n_layers : int
        The number of dense layers.
    n_others : int
        The number of parameters that are not those of dense layers.
    n_ranks : int
        The number of processes.
    itemsize : int, default=4
        The bytes of a number: 4 of float32, 8 of float64.

    Examples
    --------
    >>> from skflow.distributed.traffic import received_per_step
    >>> received_per_step(64, 1000, n_layers=3, n_others=0, n_ranks=2)  # factors
    1152008.0
    >>> received_per_step(1000, 1000, n_layers=3, n_others=0, n_ranks=2)  # sums
    12012008.0
    """
    factors = n_factors(n_rows, n_features)
    if factors:
        n_sent = factors * rows_of_part(n_rows, n_ranks) * n_features
        layer: float = received_by_gather(n_sent, n_ranks)
    else:
        layer = received_by_reduction(n_features**2 + n_features, n_ranks)
    others = received_by_reduction(n_others + CONTROL_NUMBERS, n_ranks)
    return itemsize * (n_layers * layer + others)
