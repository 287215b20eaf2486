"""Exponentials and logarithms that are worked out for several numbers at once.

Those of the C library take one number at a time.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from skflow.flow.kernels.options import (
    INLINED,
    OPTIONS,
)

__all__ = ["exp", "log", "sigmoid", "softplus"]

# The logarithm of 2 in two parts, the first of which has so few digits that its products with
# exponents are exact.
_LOG2, _LOG2_HEAD = math.log(2), 0.693145751953125
_LOG2_REST = 1.42860682030941723212e-6

# The first coefficients of the series of exp(r), and of those of artanh(s) / s in s².
_EXP = tuple(1 / math.factorial(k) for k in range(14))
_ARTANH = tuple(1 / (2 * k + 1) for k in range(11))


@intrinsic
def _floor(typing_context: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = builder.module.declare_intrinsic("llvm.floor", [arguments[0].type])
        return builder.call(function, arguments)

    return x(x), generate


@intrinsic
def _bits(typing_context: Any, x: Any) -> Any:
    """Return a number as the integer that is stored in its place."""
    kind = types.int32 if x == types.float32 else types.int64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(kind))

    return kind(x), generate


@intrinsic
def _from_bits(typing_context: Any, bits: Any, like: Any) -> Any:
    """Return the number of the type of another that is stored as an integer of 64 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        stored = arguments[0]
        if like == types.float32:  # the lower half counts
            stored = builder.trunc(stored, ir.IntType(32))
        return builder.bitcast(stored, context.get_value_type(like))

    return like(types.int64, like), generate


@intrinsic
def _whole(typing_context: Any, x: Any) -> Any:
    """Return a number that is whole as an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fptosi(arguments[0], ir.IntType(32))

    return types.int32(x), generate


@njit(**INLINED)
def _series(z, coefficients, n_terms):
    value = type(z)(coefficients[n_terms - 1])
    for k in range(n_terms - 2, -1, -1):
        value = value * z + type(z)(coefficients[k])
    return value


@njit(**INLINED)
def _scaled_exp(x, least, most, n_terms, bias, n_digits):
    """Return exp(x) as a power of 2 and the exponential of what is left of `x`."""
    number = type(x)
    x = number(least) if x < number(least) else x
    x = number(most) if x > number(most) else x
    n = _floor(x * number(1 / _LOG2) + number(0.5))
    r = (x - n * number(_LOG2_HEAD)) - n * number(_LOG2_REST)
    power = _from_bits((types.int64(_whole(n)) + bias) << n_digits, x)
    return _series(r, _EXP, n_terms) * power


@njit(**INLINED)
def _scaled_log(x, offset, n_terms, n_digits):
    """Return log(x) as that of a power of 2 and log(1 + r) = 2 artanh(r / (2 + r))."""
    number = type(x)
    bits = types.int64(_bits(x))
    n = (bits - offset) >> n_digits
    r = _from_bits(bits - (n << n_digits), x) - number(1)
    s = r / (r + number(2))
    value = number(2) * s * _series(s * s, _ARTANH, n_terms)
    return number(types.int32(n)) * number(_LOG2) + value if x == x else x


def exp(x):
    """Return exp(x), in the precision of `x`. It neither overflows nor underflows."""


def log(x):
    """Return log(x) of a positive `x`, in its precision."""


# In float32 and in float64: what does not overflow, how many terms of a series count, and how
# numbers are stored. 0x3F3504F3 and 0x3FE6A09E667F3BCD are the roots of 1/2.


@overload(exp, jit_options=OPTIONS)
def _choose_exp(x):
    if x == types.float32:
        return lambda x: _scaled_exp(x, -87, 88, 8, 127, 23)
    return lambda x: _scaled_exp(x, -708, 709, 14, 1023, 52)


@overload(log, jit_options=OPTIONS)
def _choose_log(x):
    if x == types.float32:
        return lambda x: _scaled_log(x, 0x3F3504F3, 5, 23)
    return lambda x: _scaled_log(x, 0x3FE6A09E667F3BCD, 11, 52)


@njit(**INLINED)
def _log1p(x):
    """Return log(1 + x) of an `x` from 0 to 1."""
    one = type(x)(1)
    u = one + x
    return log(u) + (x - (u - one)) / u  # with what the sum lost


@njit(**INLINED)
def softplus(u):
    """Return log(1 + exp(u))."""
    zero = type(u)(0)
    return (u if u > zero else zero) + _log1p(exp(-abs(u)))


@njit(**INLINED)
def sigmoid(u):
    """Return the derivative of the softplus."""
    one = type(u)(1)
    e = exp(-abs(u))
    return (one if u > type(u)(0) else e) / (one + e)
