"""Whether the parameters of a part have the shapes that its arguments say."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from skflow.flow.base import BaseDistribution
from skflow.flow.bijection import Bijection
from skflow.flow.network import Flow

__all__ = ["check_structure"]

# No argument is larger: numbers of columns, of layers, of bins.
_MOST = 2**24

# A part of so many entries at most is made anew on the CPU.
_FEW_ENTRIES = 2**20


class _TooLarge(ValueError):
    """An argument that no part has."""


def check_structure(module: nn.Module) -> None:
    """Refuse a module whose parameters and buffers are not those of its own arguments.

    Compiled kernels go by the arguments, and would read where nothing is. A part that cannot be
    made of plain data is left to those that it consists of.

    Parameters
    ----------
    module : Module
        What was read from a file: a part of a flow, a flow, or anything else.

    Raises
    ------
    ValueError
        If there is a parameter or buffer too many, too few, or of another shape.
    """
    if isinstance(module, Flow):
        _compare(module.base, module.n_features)
    elif isinstance(module, Bijection):
        _compare(module)


def _compare(part: Bijection | BaseDistribution, n_features: int = 1) -> None:
    twin: Any
    try:
        arguments = part.arguments()
        sizes = [n_features, *(n for n in arguments.values() if type(n) is int and n > 0)]
        if max(sizes) > _MOST:
            raise _TooLarge(f"{type(part).__name__} has an argument beyond {_MOST}.")
        # Nothing is allocated on the other device, but PyTorch takes a second to prepare it.
        is_small = math.prod(sizes) * max(sizes) <= _FEW_ENTRIES
        with torch.device("cpu" if is_small else "meta"):
            twin = type(part).from_arguments(**arguments)
            if isinstance(twin, BaseDistribution):
                twin.allocate(n_features)
    except _TooLarge:
        raise
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return
    if _shapes(twin) != _shapes(part):
        raise ValueError(f"{type(part).__name__} has parameters of other shapes than it says.")


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.shape for name, tensor in tensors}
