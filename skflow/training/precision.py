"""The precision of products of float32 matrices while training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

__all__ = ["MatmulPrecision", "matmul_precision"]

MatmulPrecision = Literal["highest", "high", "medium"]

# What each stands for on a CPU and on a GPU. Sums are kept in float32 all the same.
_FORMATS = {"high": ("tf32", "tf32"), "medium": ("bf16", "tf32")}


@contextmanager
def matmul_precision(precision: MatmulPrecision) -> Iterator[None]:
    """Round the entries of float32 matrices to `precision` where they are multiplied.

    PyTorch has no such setting but for the whole process: it is put back at the end, and not
    touched for "highest".
    """
    if precision == "highest":
        yield
        return
    # PyTorch's type stubs lack the first.
    backends = (torch.backends.mkldnn.matmul, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend, kind in zip(backends, _FORMATS[precision], strict=True):
            backend.fp32_precision = kind
        yield
    finally:
        for backend, kind in zip(backends, before, strict=True):
            backend.fp32_precision = kind
