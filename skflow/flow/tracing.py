"""Whether a computation is being done, or recorded, transformed or differentiated by PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

__all__ = ["is_differentiated", "is_traced"]


def is_traced(*tensors: Tensor | None) -> bool:
    """Whether an operation on these is not done there and then, on memory of their own.

    It is so while PyTorch compiles or exports, and inside the transforms of :mod:`torch.func`.
    What is written in place, or to ``out=``, and what depends on the values of tensors, must then
    give way to plain operations. Cost: less than a microsecond.

    Parameters
    ----------
    *tensors : Tensor or None
        What the operation computes with.

    Returns
    -------
    traced : bool
        Whether one of them stands for another tensor, or a program is recorded.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow.tracing import is_traced
    >>> is_traced(torch.zeros(2))
    False
    """
    if torch.compiler.is_compiling():
        return True
    try:
        for tensor in tensors:
            if tensor is not None:
                tensor.data_ptr()
    except RuntimeError:  # what stands for others in a transform has no memory
        return True
    return False


def is_differentiated(*tensors: Tensor | None) -> bool:
    """Whether PyTorch differentiates what is computed with these, backwards or forwards.

    Parameters
    ----------
    *tensors : Tensor or None
        What the operation computes with.

    Returns
    -------
    differentiated : bool
        Whether one of them has a gradient to be recorded, or a tangent.
    """
    given = [tensor for tensor in tensors if tensor is not None]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given):
        return True
    return any(unpack_dual(tensor).tangent is not None for tensor in given)
