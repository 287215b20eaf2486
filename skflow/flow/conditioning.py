"""How far dense layers stretch and squeeze: their extreme singular values."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skflow.flow.relative import RelativeLayer

__all__ = ["MOST_FACTORISED", "extreme_singular_values"]

# Beyond so many columns no matrix is factorised: room and time might exceed those of the fit.
MOST_FACTORISED = 2048

# Up to so many columns, a decomposition takes no longer than the steps of an iteration.
_MOST_DECOMPOSED = 128
_N_STEPS = 32

# What is left of a vector is rounding if it is such a share of it.
_ROUNDING = 1e-12

_Product = Callable[[Tensor], Tensor]


@torch.no_grad()
def extreme_singular_values(layer: RelativeLayer) -> Tensor:
    r"""Return the largest and the smallest singular value of each matrix of a dense layer.

    The smaller the smallest one beside the largest, the more digits the inverse loses: about as
    many as their ratio has.

    Parameters
    ----------
    layer : RelativeLayer
        With matrices of shape (L, D, D).

    Returns
    -------
    values : Tensor of shape (L, 2)
        Float64, on the CPU. Beyond 2,048 columns the second is an upper bound.

    Notes
    -----
    Golub-Kahan-Lanczos iterations [1]_ take some thirty products with the matrix and its
    transpose, and as many solutions. Cost: O(L·D²), and one LU factorisation of each matrix of up
    to 2,048 columns.

    References
    ----------
    .. [1] G. Golub and W. Kahan, "Calculating the singular values and pseudo-inverse of a matrix",
       SIAM Journal on Numerical Analysis 2(2), 1965.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import LinearStack
    >>> from skflow.flow.conditioning import extreme_singular_values
    >>> layer = LinearStack(1, 2)
    >>> _ = layer.weight.data.mul_(torch.tensor([3.0, 0.5]))
    >>> extreme_singular_values(layer)
    tensor([[3.0000, 0.5000]], dtype=torch.float64)
    """
    layer.settle()
    weight = layer.weight.detach()
    if weight.shape[-1] <= _MOST_DECOMPOSED:
        return torch.linalg.svdvals(weight.double().cpu())[:, [0, -1]]
    return torch.stack([_extremes(matrix) for matrix in weight])


def _extremes(matrix: Tensor) -> Tensor:
    factorised = len(matrix) <= MOST_FACTORISED
    if factorised:
        matrix = matrix.double()
    values = _ritz_values(matrix, lambda v: matrix @ v, lambda u: matrix.mT @ u)
    largest, smallest = values[0], values[-1]
    if factorised:
        smallest = _smallest(matrix)
    return torch.stack([largest, smallest])


def _smallest(matrix: Tensor) -> Tensor:
    """Return the smallest singular value, by iterations with the inverse."""
    lu, pivots, info = torch.linalg.lu_factor_ex(matrix)
    if int(info):
        return torch.zeros((), dtype=torch.float64)
    values = _ritz_values(
        matrix,
        lambda v: torch.linalg.lu_solve(lu, pivots, v[:, None])[:, 0],
        lambda u: torch.linalg.lu_solve(lu, pivots, u[:, None], adjoint=True)[:, 0],
    )
    return values[0].reciprocal()


def _ritz_values(like: Tensor, multiply: _Product, multiply_back: _Product) -> Tensor:
    """Return approximate singular values of a linear map, in descending order, on the CPU.

    None is above the largest one, and none below the smallest.
    """
    n = len(like)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(n, generator=generator, dtype=torch.float64).to(like)
    v = v / torch.linalg.vector_norm(v)
    left, right = like.new_zeros(2, _N_STEPS, n)
    bidiagonal = torch.zeros(_N_STEPS, _N_STEPS, dtype=torch.float64)
    n_steps = 0
    for k in range(_N_STEPS):
        right[k], n_steps = v, k + 1
        u, size = _orthonormal(multiply(v), left[:k])
        left[k], bidiagonal[k, k] = u, size
        v, size = _orthonormal(multiply_back(u), right[: k + 1])
        if not size > 0:  # the map leaves what the rows span among themselves, or is not finite
            break
        if k + 1 < _N_STEPS:
            bidiagonal[k, k + 1] = size
    return torch.linalg.svdvals(bidiagonal[:n_steps, :n_steps])


def _orthonormal(x: Tensor, basis: Tensor) -> tuple[Tensor, float]:
    """Return the part of `x` that is orthogonal to a basis, of unit length, and its length."""
    length = float(torch.linalg.vector_norm(x))
    for _ in range(2):  # once is not enough
        x = x - (basis @ x) @ basis
    size = float(torch.linalg.vector_norm(x))
    if size <= _ROUNDING * length:
        return torch.zeros_like(x), 0.0
    return x / size, size
