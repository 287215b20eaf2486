r"""The LU factorisation of a matrix whose rows several processes have, without gathering it.

Rows are eliminated one after the other, in blocks. The pivot of a row is its largest entry among
the columns that are left, as in partial pivoting of the transpose. As a whole row lies in one
process, that finds its pivots by itself. With `P` the order of the columns,

.. math::
    W P = L U,

where `U` has ones on its diagonal. Each process is left with its rows of `L` and `U`, in the room
of its rows of :math:`W`. Each block of rows of `U` crosses the network once, and so do the
unknowns of a solution.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skflow.distributed.columns import Columns

__all__ = ["SplitFactorization"]

_BLOCK_ROWS = 64


class SplitFactorization:
    """The factors of a square matrix, split by rows.

    Parameters
    ----------
    matrix : Tensor of shape (C, D)
        The own rows. They are overwritten with those of the factors.
    columns : Columns
        Which rows these are, and the processes. All of them make this object together.
    block_rows : int, default=64
        How many rows are eliminated at a time.
    """

    def __init__(self, matrix: Tensor, columns: Columns, *, block_rows: int = _BLOCK_ROWS) -> None:
        self._factors, self._columns = matrix, columns
        self._order = torch.arange(columns.n_features, device=matrix.device)
        for rank in range(columns.n_ranks):
            rows = columns.of(rank)
            for first in range(rows.start, rows.stop, block_rows):
                self._eliminate(rank, first, min(first + block_rows, rows.stop))

    def log_abs_det(self) -> Tensor:
        """Return the logarithm of the absolute determinant, of shape (), in nats."""
        diagonal = self._factors.diagonal(offset=self._columns.own.start)
        return self._columns.sum(diagonal.double().abs().log().sum())

    def solve(self, y: Tensor) -> Tensor:
        r"""Return the `x` with :math:`x W^\top = y`.

        Parameters
        ----------
        y : Tensor of shape (N, C)
            The own columns.

        Returns
        -------
        x : Tensor of shape (N, D)
            All columns, on all processes.
        """
        columns, factors = self._columns, self._factors
        own, group = columns.own, columns.group
        square = factors[:, own]
        ranks = range(columns.n_ranks)
        unknowns = y.new_empty(len(y), columns.n_features)
        left, solved = y.clone(), y
        for rank in ranks:
            part = columns.of(rank)
            if rank == columns.rank:
                solved = torch.linalg.solve_triangular(square.mT, left, upper=True, left=False)
            of_rank = self._from(rank, solved, y)
            if rank < columns.rank:
                left -= of_rank @ factors[:, part].mT
        left = solved
        for rank in reversed(ranks):
            part = columns.of(rank)
            if rank == group.rank:
                solved = torch.linalg.solve_triangular(
                    square.mT, left, upper=False, left=False, unitriangular=True
                )
            unknowns[:, part] = of_rank = self._from(rank, solved, y)
            if rank > columns.rank:
                left = left - of_rank @ factors[:, part].mT
        x = torch.empty_like(unknowns)
        x[:, self._order] = unknowns
        return x

    def _from(self, rank: int, own: Tensor, like: Tensor) -> Tensor:
        """Return the unknowns that a process has found, on all."""
        columns = self._columns
        if rank == columns.rank:
            sent = own.contiguous()
        else:
            part = columns.of(rank)
            sent = like.new_empty(len(like), part.stop - part.start)
        return columns.group.broadcast(sent, rank)

    def _eliminate(self, owner: int, first: int, end: int) -> None:
        """Take some rows of one process out of the rows below them."""
        columns, factors = self._columns, self._factors
        n_features, n_rows, start = columns.n_features, end - first, columns.own.start
        pivots = torch.empty(n_rows, dtype=torch.int32, device=factors.device)
        upper = factors.new_empty(n_rows, n_features - first)
        if owner == columns.rank:
            rows = factors[first - start : end - start, first:]
            transposed, pivots, _ = torch.linalg.lu_factor_ex(rows.mT)
            upper = transposed.mT.contiguous()
        pivots = columns.group.broadcast(pivots.contiguous(), owner)
        self._exchange_columns(first, pivots)
        if owner == columns.rank:
            factors[first - start : end - start, first:] = upper
        upper = columns.group.broadcast(upper, owner)
        n_above = min(max(end - start, 0), columns.n_own)
        below = factors[n_above:, first:]
        if len(below):
            lower, rest = below[:, :n_rows], below[:, n_rows:]
            lower.copy_(
                torch.linalg.solve_triangular(
                    upper[:, :n_rows], lower, upper=True, left=False, unitriangular=True
                )
            )
            rest.addmm_(lower, upper[:, n_rows:], alpha=-1)

    def _exchange_columns(self, first: int, pivots: Tensor) -> None:
        """Bring the pivots' columns forward, as LAPACK numbers them: one swap after the other."""
        order = list(range(self._columns.n_features - first))
        for k, pivot in enumerate(pivots.tolist()):
            order[k], order[pivot - 1] = order[pivot - 1], order[k]
        moved = [k for k, source in enumerate(order) if k != source]
        if not moved:
            return
        target = first + torch.tensor(moved, device=pivots.device)
        source = first + torch.tensor([order[k] for k in moved], device=pivots.device)
        self._order[target] = self._order[source]
        self._factors[:, target] = self._factors[:, source]
