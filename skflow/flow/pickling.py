"""Pickles that are the same bytes for the same content.

PyTorch writes a tensor's storage under a name that depends on where it lies in memory, so that two
pickles of one object differ, and with them its hash under :func:`joblib.hash`.
"""

from __future__ import annotations

import io
import pickle
import sys
from copy import deepcopy
from types import FunctionType
from typing import Any, Self

import torch
from torch import Tensor, nn

__all__ = ["StablePickle"]


class StablePickle:
    """What is pickled to the same bytes as long as its content is the same.

    Tensors that are pickled with it are written as their entries. Objects that occur more than
    once stay shared within it. It is copied as if it were not for this class, and old pickles of a
    class that derives from it now can still be read.

    Examples
    --------
    >>> import pickle
    >>> import torch
    >>> from skflow.flow import Flow, Normal, Standardize
    >>> flow = Flow([Standardize(torch.zeros(2), torch.ones(2))], Normal(), n_features=2)
    >>> pickle.dumps(flow) == pickle.dumps(pickle.loads(pickle.dumps(flow)))
    True
    """

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        buffer = io.BytesIO()
        _Pickler(buffer).dump(_interned(self._state()))
        return _restored, (type(self), buffer.getvalue())

    def _state(self) -> dict[str, Any]:
        state: Any = self.__getstate__()
        return dict(state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        _set_state(twin, deepcopy(self._state(), memo))
        return twin


class _Pickler(pickle.Pickler):
    _protocol = 5

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=self._protocol)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            return _reduced(obj) if _is_plain(obj) else NotImplemented
        if not hasattr(obj, "__dict__") or isinstance(obj, type | FunctionType):
            return NotImplemented
        reduced = obj.__reduce_ex__(self._protocol)
        if isinstance(reduced, str) or len(reduced) < 3:
            return reduced
        return *reduced[:2], _interned(reduced[2]), *reduced[3:]


def _interned(state: Any) -> Any:
    """Return a state with one string for equal ones, which are otherwise written differently."""
    if type(state) is str:
        return sys.intern(state)
    if type(state) is dict:
        return {_interned(key): _interned(value) for key, value in state.items()}
    return state


def _reduced(tensor: Tensor) -> tuple[Any, ...]:
    flat = tensor.detach().cpu().reshape(-1).contiguous()
    entries = flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""
    details = tuple(tensor.shape), tensor.dtype, sys.intern(str(tensor.device))
    return _tensor, (entries, *details, tensor.requires_grad, isinstance(tensor, nn.Parameter))


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is no more than entries, a type and a device."""
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.layout == torch.strided
        and tensor.device.type != "meta"
        and not tensor.is_quantized
        and tensor.is_leaf
        and not tensor.__dict__
    )


def _tensor(
    entries: bytes,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: str,
    requires_grad: bool,
    is_parameter: bool,
) -> Tensor:
    # A bytearray, as a tensor can be written to; there are none without entries.
    flat = (
        torch.frombuffer(bytearray(entries), dtype=dtype) if entries else torch.empty(0).to(dtype)
    )
    tensor = flat.reshape(shape).to(_here(device))
    if is_parameter:
        return nn.Parameter(tensor, requires_grad)
    return tensor.requires_grad_(requires_grad)


def _here(device: str) -> str:
    """Return a device, or the CPU where there is no such device."""
    return "cpu" if device.startswith("cuda") and not torch.cuda.is_available() else device


def _restored(kind: type, state: bytes) -> Any:
    restored: Any = object.__new__(kind)
    _set_state(restored, pickle.loads(state))
    return restored


def _set_state(new: Any, state: dict[str, Any]) -> None:
    if hasattr(new, "__setstate__"):
        new.__setstate__(state)
    else:
        new.__dict__.update(state)
