"""Units: functions that are compiled one by one, kept on disk, and called by their address.

Numba would compile a function that is called by another one again, with that. Kernels of many
functions would take many times as long to compile.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from numba import cfunc, types

from skflow.flow.kernels.options import (
    OPTIONS,
)

__all__ = ["Unit", "unit"]

_NUMBERS = {torch.float32: types.float32, torch.float64: types.float64}


class Unit:
    """A function of pointers and whole numbers, compiled for one precision when it is needed.

    Parameters
    ----------
    function : callable
        In the language of Numba.
    kinds : str
        A letter for each argument: p for a pointer to numbers of the precision, o for one to
        whole numbers, n for a whole number.
    """

    def __init__(self, function: Callable[..., None], kinds: str) -> None:
        self.function = function
        self.kinds = kinds
        self._compiled: dict[torch.dtype, Any] = {}

    def address(self, dtype: torch.dtype) -> int:
        """Return where the code for a precision is.

        Parameters
        ----------
        dtype : torch.dtype
            float32 or float64.
        """
        if dtype not in self._compiled:
            number = types.CPointer(_NUMBERS[dtype])
            kinds = {"p": number, "o": types.CPointer(types.int64), "n": types.int64}
            signature = types.void(*(kinds[kind] for kind in self.kinds))
            # Numba finds what it keeps on disk by this name. By itself it would see that the file
            # of the function has changed, but not that another one has.
            self.function.__qualname__ = f"{self.function.__name__}_{_version():08x}"
            self._compiled[dtype] = _compiled(signature, self.function)
        return int(self._compiled[dtype].address)

    def callable(self, dtype: torch.dtype) -> Callable[..., None]:
        """Return what Python calls with addresses and whole numbers; other threads run meanwhile.

        Parameters
        ----------
        dtype : torch.dtype
            float32 or float64.
        """
        c_types = [ctypes.c_int64 if kind == "n" else ctypes.c_void_p for kind in self.kinds]
        return ctypes.CFUNCTYPE(None, *c_types)(self.address(dtype))


def unit(kinds: str) -> Callable[[Callable[..., None]], Unit]:
    """Return what makes a unit of a function.

    Parameters
    ----------
    kinds : str
        As for :class:`Unit`.
    """
    return lambda function: Unit(function, kinds)


@cache
def _version() -> int:
    """Return a number that changes with what is written in the files of the kernels."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return zlib.crc32(b"".join(file.read_bytes() for file in files))


def _compiled(signature: Any, function: Callable[..., None]) -> Any:
    try:
        return cfunc(signature, cache=True, **OPTIONS)(function)
    except (OSError, RuntimeError):  # there is no place on disk that can be written to
        return cfunc(signature, **OPTIONS)(function)
