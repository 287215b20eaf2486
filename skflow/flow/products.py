"""Products of large float32 matrices on a CPU, by the faster of two libraries.

PyTorch leaves them to MKL, which on processors of other makers than Intel does without the widest
registers. oneDNN, which comes with PyTorch as well, makes its kernels for the registers that there
are. Its calls cost some microseconds more, so that small products stay with PyTorch, as do those
of all other types, those that are differentiated and those in bfloat16.

``torch.backends.mkldnn.enabled = False`` leaves all products to PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skflow.flow.tracing import is_differentiated, is_traced

__all__ = [
    "add_product_",
    "addmm",
    "affine",
    "linear",
    "matmul",
    "mm",
    "product",
    "takes_onednn",
]

# Fewer multiplications than these take no longer than a call.
_LEAST_MULTIPLICATIONS = 1.5e6

# By oneDNN, adding a product to a matrix is a pass of its own. It costs more than it saves if the
# product's inner dimension is less than this. Rows that are a multiple of a page apart are another
# matter: they share few lines of the cache, which MKL does not get around.
_LEAST_INNER, _PAGE_ENTRIES = 32, 1024

# Where PyTorch keeps oneDNN's operations.
_MKLDNN = torch.ops.mkldnn


def takes_onednn(n_rows: int, matrix: Tensor) -> bool:
    """Whether products of a matrix and one of so many rows are those that oneDNN does faster.

    Parameters
    ----------
    n_rows : int
        The number N of rows.
    matrix : Tensor of shape (..., K, M)
        The other factor.
    """
    return bool(
        matrix.dtype == torch.float32
        and n_rows * matrix.shape[-1] * matrix.shape[-2] >= _LEAST_MULTIPLICATIONS
        and matrix.device.type == "cpu"
        # With registers of 256 bits, both libraries are as fast.
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and _onednn() is not None
        and torch.backends.mkldnn.enabled
        # For that PyTorch calls oneDNN itself, and has them rounded.
        and torch.backends.mkldnn.matmul.fp32_precision != "bf16"  # type: ignore[attr-defined]
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return :math:`x W^T + b` by oneDNN, of which autograd knows nothing.

    Parameters
    ----------
    x : Tensor of shape (N, K)
        Copied if its rows are not contiguous.
    weight : Tensor of shape (M, K)
        Not copied, transposed or not.
    bias : Tensor of shape (M,) or None, default=None
        What is added to each row.
    """
    result: Tensor = _onednn()(x, weight, bias, "none", [], "")
    return result


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Return `a @ b`, of shapes (N, K) and (K, M), by oneDNN; see :func:`linear`.

    If `a` is the larger one and stored by columns, so is the result.

    Parameters
    ----------
    a : Tensor of shape (N, K)
        The left matrix.
    b : Tensor of shape (K, M)
        The right matrix.
    """
    if not a.is_contiguous() and a.numel() > b.numel():
        return linear(b.T, a).T  # sooner a copy of the smaller one
    return linear(a, b.T)


def mm(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
    """Return :func:`matmul` in `out`.

    Parameters
    ----------
    a : Tensor of shape (N, K)
        The left matrix.
    b : Tensor of shape (K, M)
        The right matrix.
    out : Tensor of shape (N, M)
        Where the result is put.
    """
    return out.copy_(matmul(a, b))


def addmm(bias: Tensor, a: Tensor, b: Tensor, *, alpha: float, out: Tensor) -> Tensor:
    """Return `bias + alpha * (a @ b)` in `out`, by oneDNN; `bias` is of shape (M,).

    Parameters
    ----------
    bias : Tensor of shape (M,)
        What is added to each row.
    a : Tensor of shape (N, K)
        The left matrix.
    b : Tensor of shape (K, M)
        The right matrix.
    alpha : float
        The factor of the product.
    out : Tensor of shape (N, M)
        Where the result is put.
    """
    return torch.add(bias, matmul(a, b), alpha=alpha, out=out)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return :math:`x W^T + b`, by the library that is faster.

    Parameters
    ----------
    x : Tensor of shape (N, K)
        The rows.
    weight : Tensor of shape (M, K)
        The weights, a row for each output.
    bias : Tensor of shape (M,) or None, default=None
        What is added to each row.
    """
    if _calls_onednn(x, weight, bias):
        return linear(x, weight, bias)
    return x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return `a @ b`, by the library that is faster.

    Parameters
    ----------
    a : Tensor of shape (N, K) or (L, N, K)
        The left matrix, or L of them.
    b : Tensor of shape (K, M) or (L, K, M)
        The right matrix, or L of them.
    """
    if not _calls_onednn(a, b):
        return a @ b
    if a.ndim == 3:
        return torch.stack([matmul(left, right) for left, right in zip(a, b, strict=True)])
    return matmul(a, b).contiguous()


def add_product_(
    target: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    alpha: float,
    block_entries: int = 2**19,
    block_rows: int = 128,
) -> None:
    r"""Add :math:`\alpha\, a b` to each of L matrices, in place and in little room.

    Parameters
    ----------
    target : Tensor of shape (L, N, M)
        What is added to.
    a : Tensor of shape (L, N, K)
        The left matrices.
    b : Tensor of shape (L, K, M)
        The right matrices.
    alpha : float
        The factor.
    block_entries, block_rows : int, default=524288, 128
        By oneDNN, a product is made a part at a time: about so many entries, for a processor's
        cache, but no fewer rows than so many.
    """
    _, n, m = target.shape
    is_thin = b.shape[1] < _LEAST_INNER and m % _PAGE_ENTRIES != 0
    if is_thin or not takes_onednn(n, b):
        target.baddbmm_(a, b, alpha=alpha)
        return
    n_parts = max(1, min(-(-n * m // block_entries), n // block_rows))
    for matrix, left, right in zip(target, a, b, strict=True):
        for part, rows in zip(matrix.chunk(n_parts), left.chunk(n_parts), strict=True):
            part.add_(linear(rows, right.T), alpha=alpha)


def _onednn() -> Any:
    # What torch.compile calls for linear layers on a CPU; it has no name that is public.
    return getattr(_MKLDNN, "_linear_pointwise", None)


def _calls_onednn(a: Tensor, b: Tensor, bias: Tensor | None = None) -> bool:
    """Whether a product is one of oneDNN, which knows neither derivatives nor transforms."""
    # While the operations are recorded, the number of rows may be a symbol.
    if torch.compiler.is_compiling() or not takes_onednn(a.shape[-2], b):
        return False
    return not (is_differentiated(a, b, bias) or is_traced(a, b, bias))
