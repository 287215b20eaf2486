"""NumPy's arrays, scalars, types and generators in model files."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skflow.exceptions import FileFormatError
from skflow.storage.encoding import Decoder, Encoder

__all__ = ["ARRAY_KINDS", "described_array"]

# Those that safetensors has, on machines that put the lowest byte first, and by any on all others.
_NAMES = {
    **{"<f8": "F64", "<f4": "F32", "<f2": "F16", "<c8": "C64", "|b1": "BOOL"},
    **{"<i8": "I64", "<i4": "I32", "<i2": "I16", "|i1": "I8"},
    **{"<u8": "U64", "<u4": "U32", "<u2": "U16", "|u1": "U8"},
}
_NAME = re.compile(r"[<>|][A-Za-z]\d*(\[\d*[A-Za-z]+\])?")

_PYTHON_TYPES = {cls.__name__: cls for cls in (bool, int, float, complex, str, bytes, object)}
_BIT_GENERATORS = {"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"}


def described_array(encoder: Encoder, value: Any, where: str) -> dict[str, Any] | None:
    """Return a description of something of NumPy's, or None if it is nothing of it.

    Parameters
    ----------
    encoder : Encoder
        What describes its parts.
    value : object
        What to describe.
    where : str
        What it is called in error messages.
    """
    if type(value) in (np.ndarray, np.memmap):
        return _described(encoder, value, where)
    if isinstance(value, np.generic):
        return {"scalar": _described(encoder, np.asarray(value), where)}
    if isinstance(value, np.dtype):
        return {"dtype": np.lib.format.dtype_to_descr(value)}
    if _is_type_of_numbers(value):
        return {"type": value.__name__}
    if isinstance(value, np.random.RandomState):
        return {"random_state": encoder.encode(value.get_state(legacy=False), where)}
    if isinstance(value, np.random.Generator):
        return {"generator": encoder.encode(value.bit_generator.state, where)}
    return None


def _is_type_of_numbers(value: Any) -> bool:
    return isinstance(value, type) and (
        value in _PYTHON_TYPES.values() or issubclass(value, np.generic)
    )


def _described(encoder: Encoder, array: NDArray[Any], where: str) -> dict[str, Any]:
    shape = list(array.shape)
    if array.dtype == object:
        entries = [encoder.encode(entry, f"an entry of {where}") for entry in array.ravel()]
        return {"objects": [shape, entries]}
    if array.dtype.hasobject:
        raise TypeError(f"{where} has entries of {array.dtype}.")
    by_columns = array.flags.f_contiguous and not array.flags.c_contiguous
    rows = np.ascontiguousarray(array.T if by_columns else array)
    flat: Any = rows.reshape(-1).view(np.uint8) if rows.nbytes else b""
    data = memoryview(flat)
    name = _NAMES.get(array.dtype.str)
    stored = (name, rows.shape) if name else ("U8", (data.nbytes,))
    kept = encoder.keep(*stored, data)
    # One that has fields is written once, since trees have hundreds of arrays of them.
    dtype = encoder.encode(array.dtype, where) if array.dtype.fields else array.dtype.str
    return {"array": [kept, dtype, shape, "columns" if by_columns else "rows"]}


def _array(decoder: Decoder, value: Any, number: int) -> NDArray[Any]:
    name, described, shape, order = value
    entry = decoder.entry(name)
    dtype = _plain_dtype(described) if isinstance(described, str) else decoder.decode(described)
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise FileFormatError(f"Array {name} has objects as its entries.")
    if math.prod(shape) * dtype.itemsize != entry.data.nbytes:
        raise FileFormatError(f"Array {name} has not as many bytes as it says.")
    if dtype.kind == "b":  # of anything but 0 and 1 in a file that was altered
        flat = np.frombuffer(entry.data, np.uint8) != 0
    else:
        flat = np.frombuffer(entry.data, dtype) if entry.data else np.empty(0, dtype)
    return flat.reshape(shape[::-1]).T if order == "columns" else flat.reshape(shape)


def _objects(decoder: Decoder, value: Any, number: int) -> NDArray[Any]:
    shape, entries = value
    array = np.empty(len(entries), object)
    for i, entry in enumerate(entries):
        array[i] = decoder.decode(entry)
    return array.reshape(shape)


def _scalar(decoder: Decoder, value: Any, number: int) -> Any:
    return _array(decoder, value["array"], number)[()]


def _dtype(decoder: Decoder, value: Any, number: int) -> np.dtype[Any]:
    return np.lib.format.descr_to_dtype(_with_tuples(value))


def _with_tuples(descr: Any) -> Any:
    """Return the description of a type, in which JSON has lists for tuples."""
    if not isinstance(descr, list):
        return _plain_dtype(descr).str
    return [(name, _with_tuples(kind), *map(tuple, shape)) for name, kind, *shape in descr]


def _plain_dtype(name: str) -> np.dtype[Any]:
    """Return the type that NumPy gives a name, and none of those that it reads from a text."""
    if not _NAME.fullmatch(name):
        raise FileFormatError(f"{name[:40]!r} is no type of entries.")
    return np.dtype(name)


def _type(decoder: Decoder, value: Any, number: int) -> type:
    cls = _PYTHON_TYPES.get(value) or getattr(np, value)
    if not _is_type_of_numbers(cls):
        raise FileFormatError(f"{value[:40]} is no type of numbers.")
    return cls


def _bit_generator(decoder: Decoder, value: Any) -> Any:
    state = decoder.decode(value)
    if state["bit_generator"] not in _BIT_GENERATORS:
        raise FileFormatError("A generator of random numbers is none of NumPy's.")
    made = getattr(np.random, state["bit_generator"])(0)
    made.state = state
    return made


def _random_state(decoder: Decoder, value: Any, number: int) -> np.random.RandomState:
    return np.random.RandomState(_bit_generator(decoder, value))


def _generator(decoder: Decoder, value: Any, number: int) -> np.random.Generator:
    return np.random.Generator(_bit_generator(decoder, value))


ARRAY_KINDS = {
    "array": _array,
    "objects": _objects,
    "scalar": _scalar,
    "dtype": _dtype,
    "type": _type,
    "random_state": _random_state,
    "generator": _generator,
}
"""What makes each kind, for :attr:`Decoder.kinds`."""
