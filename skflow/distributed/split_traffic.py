r"""How many bytes a step of a row-split flow brings each process.

Of R processes, with N rows of D columns and :math:`C = \lceil D / R \rceil`, each receives for a
dense layer

- :math:`(R - 1) N C` numbers of `x`, by an all-gather;
- :math:`2 (R - 1) / R \cdot N D` numbers of :math:`y W`, by an all-reduce;
- :math:`(R - 1) N C` numbers of :math:`\delta W`, by a reduce-scatter, unless nothing that trains
  stands before the layer;
- :math:`2 (R - 1) / R \cdot (3 N^2 + 2 N)` numbers in float64, by an all-reduce.

To these come :math:`2 (R - 1) / R \cdot (N + 4)` in float64: the log-determinants of what was done
to the rows before, the loss, whether gradients are finite, the clock and whether the fit was
interrupted.
"""

from __future__ import annotations

from skflow.distributed.traffic import received_by_gather, received_by_reduction

__all__ = ["received_per_split_step"]

_DOUBLE = 8


def received_per_split_step(
    n_rows: int,
    n_features: int,
    *,
    n_layers: int,
    n_ranks: int,
    is_first: bool = False,
    itemsize: int = 4,
) -> float:
    """Return how many bytes each process receives in a step.

    Parameters
    ----------
    n_rows : int
        The number of rows in a batch.
    n_features : int
        The number of columns.
    n_layers : int
        The number of dense layers.
    n_ranks : int
        The number of processes.
    is_first : bool, default=False
        Whether nothing that trains stands before the first of the layers.
    itemsize : int, default=4
        The bytes of a number: 4 of float32, 8 of float64.

    Examples
    --------
    >>> from skflow.distributed.split_traffic import received_per_split_step
    >>> received_per_split_step(32, 30_000, n_layers=2, n_ranks=2, is_first=True)
    13490464.0
    """
    n_own = -(-n_features // n_ranks)
    columns = received_by_gather(n_rows * n_own, n_ranks)
    whole = received_by_reduction(n_rows * n_features, n_ranks)
    small = received_by_reduction(3 * n_rows**2 + 2 * n_rows, n_ranks)
    layers = n_layers * (columns + whole) + (n_layers - is_first) * columns
    others = received_by_reduction(n_rows + 4, n_ranks)
    return itemsize * layers + _DOUBLE * (n_layers * small + others)
