"""The precision of products of float32 matrices while training."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

__all__ = ["MatmulPrecision", "matmul_precision"]

MatmulPrecision = Literal["highest", "high", "medium"]

# What each stands for on a CPU and on a GPU, the strictest first. Sums are kept in float32.
_FORMATS = {"highest": ("ieee", "ieee"), "high": ("tf32", "tf32"), "medium": ("bf16", "tf32")}
_STRICTNESS = list(_FORMATS)


class _ProcessSetting:
    """PyTorch's setting, which is one for the whole process, shared by the fits of all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: list[MatmulPrecision] = []
        self._before: list[str] = []

    def enter(self, precision: MatmulPrecision) -> None:
        if precision not in _FORMATS:  # before anything is changed that all fits share
            raise ValueError(
                f"matmul_precision must be one of {sorted(_FORMATS)}, got {precision!r}."
            )
        with self._lock:
            if not self._active:
                self._before = [backend.fp32_precision for backend in _backends()]
            self._active.append(precision)
            self._apply_strictest()

    def leave(self, precision: MatmulPrecision) -> None:
        with self._lock:
            self._active.remove(precision)
            if self._active:
                self._apply_strictest()
            else:
                _apply(self._before)

    def _apply_strictest(self) -> None:
        _apply(_FORMATS[min(self._active, key=_STRICTNESS.index)])


_setting = _ProcessSetting()


@contextmanager
def matmul_precision(precision: MatmulPrecision) -> Iterator[None]:
    """Round the entries of float32 matrices to `precision` where they are multiplied.

    PyTorch has one such setting for the whole process. The first block to begin keeps what it
    was, and the last one to end puts it back. Where blocks of several threads overlap, the
    highest precision that one of them asks for holds for all.

    Parameters
    ----------
    precision : {"highest", "high", "medium"}
        "highest" does not round, whatever the setting was.
    """
    _setting.enter(precision)
    try:
        yield
    finally:
        _setting.leave(precision)


def _backends() -> tuple[Any, Any]:
    # PyTorch's type stubs lack the first.
    return torch.backends.mkldnn.matmul, torch.backends.cuda.matmul  # type: ignore[attr-defined]


def _apply(formats: list[str] | tuple[str, str]) -> None:
    for backend, kind in zip(_backends(), formats, strict=True):
        backend.fp32_precision = kind
