"""Fitted estimators as plain data and arrays, and back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils import Bunch
from torch import nn

from skflow._sklearn.array_encoding import ARRAY_KINDS, described_array
from skflow._sklearn.frame_encoding import FRAME_KINDS, described_column_type
from skflow._sklearn.known_classes import (
    class_named,
    function_named,
    is_known_class,
    is_known_function,
    name_of,
)
from skflow._sklearn.tree_encoding import TREE_KINDS, check_trees, described_tree
from skflow.exceptions import FileFormatError
from skflow.flow.structure import check_structure
from skflow.storage.encoding import Decoder, Described, Encoder

__all__ = ["ModelDecoder", "ModelEncoder"]

# What every module of PyTorch has beside its own attributes, and which of it says something.
_OF_MODULES = set(nn.Module().__dict__)
_KEPT_OF_MODULES = (
    "training",
    "_parameters",
    "_buffers",
    "_non_persistent_buffers_set",
    "_modules",
)

_DICTS = {cls.__name__: cls for cls in (OrderedDict, Bunch)}
_SIMPLE = (date, datetime, timedelta, Decimal)


class ModelEncoder(Encoder):
    """Describes estimators, flows, and what these are made of."""

    def dictionary(self, value: dict[Any, Any], where: str) -> Described:
        if type(value) is dict:
            return super().dictionary(value, where)
        if type(value) in _DICTS.values():
            pairs = super().dictionary(value, where)["dict"]
            return {"dictionary": [type(value).__name__, pairs]}
        return self.other(value, where)

    def other(self, value: Any, where: str) -> Described:
        for describe in (described_array, described_column_type, described_tree):
            described = describe(self, value, where)
            if described is not None:
                return described
        cls = type(value)
        if isinstance(value, bytes):
            return {"bytes": self.keep("U8", (len(value),), memoryview(value))}
        if cls in (set, frozenset):
            return {cls.__name__: self._each(sorted(value, key=repr), where)}
        if cls is slice:
            return {"slice": self._each([value.start, value.stop, value.step], where)}
        if cls is complex:
            return {"complex": self._each([value.real, value.imag], where)}
        if cls is torch.Size:
            return {"torch_size": list(value)}
        if cls in (torch.dtype, torch.device):
            return {f"torch_{cls.__name__}": str(value).removeprefix("torch.")}
        if cls in _SIMPLE:
            return {"simple": [cls.__name__, _argument(value)]}
        if cls is partial:
            return {"partial": self._each([value.func, value.args, value.keywords], where)}
        if is_known_function(value):
            name = value.__name__ if isinstance(value, np.ufunc) else name_of(value)
            return {"function": name}
        if isinstance(value, tuple) and hasattr(value, "_fields") and is_known_class(cls):
            return {"named_tuple": [name_of(cls), self._each(value, where)]}
        if not is_known_class(cls):
            return super().other(value, where)
        kind = "module" if isinstance(value, nn.Module) else "object"
        return {kind: [name_of(cls), self.encode(_state_of(value), where)]}


def _object(decoder: Decoder, value: Any, number: int) -> Any:
    name, described = value
    cls = class_named(name)
    made = decoder.fill(number, object.__new__(cls))
    state = decoder.decode(described)
    if type(state) is not dict:
        raise FileFormatError(f"The state of a {cls.__name__} is no dict.")
    if hasattr(made, "_set_attributes"):
        made._set_attributes(state)
    elif hasattr(made, "__setstate__"):
        made.__setstate__(state)
    else:
        made.__dict__.update(state)
    check_trees(made)
    return made


def _module(decoder: Decoder, value: Any, number: int) -> nn.Module:
    name, described = value
    cls = class_named(name)
    if not issubclass(cls, nn.Module):
        raise FileFormatError(f"{name} is no module.")
    made: nn.Module = decoder.fill(number, cls.__new__(cls))
    made.__setstate__(nn.Module().__dict__ | decoder.decode(described))
    check_structure(made)
    return made


def _state_of(value: Any) -> dict[str, Any]:
    """Return the attributes that make an object again."""
    state = value._attributes() if hasattr(value, "_attributes") else value.__getstate__()
    if isinstance(value, nn.Module):
        own = {name: entry for name, entry in state.items() if name not in _OF_MODULES}
        return {name: state[name] for name in _KEPT_OF_MODULES} | own
    return {} if state is None else dict(state)


def _argument(value: Any) -> Any:
    if isinstance(value, timedelta):
        return [value.days, value.seconds, value.microseconds]
    return str(value) if isinstance(value, Decimal) else value.isoformat()


def _simple(name: str, argument: Any) -> Any:
    cls: Any = {cls.__name__: cls for cls in _SIMPLE}[name]
    if cls is timedelta:
        return timedelta(*argument)
    return Decimal(argument) if cls is Decimal else cls.fromisoformat(argument)


def _dictionary(decoder: Decoder, name: str, pairs: Any) -> Any:
    made: Any = _DICTS[name]()
    made.update((decoder.decode(key), decoder.decode(entry)) for key, entry in pairs)
    return made


def _partial(function: Any, arguments: Any, keywords: Any) -> Any:
    if not is_known_function(function):
        raise FileFormatError("A part of a function is one of no function.")
    return partial(function, *arguments, **keywords)


def _named_tuple(decoder: Decoder, name: str, values: Any) -> Any:
    cls = class_named(name)
    if not (issubclass(cls, tuple) and hasattr(cls, "_make")):
        raise FileFormatError(f"{name} is no named tuple.")
    return cls._make(map(decoder.decode, values))


def _torch_dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    if not isinstance(dtype, torch.dtype):
        raise FileFormatError(f"{name[:40]} is no type of PyTorch's.")
    return dtype


def _torch_device(name: str) -> torch.device:
    """Return a device, or the CPU on a machine that has no such device."""
    device = torch.device(name)
    return device if device.type == "cpu" or torch.cuda.is_available() else torch.device("cpu")


class ModelDecoder(Decoder):
    """Makes estimators, flows, and what these are made of."""

    kinds: ClassVar[Mapping[str, Callable[..., Any]]] = {
        **ARRAY_KINDS,
        **FRAME_KINDS,
        **TREE_KINDS,
        "object": _object,
        "module": _module,
        "bytes": lambda decoder, value, number: bytes(decoder.entry(value).data),
        "set": lambda decoder, value, number: set(map(decoder.decode, value)),
        "frozenset": lambda decoder, value, number: frozenset(map(decoder.decode, value)),
        "slice": lambda decoder, value, number: slice(*map(decoder.decode, value)),
        "complex": lambda decoder, value, number: complex(*map(decoder.decode, value)),
        "dictionary": lambda decoder, value, number: _dictionary(decoder, *value),
        "torch_size": lambda decoder, value, number: torch.Size(value),
        "torch_dtype": lambda decoder, value, number: _torch_dtype(value),
        "torch_device": lambda decoder, value, number: _torch_device(value),
        "simple": lambda decoder, value, number: _simple(*value),
        "partial": lambda decoder, value, number: _partial(*map(decoder.decode, value)),
        "function": lambda decoder, value, number: function_named(value),
        "named_tuple": lambda decoder, value, number: _named_tuple(decoder, *value),
    }
