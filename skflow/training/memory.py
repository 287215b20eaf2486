"""Memory that is free, but still counted as this process's own."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache

import torch

__all__ = ["freeing_functions", "return_freed_memory"]


def return_freed_memory() -> None:
    """Let the libraries below give what has been freed back to the system, where they keep it.

    The C library of Linux keeps tens of megabytes once arrays of some megabytes have come and
    gone, and MKL what its factorisations took. Cost: some milliseconds.
    """
    for function, arguments in freeing_functions(sys.platform):
        function(*arguments)


@cache
def freeing_functions(platform: str) -> list[tuple[Callable[..., int], tuple[int, ...]]]:
    """Return what gives freed memory back, and what it is called with.

    Parameters
    ----------
    platform : str
        As :data:`sys.platform` names the operating system. Only "linux" needs any.
    """
    if platform != "linux":
        return []
    # Of this thread alone, as others may be at work. Not all builds of PyTorch have MKL, nor all C
    # libraries a `malloc_trim`: what is missing is None.
    found = (
        (getattr(ctypes.CDLL(torch._C.__file__), "mkl_serv_thread_free_buffers", None), ()),
        (getattr(ctypes.CDLL(None), "malloc_trim", None), (0,)),
    )
    return [(function, arguments) for function, arguments in found if function is not None]
