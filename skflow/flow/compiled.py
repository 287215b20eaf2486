"""Which rows compiled kernels map, and how they are called."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from skflow.flow.tracing import is_differentiated, is_traced

__all__ = ["ColumnMaps", "are_compiled", "forward", "inverse", "pullback"]


class ColumnMaps(NamedTuple):
    """Maps of M columns, one by one: an affine map and a spline after it, or one of the two.

    What the maps are made of is contiguous.
    """

    n_given: int
    """How many columns stand before them, and stay what they are."""

    n_columns: int
    """The number M of columns that are mapped."""

    affine: Tensor | None = None
    """Of shape (2, M, N): raw log-scales and shifts, for each row its own."""

    spacings: Tensor | None = None
    """Of shape (2, M, K), or (2, M, K, N) where each row has its own."""

    slopes: Tensor | None = None
    """Of shape (M, K + 1), or less by two where those at the ends are 1; (…, N) likewise."""

    low: Tensor | None = None
    """Of shape (2, M): the lower ends of the box that the knots lie in, on both sides."""

    size: Tensor | None = None
    """Of shape (2, M): its sizes."""

    least_share: float = 0.0
    """The share of the box that a bin takes at least."""


def are_compiled(*tensors: Tensor) -> bool:
    """Whether there are kernels for what is computed with these tensors.

    Parameters
    ----------
    *tensors : Tensor
        Rows, and parameters.

    Returns
    -------
    compiled : bool
        True on the CPU, in one precision, with Numba installed, where nothing is differentiated
        or traced by PyTorch.
    """
    dtype = tensors[0].dtype
    if dtype not in {torch.float32, torch.float64}:
        return False
    if any(tensor.dtype != dtype or tensor.device.type != "cpu" for tensor in tensors):
        return False
    if is_traced(*tensors) or is_differentiated(*tensors):
        return False
    return _kernels() is not None


@cache
def _kernels() -> ModuleType | None:
    try:
        from skflow.flow import kernels
    except ImportError:
        return None
    return kernels


def forward(maps: ColumnMaps, x: Tensor) -> tuple[Tensor, Tensor]:
    """Map rows.

    Parameters
    ----------
    maps : ColumnMaps
        The maps.
    x : Tensor of shape (N, D)
        The rows, with D = `n_given` + M.

    Returns
    -------
    y : Tensor of shape (N, D)
        In memory, neighbours lie in a column.
    log_det : Tensor of shape (N,)
        The sums of the maps' log-slopes, in nats.
    """
    return _mapped("forward", maps, x)


def inverse(maps: ColumnMaps, y: Tensor) -> tuple[Tensor, Tensor]:
    """Map rows back.

    Parameters
    ----------
    maps : ColumnMaps
        The maps.
    y : Tensor of shape (N, D)
        The rows, with D = `n_given` + M.

    Returns
    -------
    x : Tensor of shape (N, D)
        In memory, neighbours lie in a column.
    log_det : Tensor of shape (N,)
        Minus the sums of the maps' log-slopes there, in nats.
    """
    return _mapped("inverse", maps, y)


def pullback(
    maps: ColumnMaps,
    x: Tensor,
    by_y: Tensor,
    by_log_det: Tensor,
    gradients: ColumnMaps,
) -> Tensor:
    """Take gradients back through :func:`forward`.

    Parameters
    ----------
    maps : ColumnMaps
        The maps.
    x : Tensor of shape (N, D)
        The rows that were mapped.
    by_y : Tensor of shape (N, D)
        The gradient with respect to `y`.
    by_log_det : Tensor of shape (N,)
        That with respect to `log_det`.
    gradients : ColumnMaps
        Tensors of the shapes of `maps`, in which the gradients of these are put.

    Returns
    -------
    by_x : Tensor of shape (N, D)
        In memory, neighbours lie in a column.
    """
    by_x = _columns_like(x)
    by_log_det = by_log_det.contiguous()
    _call(
        "pullback",
        maps,
        x,
        (x.data_ptr(), *x.stride(), by_y.data_ptr(), *by_y.stride(), by_log_det.data_ptr()),
        (by_x.data_ptr(), *by_x.stride(), *map(_address, (gradients.spacings, gradients.slopes, gradients.affine))),
    )
    return by_x


def _mapped(name: str, maps: ColumnMaps, x: Tensor) -> tuple[Tensor, Tensor]:
    y, log_det = _columns_like(x), x.new_empty(len(x))
    rows = (x.data_ptr(), *x.stride(), y.data_ptr(), *y.stride(), log_det.data_ptr())
    _call(name, maps, x, rows)
    return y, log_det


def _call(
    name: str, maps: ColumnMaps, x: Tensor, rows: tuple[int, ...], outputs: tuple[int, ...] = ()
) -> None:
    kernels = _kernels()
    assert kernels is not None
    n_bins = n_slopes = 0
    own, stride = False, 1
    if maps.spacings is not None and maps.slopes is not None:
        n_bins, n_slopes = maps.spacings.shape[2], maps.slopes.shape[1]
        own = maps.slopes.ndim == 3
        stride = len(x) if own else 1
    scratch = x.new_empty(kernels.scratch_entries(n_bins))
    kernels.kernel(name, x.dtype)(
        scratch.data_ptr(),
        _address(maps.spacings),
        _address(maps.slopes),
        _address(maps.affine),
        _address(maps.low),
        _address(maps.size),
        maps.least_share,
        *rows,
        *outputs,
        len(x),
        maps.n_given,
        maps.n_columns,
        n_bins,
        n_slopes,
        stride,
        own,
        maps.affine is not None,
    )


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _columns_like(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[1], x.shape[0]).T
