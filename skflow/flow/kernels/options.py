"""How Numba compiles, and what its language lacks: pointers."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

__all__ = ["OPTIONS", "SUMS", "at", "behind"]

# Products may be fused with sums. Nothing else is taken to be exact: infinities and NaN count.
OPTIONS: dict[str, Any] = {"fastmath": {"contract", "nsz", "arcp"}, "error_model": "numpy"}

# And terms of sums may change places.
SUMS: dict[str, Any] = OPTIONS | {"fastmath": OPTIONS["fastmath"] | {"reassoc"}}


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
