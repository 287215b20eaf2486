"""Solutions with the matrices of dense layers, and their determinants."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skflow.flow.products import product

__all__ = ["Solver", "log_abs_dets", "log_abs_dets_in_place", "solver"]

# Up to so many columns, the determinants of all matrices are computed in one call.
_MOST_BATCHED_COLUMNS = 128

Solver = Callable[[Tensor], Tensor]


def log_abs_dets(matrices: Tensor) -> Tensor:
    r"""Return :math:`\log|\det|` of matrices, one by one where that is needed.

    PyTorch's LU factorisations of batches of larger matrices hang or fail on CPUs with more than
    one thread (pytorch/pytorch#141358).

    Parameters
    ----------
    matrices : Tensor of shape (L, n, n)
        The matrices.

    Returns
    -------
    log_abs_dets : Tensor of shape (L,)
        In nats, in the precision of the matrices.
    """
    if matrices.shape[-1] <= _MOST_BATCHED_COLUMNS or matrices.device.type != "cpu":
        lu = torch.linalg.lu_factor_ex(matrices)[0]  # a tenth of the operations of slogdet
        return lu.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
    return torch.stack([torch.linalg.slogdet(matrix).logabsdet for matrix in matrices])


def log_abs_dets_in_place(matrices: Tensor) -> Tensor:
    """Do what :func:`log_abs_dets` does, in float64 and in room for one copy of a matrix.

    Parameters
    ----------
    matrices : Tensor of shape (L, n, n)
        The matrices, of any precision.
    """
    if matrices.shape[-1] <= _MOST_BATCHED_COLUMNS:
        return log_abs_dets(matrices.double())
    return torch.stack([_log_abs_det_in_place(matrix) for matrix in matrices])


def solver(
    weight: Tensor, dtype: torch.dtype, *, most_inverted: int = 2048, block_entries: int = 2**18
) -> Solver:
    r"""Return what takes `y` to the `x` with :math:`x W^\top = y`.

    A product with an inverse is several times faster than a solution with triangular factors,
    and no less accurate where the inverse has been computed in a higher precision.

    Parameters
    ----------
    weight : Tensor of shape (D, D)
        The matrix `W`.
    dtype : torch.dtype
        The precision of `x` and `y`.
    most_inverted : int, default=2048
        Up to so many columns, the inverse is a matrix and no factorisation.
    block_entries : int, default=262144
        How many entries of an inverse are computed at a time.

    Returns
    -------
    solve : callable
        Maps `y`, of shape (N, D), to `x`.
    """
    d = len(weight)
    if dtype.itemsize >= 8 or d > most_inverted:
        lu, pivots = _lu_factor(weight.mT, dtype)
        return lambda y: torch.linalg.lu_solve(lu, pivots, y, left=False)
    lu, pivots = _lu_factor(weight.mT, torch.float64)
    inverse = torch.eye(d, dtype=dtype, device=weight.device)
    for rows in inverse.split(max(1, block_entries // d)):
        rows.copy_(torch.linalg.lu_solve(lu, pivots, rows.double(), left=False))
    return lambda y: product(y, inverse)


def _log_abs_det_in_place(weight: Tensor) -> Tensor:
    if weight.device.type != "cpu":
        return torch.linalg.slogdet(weight.double()).logabsdet
    lu, _ = _lu_factor(weight.detach(), torch.float64)
    return lu.diagonal().abs().log().sum()


def _lu_factor(matrix: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    # In the column-major copy that LAPACK wants, and in place: there is no other.
    lu = torch.empty_like(matrix.mT, dtype=dtype, memory_format=torch.contiguous_format).mT
    lu.copy_(matrix)
    pivots = torch.empty(len(matrix), dtype=torch.int32, device=matrix.device)
    info = torch.empty((), dtype=torch.int32, device=matrix.device)
    torch.linalg.lu_factor_ex(lu, out=(lu, pivots, info))
    return lu, pivots
