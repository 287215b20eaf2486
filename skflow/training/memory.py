"""Memory that is free, but still counted as this process's own."""

import ctypes
import sys
from collections.abc import Callable

__all__ = ["return_freed_memory"]


def return_freed_memory() -> None:
    """Let the C library give what has been freed back to the system, where it would keep it.

    That of Linux keeps tens of megabytes once arrays of some megabytes have come and gone.
    """
    trim = _malloc_trim() if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _malloc_trim() -> Callable[[int], int] | None:
    # Of glibc; not every C library has it.
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
