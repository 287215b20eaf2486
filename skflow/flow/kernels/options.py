"""How Numba compiles, and what its language lacks: pointers, and calls by address."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["INLINED", "OPTIONS", "SUMS", "at", "behind", "call"]

# Products may be fused with sums. Nothing else is taken to be exact: infinities and NaN count.
OPTIONS: Any = {"fastmath": {"contract", "nsz", "arcp"}, "error_model": "numpy"}

# What units call by name becomes a part of them. It would otherwise be compiled twice, in two
# ways: a process that compiles would call the one, and a process that reads from disk the other.
INLINED: Any = OPTIONS | {"forceinline": True}

# And terms of sums may change places.
SUMS: Any = INLINED | {"fastmath": OPTIONS["fastmath"] | {"reassoc"}}


@intrinsic
def at(typing_context: Any, address: Any, like: Any) -> Any:
    """Return the address as a pointer of the type of another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(like))

    return like(types.int64, like), generate


@intrinsic
def behind(typing_context: Any, pointer: Any, n: Any) -> Any:
    """Return a pointer so many places on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, types.int64), generate


@intrinsic
def call(typing_context: Any, address: Any, *arguments: Any) -> Any:
    """Call what lies at an address with pointers and whole numbers."""
    numbers = (types.Integer, types.Boolean)
    kinds = [types.int64 if isinstance(kind, numbers) else kind for kind in arguments]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [context.get_value_type(k) for k in kinds])
        given = [builder.extract_value(values[1], k) for k in range(len(kinds))]
        builder.call(builder.inttoptr(values[0], function.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(types.int64, types.Tuple(kinds)), generate
