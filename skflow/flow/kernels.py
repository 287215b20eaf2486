r"""Compiled maps of rows by splines, and by the affine maps of a coupling before them.

Numba compiles what is here when it is first called, and keeps that on disk. All of it stands in
one file, as Numba compiles a file anew when that has changed, but not when what it imports has.

A *column* is mapped by an affine map, if there is one, and by a monotone rational-quadratic spline,
if there is one. The numbers that they are made of are those of all rows, or each row has its own.
The formulae are those of :mod:`skflow.flow.splines`, which is the oracle of the tests:
:ref:`derivatives_of_splines` derives them.

Rows are worked off in blocks of 64, a column at a time, in a table of scratch whose rows are 64
entries long. So each inner loop runs over neighbours, has a length that is known, and becomes a
few instructions on whole registers. That is also why exponentials and logarithms of float32 are
written out here: those of the C library take one number at a time.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from llvmlite import ir
from numba import cfunc, njit, types
from numba.extending import intrinsic, overload

from skflow.flow.splines import LEAST_SLOPE, UNIT_SLOPE

__all__ = ["kernel", "scratch_entries"]

# Products may be fused with sums. Nothing else is taken to be exact: infinities and NaN count.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract", "nsz", "arcp"}, "error_model": "numpy"}

_BLOCK = 64

# ---------------------------------------------------------------------------------------------
# Elementary functions
# ---------------------------------------------------------------------------------------------

# The logarithm of 2 in two parts, the first of which has few digits.
_LOG2, _LOG2_HEAD = math.log(2), 0.693359375
_LOG2_REST = _LOG2 - _LOG2_HEAD
_PER_LOG2 = 1 / _LOG2

# The best polynomials for the relative error of (exp(r) - 1 - r) / r² on |r| < log(2) / 2, of
# (log(1 + r) - r + r² / 2) / r³ between the roots of 1/2 and 2, and of log(1 + r) / r on [0, 1].
_EXP = (0.5, 0.16666577, 0.04166685, 0.0083632, 0.00139013)
_LOG = (
    0.33333331, -0.24999994, 0.20000715, -0.16668058, 0.14249323, -0.12420141, 0.11676999,
    -0.11514607, 0.07037679,
)  # fmt: skip
_LOG1P = (
    1.0, -0.49999902, 0.33329962, -0.24954134, 0.19675939, -0.15305592, 0.10603653, -0.05695952,
    0.01985145, -0.00324402,
)  # fmt: skip


@intrinsic
def _floor(typing_context: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = builder.module.declare_intrinsic("llvm.floor", [arguments[0].type])
        return builder.call(function, arguments)

    return x(x), generate


@intrinsic
def _bits(typing_context: Any, x: Any) -> Any:
    """Return a float32 as the integer that is stored in its place."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(x), generate


@intrinsic
def _from_bits(typing_context: Any, bits: Any) -> Any:
    """Return the float32 that is stored as an integer of 64 bits, of which the lower half counts."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.trunc(arguments[0], ir.IntType(32)), ir.FloatType())

    return types.float32(types.int64), generate


@intrinsic
def _whole(typing_context: Any, x: Any) -> Any:
    """Return a float32 that is whole as an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fptosi(arguments[0], ir.IntType(32))

    return types.int32(x), generate


@njit(forceinline=True, **_OPTIONS)
def _quartic(x, a, b, c, d, e):
    """Return a + b x + c x² + d x³ + e x⁴."""
    number = type(x)
    return number(a) + x * (number(b) + x * (number(c) + x * (number(d) + x * number(e))))


@njit(forceinline=True, **_OPTIONS)
def _exp_single(x):
    number = type(x)
    x = number(-87) if x < number(-87) else x
    x = number(88) if x > number(88) else x
    n = _floor(x * number(_PER_LOG2) + number(0.5))
    r = (x - n * number(_LOG2_HEAD)) - n * number(_LOG2_REST)
    power = _from_bits((_whole(n) + 127) << 23)
    return (number(1) + (r + r * r * _quartic(r, *_EXP))) * power


@njit(forceinline=True, **_OPTIONS)
def _log_single(x):
    number = type(x)
    bits = _bits(x)
    n = (bits - 0x3F330000) >> 23
    r = _from_bits(bits - (n << 23)) - number(1)
    upper = _quartic(r, *_LOG[4:])
    q = _quartic(r, _LOG[0], _LOG[1], _LOG[2], _LOG[3], upper)
    value = r - r * r * (number(0.5) - r * q)
    return number(n) * number(_LOG2) + value if x == x else x


@njit(forceinline=True, **_OPTIONS)
def _log1p_single(x):
    upper = _quartic(x, *_LOG1P[5:])
    return x * _quartic(x, _LOG1P[0], _LOG1P[1], _LOG1P[2], _LOG1P[3], type(x)(_LOG1P[4]) + x * upper)


def _exp(x):
    """Return exp(x), in the precision of `x`. That of float32 does not overflow."""


def _log(x):
    """Return log(x) of a positive `x`, in its precision."""


def _log1p(x):
    """Return log(1 + x) of an `x` from 0 to 1, in its precision."""


@overload(_exp, jit_options=_OPTIONS)
def _choose_exp(x):
    return (lambda x: _exp_single(x)) if x == types.float32 else (lambda x: math.exp(x))


@overload(_log, jit_options=_OPTIONS)
def _choose_log(x):
    return (lambda x: _log_single(x)) if x == types.float32 else (lambda x: math.log(x))


@overload(_log1p, jit_options=_OPTIONS)
def _choose_log1p(x):
    return (lambda x: _log1p_single(x)) if x == types.float32 else (lambda x: math.log1p(x))


@njit(forceinline=True, **_OPTIONS)
def _softplus(u):
    zero = type(u)(0)
    return (u if u > zero else zero) + _log1p(_exp(-abs(u)))


@njit(forceinline=True, **_OPTIONS)
def _sigmoid(u):
    one = type(u)(1)
    e = _exp(-abs(u))
    return (one if u > type(u)(0) else e) / (one + e)


# ---------------------------------------------------------------------------------------------
# A spline in the bin that its argument lies in
# ---------------------------------------------------------------------------------------------


@njit(forceinline=True, **_OPTIONS)
def _value_and_slope(x, x_k, w, y_k, h, d, d_next):
    one, two = type(x)(1), type(x)(2)
    inner = x_k if x < x_k else x
    inner = x_k + w if inner > x_k + w else inner
    xi = (inner - x_k) / w
    s = h / w
    mixed = xi * (one - xi)
    beta = s + (d + d_next - two * s) * mixed
    r = (s * xi * xi + d * mixed) / beta
    nu = d_next * xi * xi + two * s * mixed + d * (one - xi) * (one - xi)
    slope = (s / beta) * (s / beta) * nu
    return y_k + h * r + (x - inner) * slope, slope


@njit(forceinline=True, **_OPTIONS)
def _argument_and_slope(y, x_k, w, y_k, h, d, d_next):
    """Return where the spline is `y`, and its slope there."""
    zero, one, two = type(y)(0), type(y)(1), type(y)(2)
    inner = y_k if y < y_k else y
    inner = y_k + h if inner > y_k + h else inner
    rise = inner - y_k
    s = h / w
    bent = rise * (d + d_next - two * s)
    a = h * (s - d) + bent
    b = h * d - bent
    c = s * rise
    discriminant = b * b + two * two * a * c
    root = math.sqrt(discriminant if discriminant > zero else zero)
    # The form of the root in which nothing cancels.
    xi = two * c / (b + root)
    slope = one
    for _ in range(3):  # steps of Newton's method make up for the rounding of the root
        xi = zero if xi < zero else xi
        xi = one if xi > one else xi
        value, slope = _value_and_slope(xi * w, zero, w, zero, h, d, d_next)
        xi -= (value - rise) / (slope * w)
    return x_k + xi * w + (y - inner) / slope, slope


@njit(forceinline=True, **_OPTIONS)
def _derivatives(x, x_k, w, y_k, h, d, d_next, by_y, by_log_slope):
    """Return the gradients by `x`; by `x` and by the spread of the bin, within it; and by the rest.

    Those by the knots follow: with these names, by_x_k = spread - by_inner and by_x_next =
    -spread; by_y_k = by_y - by_high and by_y_next = by_high.
    """
    zero, one, two = type(x)(0), type(x)(1), type(x)(2)
    inner = x_k if x < x_k else x
    inner = x_k + w if inner > x_k + w else inner
    outer = x - inner
    over_w = one / w
    xi = (inner - x_k) * over_w
    rest = one - xi
    s = h * over_w
    mixed = xi * rest
    sigma = d + d_next - two * s
    over_beta = one / (s + sigma * mixed)
    r = (s * xi * xi + d * mixed) * over_beta
    nu = d_next * xi * xi + two * s * mixed + d * rest * rest
    slope = (s * over_beta) * (s * over_beta) * nu
    # The slope of the line outside is that in the last bin's end.
    by_log = by_log_slope + by_y * outer * slope
    by_alpha = by_y * h * over_beta
    by_beta = -(by_alpha * r + two * by_log * over_beta)
    by_nu = by_log / nu
    by_s = by_beta * (one - two * mixed) + by_alpha * xi * xi
    by_s += two * by_nu * mixed + two * by_log / s
    balance = rest - xi
    by_xi = by_beta * sigma * balance + by_alpha * (d * balance + two * s * xi)
    by_xi += two * by_nu * (s * balance + d_next * xi - d * rest)
    by_xi = by_xi if outer == zero else zero
    by_inner = by_xi * over_w
    spread = (by_xi * xi + by_s * s) * over_w
    by_high = by_s * over_w + by_y * r
    by_d = (by_beta + by_alpha) * mixed + by_nu * rest * rest
    by_d_next = by_beta * mixed + by_nu * xi * xi
    by_x = by_inner if outer == zero else by_y * slope
    return by_x, by_inner, spread, by_high, by_d, by_d_next


# ---------------------------------------------------------------------------------------------
# Scratch, and what all directions have in common
# ---------------------------------------------------------------------------------------------

# Its first rows: the values on both sides, their log-slopes, the affine map, gradients, the bins
# that rows lie in, and sums. Shares of widths, of heights and raw slopes follow, K of each and a
# slope more, and in a pullback as many sums of their gradients.
_X, _Y, _LOG_SLOPE, _SCALE, _SHIFT, _BY_Y, _BY_LOG, _SPREAD, _BY_HIGH = range(9)
_LEFT, _RIGHT, _LOW, _HIGH, _SLOPE, _NEXT_SLOPE, _INDEX, _SUM, _OTHER_SUM = range(9, 18)
_TABLE = 18


def scratch_entries(n_bins: int) -> int:
    """Return how many numbers of scratch a call needs.

    Parameters
    ----------
    n_bins : int
        The number K of bins.
    """
    return _BLOCK * (_TABLE + 2 * (3 * n_bins + 1))


@njit(**_OPTIONS)
def _load(scratch, row, source, first, stride, n):
    for r in range(n):
        scratch[row * _BLOCK + r] = source[first + r * stride]


@njit(**_OPTIONS)
def _store(scratch, row, target, first, stride, n):
    for r in range(n):
        target[first + r * stride] = scratch[row * _BLOCK + r]


@njit(**_OPTIONS)
def _softmax(scratch, row, n_bins):
    """Take a softmax over so many rows of scratch."""
    zero = type(scratch[0])(0)
    for r in range(_BLOCK):
        scratch[_SUM * _BLOCK + r] = zero
        scratch[_OTHER_SUM * _BLOCK + r] = scratch[row * _BLOCK + r]
    for k in range(1, n_bins):
        for r in range(_BLOCK):
            most = scratch[_OTHER_SUM * _BLOCK + r]
            value = scratch[(row + k) * _BLOCK + r]
            scratch[_OTHER_SUM * _BLOCK + r] = value if value > most else most
    for k in range(n_bins):
        for r in range(_BLOCK):
            e = _exp(scratch[(row + k) * _BLOCK + r] - scratch[_OTHER_SUM * _BLOCK + r])
            scratch[(row + k) * _BLOCK + r] = e
            scratch[_SUM * _BLOCK + r] += e
    for k in range(n_bins):
        for r in range(_BLOCK):
            scratch[(row + k) * _BLOCK + r] /= scratch[_SUM * _BLOCK + r]


@njit(**_OPTIONS)
def _load_table(scratch, spacings, slopes, m, start, n, n_columns, n_bins, n_slopes, stride, own):
    """Load the numbers of the splines of a column, and take the softmax over bins."""
    zero = type(scratch[0])(0)
    fixed = (n_bins + 1 - n_slopes) // 2
    for axis in range(2):
        for k in range(n_bins):
            first = ((axis * n_columns + m) * n_bins + k) * stride + start * own
            _load(scratch, _TABLE + axis * n_bins + k, spacings, first, own, n)
        _softmax(scratch, _TABLE + axis * n_bins, n_bins)
    for k in range(n_slopes):
        first = (m * n_slopes + k) * stride + start * own
        _load(scratch, _TABLE + 2 * n_bins + fixed + k, slopes, first, own, n)
    if fixed:
        for r in range(_BLOCK):
            scratch[(_TABLE + 2 * n_bins) * _BLOCK + r] = zero
            scratch[(_TABLE + 3 * n_bins) * _BLOCK + r] = zero


@njit(**_OPTIONS)
def _load_affine(scratch, affine, m, start, n, n_rows, n_columns):
    """Load the affine map of a column, and bound its log-scale by a hyperbolic tangent."""
    zero, one, two = type(scratch[0])(0), type(scratch[0])(1), type(scratch[0])(2)
    _load(scratch, _SCALE, affine, m * n_rows + start, 1, n)
    _load(scratch, _SHIFT, affine, (n_columns + m) * n_rows + start, 1, n)
    for r in range(_BLOCK):
        raw = scratch[_SCALE * _BLOCK + r]
        e = _exp(-abs(raw))
        size = two * (one - e) / (one + e)
        scratch[_SCALE * _BLOCK + r] = size if raw > zero else -size


@njit(**_OPTIONS)
def _move(scratch):
    """Map by the affine map."""
    for r in range(_BLOCK):
        scale = _exp(scratch[_SCALE * _BLOCK + r])
        moved = scratch[_SHIFT * _BLOCK + r] + scratch[_X * _BLOCK + r] * scale
        scratch[_X * _BLOCK + r] = moved


@njit(**_OPTIONS)
def _locate(scratch, low, size, m, n_columns, n_bins, least, by_y):
    """Find the bin of each row: the knots, the raw slopes at them, and its number."""
    number = type(scratch[0])
    zero, free = number(0), number(1) - number(n_bins) * least
    low_x, size_x, low_y, size_y = low[m], size[m], low[n_columns + m], size[n_columns + m]
    heights, slopes = _TABLE + n_bins, _TABLE + 2 * n_bins
    values = _Y if by_y else _X
    for r in range(_BLOCK):
        scratch[_SUM * _BLOCK + r] = zero
        scratch[_OTHER_SUM * _BLOCK + r] = zero
        scratch[_LEFT * _BLOCK + r] = low_x
        scratch[_RIGHT * _BLOCK + r] = low_x + size_x
        scratch[_LOW * _BLOCK + r] = low_y
        scratch[_HIGH * _BLOCK + r] = low_y + size_y
        scratch[_SLOPE * _BLOCK + r] = scratch[slopes * _BLOCK + r]
        scratch[_NEXT_SLOPE * _BLOCK + r] = scratch[(slopes + 1) * _BLOCK + r]
        scratch[_INDEX * _BLOCK + r] = zero
    for k in range(1, n_bins):
        for r in range(_BLOCK):
            scratch[_SUM * _BLOCK + r] += scratch[(_TABLE + k - 1) * _BLOCK + r]
            scratch[_OTHER_SUM * _BLOCK + r] += scratch[(heights + k - 1) * _BLOCK + r]
            offset = number(k) * least
            x_k = low_x + size_x * (free * scratch[_SUM * _BLOCK + r] + offset)
            y_k = low_y + size_y * (free * scratch[_OTHER_SUM * _BLOCK + r] + offset)
            beyond = scratch[values * _BLOCK + r] >= (y_k if by_y else x_k)
            right, high = scratch[_RIGHT * _BLOCK + r], scratch[_HIGH * _BLOCK + r]
            scratch[_RIGHT * _BLOCK + r] = right if beyond or right < x_k else x_k
            scratch[_HIGH * _BLOCK + r] = high if beyond or high < y_k else y_k
            if beyond:
                scratch[_LEFT * _BLOCK + r] = x_k
                scratch[_LOW * _BLOCK + r] = y_k
                scratch[_SLOPE * _BLOCK + r] = scratch[(slopes + k) * _BLOCK + r]
                scratch[_NEXT_SLOPE * _BLOCK + r] = scratch[(slopes + k + 1) * _BLOCK + r]
                scratch[_INDEX * _BLOCK + r] = number(k)


@njit(forceinline=True, **_OPTIONS)
def _bin(scratch, r):
    """Return the knot on the left, the width, the knot below, the height and both slopes."""
    number = type(scratch[0])
    unit, least = number(UNIT_SLOPE), number(LEAST_SLOPE)
    x_k, y_k = scratch[_LEFT * _BLOCK + r], scratch[_LOW * _BLOCK + r]
    w, h = scratch[_RIGHT * _BLOCK + r] - x_k, scratch[_HIGH * _BLOCK + r] - y_k
    d = _softplus(scratch[_SLOPE * _BLOCK + r] + unit) + least
    d_next = _softplus(scratch[_NEXT_SLOPE * _BLOCK + r] + unit) + least
    return x_k, w, y_k, h, d, d_next


# ---------------------------------------------------------------------------------------------
# The kernels
# ---------------------------------------------------------------------------------------------

# What they take, as pointers and numbers. `x` and `y` are rows of `n_given` columns that stay what
# they are and of M others that are mapped, in memory of any strides.
#
# scratch      room for as many numbers as :func:`scratch_entries` says
# spacings     of shape (2, M, K), slopes of shape (M, K + 1) or, with slopes of 1 at the ends,
#              (M, K - 1): the numbers that splines are made of. `own` is 1 if each row has its
#              own, all of them behind one another, or else 0. `stride` lies between two of these.
# affine       of shape (2, M, N): the raw log-scales and the shifts, if `has_affine`
# low, size    of shape (2, M): the lower ends, and the sizes, of the box, by x and by y
# least        the share of the box that a bin takes at least


def _forward(
    scratch, spacings, slopes, affine, low, size, least, x, x_row, x_column, y, y_row, y_column,
    log_det, n_rows, n_given, n_columns, n_bins, n_slopes, stride, own, has_affine,
):  # fmt: skip
    zero = type(scratch[0])(0)
    for r in range(n_rows):
        log_det[r] = zero
        for j in range(n_given):
            y[r * y_row + j * y_column] = x[r * x_row + j * x_column]
    for m in range(n_columns):
        column = n_given + m
        for start in range(0, n_rows, _BLOCK):
            n = min(_BLOCK, n_rows - start)
            _load(scratch, _X, x, start * x_row + column * x_column, x_row, n)
            for r in range(_BLOCK):
                scratch[_LOG_SLOPE * _BLOCK + r] = zero
            if has_affine:
                _load_affine(scratch, affine, m, start, n, n_rows, n_columns)
                _move(scratch)
                for r in range(_BLOCK):
                    scratch[_LOG_SLOPE * _BLOCK + r] = scratch[_SCALE * _BLOCK + r]
            if n_bins == 0:
                _store(scratch, _X, y, start * y_row + column * y_column, y_row, n)
            else:
                if own or start == 0:
                    _load_table(
                        scratch, spacings, slopes, m, start, n if own else _BLOCK,
                        n_columns, n_bins, n_slopes, stride, own,
                    )  # fmt: skip
                _locate(scratch, low, size, m, n_columns, n_bins, least, False)
                for r in range(_BLOCK):
                    x_k, w, y_k, h, d, d_next = _bin(scratch, r)
                    value, slope = _value_and_slope(
                        scratch[_X * _BLOCK + r], x_k, w, y_k, h, d, d_next
                    )
                    scratch[_Y * _BLOCK + r] = value
                    scratch[_LOG_SLOPE * _BLOCK + r] += _log(slope)
                _store(scratch, _Y, y, start * y_row + column * y_column, y_row, n)
            for r in range(n):
                log_det[start + r] += scratch[_LOG_SLOPE * _BLOCK + r]


def _inverse(
    scratch, spacings, slopes, affine, low, size, least, y, y_row, y_column, x, x_row, x_column,
    log_det, n_rows, n_given, n_columns, n_bins, n_slopes, stride, own, has_affine,
):  # fmt: skip
    zero = type(scratch[0])(0)
    for r in range(n_rows):
        log_det[r] = zero
        for j in range(n_given):
            x[r * x_row + j * x_column] = y[r * y_row + j * y_column]
    for m in range(n_columns):
        column = n_given + m
        for start in range(0, n_rows, _BLOCK):
            n = min(_BLOCK, n_rows - start)
            if n_bins == 0:
                _load(scratch, _X, y, start * y_row + column * y_column, y_row, n)
                for r in range(_BLOCK):
                    scratch[_LOG_SLOPE * _BLOCK + r] = zero
            else:
                _load(scratch, _Y, y, start * y_row + column * y_column, y_row, n)
                if own or start == 0:
                    _load_table(
                        scratch, spacings, slopes, m, start, n if own else _BLOCK,
                        n_columns, n_bins, n_slopes, stride, own,
                    )  # fmt: skip
                _locate(scratch, low, size, m, n_columns, n_bins, least, True)
                for r in range(_BLOCK):
                    x_k, w, y_k, h, d, d_next = _bin(scratch, r)
                    value, slope = _argument_and_slope(
                        scratch[_Y * _BLOCK + r], x_k, w, y_k, h, d, d_next
                    )
                    scratch[_X * _BLOCK + r] = value
                    scratch[_LOG_SLOPE * _BLOCK + r] = -_log(slope)
            if has_affine:
                _load_affine(scratch, affine, m, start, n, n_rows, n_columns)
                for r in range(_BLOCK):
                    log_scale = scratch[_SCALE * _BLOCK + r]
                    moved = scratch[_X * _BLOCK + r] - scratch[_SHIFT * _BLOCK + r]
                    scratch[_X * _BLOCK + r] = moved * _exp(-log_scale)
                    scratch[_LOG_SLOPE * _BLOCK + r] -= log_scale
            _store(scratch, _X, x, start * x_row + column * x_column, x_row, n)
            for r in range(n):
                log_det[start + r] += scratch[_LOG_SLOPE * _BLOCK + r]


def _pullback(
    scratch, spacings, slopes, affine, low, size, least, x, x_row, x_column, by_y, y_row, y_column,
    by_log_det, by_x, by_row, by_column, by_spacings, by_slopes, by_affine,
    n_rows, n_given, n_columns, n_bins, n_slopes, stride, own, has_affine,
):  # fmt: skip
    number = type(scratch[0])
    zero = number(0)
    for r in range(n_rows):
        for j in range(n_given):
            by_x[r * by_row + j * by_column] = by_y[r * y_row + j * y_column]
    for m in range(n_columns):
        column = n_given + m
        for start in range(0, n_rows, _BLOCK):
            n = min(_BLOCK, n_rows - start)
            if n < _BLOCK:  # rows that are not there have no gradient
                for r in range(_BLOCK):
                    scratch[_X * _BLOCK + r] = zero
                    scratch[_BY_Y * _BLOCK + r] = zero
                    scratch[_BY_LOG * _BLOCK + r] = zero
            _load(scratch, _X, x, start * x_row + column * x_column, x_row, n)
            _load(scratch, _BY_Y, by_y, start * y_row + column * y_column, y_row, n)
            _load(scratch, _BY_LOG, by_log_det, start, 1, n)
            if has_affine:
                _load_affine(scratch, affine, m, start, n, n_rows, n_columns)
                _move(scratch)
            if n_bins:
                is_first = own == 1 or start == 0
                if is_first:
                    _load_table(
                        scratch, spacings, slopes, m, start, n if own else _BLOCK,
                        n_columns, n_bins, n_slopes, stride, own,
                    )  # fmt: skip
                _locate(scratch, low, size, m, n_columns, n_bins, least, False)
                _pull_spline_back(scratch, low, size, m, n_columns, n_bins, least, is_first)
                if own or start + _BLOCK >= n_rows:
                    _store_gradients(
                        scratch, by_spacings, by_slopes, m, start, n,
                        n_columns, n_bins, n_slopes, stride, own,
                    )  # fmt: skip
            if has_affine:
                _pull_affine_back(scratch)
                _store(scratch, _SCALE, by_affine, m * n_rows + start, 1, n)
                _store(scratch, _SHIFT, by_affine, (n_columns + m) * n_rows + start, 1, n)
            _store(scratch, _BY_Y, by_x, start * by_row + column * by_column, by_row, n)


@njit(**_OPTIONS)
def _pull_spline_back(scratch, low, size, m, n_columns, n_bins, least, is_first):
    """Take the gradients of a block back through the splines, and add up those of the numbers."""
    number = type(scratch[0])
    zero, one, unit = number(0), number(1), number(UNIT_SLOPE)
    free = one - number(n_bins) * least
    low_x, size_x, low_y, size_y = low[m], size[m], low[n_columns + m], size[n_columns + m]
    for r in range(_BLOCK):
        x_k, w, y_k, h, d, d_next = _bin(scratch, r)
        by_y = scratch[_BY_Y * _BLOCK + r]
        by_x, by_inner, spread, by_high, by_d, by_d_next = _derivatives(
            scratch[_X * _BLOCK + r], x_k, w, y_k, h, d, d_next,
            by_y, scratch[_BY_LOG * _BLOCK + r],
        )  # fmt: skip
        # A share moves all knots to its right. What the softmax takes off is a mean.
        below = scratch[_INDEX * _BLOCK + r] * least
        left, bottom = (x_k - low_x) / size_x - below, (y_k - low_y) / size_y - below
        by_inner, spread = -by_inner * size_x, -spread * size_x
        by_both, by_high = by_y * size_y, by_high * size_y
        scratch[_SUM * _BLOCK + r] = by_inner * left + spread * (w / size_x - least)
        scratch[_OTHER_SUM * _BLOCK + r] = by_both * bottom + by_high * (h / size_y - least)
        scratch[_LEFT * _BLOCK + r] = by_inner * free
        scratch[_SPREAD * _BLOCK + r] = spread * free
        scratch[_LOW * _BLOCK + r] = by_both * free
        scratch[_BY_HIGH * _BLOCK + r] = by_high * free
        scratch[_SLOPE * _BLOCK + r] = by_d * _sigmoid(scratch[_SLOPE * _BLOCK + r] + unit)
        scratch[_NEXT_SLOPE * _BLOCK + r] = by_d_next * _sigmoid(
            scratch[_NEXT_SLOPE * _BLOCK + r] + unit
        )
        scratch[_BY_Y * _BLOCK + r] = by_x
    heights, slopes, sums = n_bins, 2 * n_bins, _TABLE + 3 * n_bins + 1
    for k in range(n_bins + 1):
        for r in range(_BLOCK):
            index = scratch[_INDEX * _BLOCK + r]
            kept = zero if is_first else scratch[(sums + slopes + k) * _BLOCK + r]
            kept += scratch[_SLOPE * _BLOCK + r] if index == number(k) else zero
            kept += scratch[_NEXT_SLOPE * _BLOCK + r] if index == number(k - 1) else zero
            scratch[(sums + slopes + k) * _BLOCK + r] = kept
    for k in range(n_bins):
        for r in range(_BLOCK):
            index = scratch[_INDEX * _BLOCK + r]
            by_width = scratch[_SPREAD * _BLOCK + r] if index == number(k) else zero
            by_width = scratch[_LEFT * _BLOCK + r] if index > number(k) else by_width
            by_height = scratch[_BY_HIGH * _BLOCK + r] if index == number(k) else zero
            by_height = scratch[_LOW * _BLOCK + r] if index > number(k) else by_height
            by_width -= scratch[_SUM * _BLOCK + r]
            by_height -= scratch[_OTHER_SUM * _BLOCK + r]
            by_width *= scratch[(_TABLE + k) * _BLOCK + r]
            by_height *= scratch[(_TABLE + heights + k) * _BLOCK + r]
            kept = zero if is_first else scratch[(sums + k) * _BLOCK + r]
            scratch[(sums + k) * _BLOCK + r] = kept + by_width
            kept = zero if is_first else scratch[(sums + heights + k) * _BLOCK + r]
            scratch[(sums + heights + k) * _BLOCK + r] = kept + by_height


@njit(**_OPTIONS)
def _store_gradients(
    scratch, by_spacings, by_slopes, m, start, n, n_columns, n_bins, n_slopes, stride, own
):
    fixed = (n_bins + 1 - n_slopes) // 2
    sums = _TABLE + 3 * n_bins + 1
    for k in range(2 * n_bins + n_slopes):
        is_slope = k >= 2 * n_bins
        row = sums + k + (fixed if is_slope else 0)
        target = by_slopes if is_slope else by_spacings
        axis = k // n_bins
        first = (axis * n_columns + m) * n_bins + k - axis * n_bins
        first = m * n_slopes + k - 2 * n_bins if is_slope else first
        if own:
            _store(scratch, row, target, first * stride + start, 1, n)
        else:
            total = scratch[row * _BLOCK]
            for r in range(1, _BLOCK):
                total += scratch[row * _BLOCK + r]
            target[first * stride] = total


@njit(**_OPTIONS)
def _pull_affine_back(scratch):
    """Put the gradients by the raw log-scale and by the shift where these were."""
    number = type(scratch[0])
    for r in range(_BLOCK):
        log_scale = scratch[_SCALE * _BLOCK + r]
        by_moved = scratch[_BY_Y * _BLOCK + r]
        scaled = scratch[_X * _BLOCK + r] - scratch[_SHIFT * _BLOCK + r]
        by_log_scale = scratch[_BY_LOG * _BLOCK + r] + by_moved * scaled
        slope = number(1) - number(0.25) * log_scale * log_scale
        scratch[_SCALE * _BLOCK + r] = by_log_scale * slope
        scratch[_SHIFT * _BLOCK + r] = by_moved
        scratch[_BY_Y * _BLOCK + r] = by_moved * _exp(log_scale)


# ---------------------------------------------------------------------------------------------
# How they are called
# ---------------------------------------------------------------------------------------------

_KERNELS = {"forward": _forward, "inverse": _inverse, "pullback": _pullback}
_NUMBERS = {torch.float32: (types.float32, ctypes.c_float), torch.float64: (types.float64, ctypes.c_double)}

# Where pointers are among the arguments, and where `least` is; all others are whole numbers.
_POINTERS = {
    "forward": {0, 1, 2, 3, 4, 5, 7, 10, 13},
    "inverse": {0, 1, 2, 3, 4, 5, 7, 10, 13},
    "pullback": {0, 1, 2, 3, 4, 5, 7, 10, 13, 14, 17, 18, 19},
}
_LEAST = 6


@cache
def kernel(name: str, dtype: torch.dtype) -> Callable[..., None]:
    """Return a kernel, which is compiled at the first call.

    Parameters
    ----------
    name : {"forward", "inverse", "pullback"}
        What it does.
    dtype : torch.dtype
        The precision of all its tensors, float32 or float64.

    Returns
    -------
    kernel : callable
        Takes addresses and numbers. Meanwhile, other threads run.
    """
    function, pointers = _KERNELS[name], _POINTERS[name]
    number, c_number = _NUMBERS[dtype]
    n_arguments = function.__code__.co_argcount
    signature = [
        types.CPointer(number) if k in pointers else number if k == _LEAST else types.intp
        for k in range(n_arguments)
    ]
    c_types = [
        ctypes.c_void_p if k in pointers else c_number if k == _LEAST else ctypes.c_ssize_t
        for k in range(n_arguments)
    ]
    compiled = _compiled(types.void(*signature), function)
    call = ctypes.CFUNCTYPE(None, *c_types)(compiled.address)
    call.compiled = compiled  # which owns the code
    return call


def _compiled(signature: Any, function: Callable[..., None]) -> Any:
    try:
        return cfunc(signature, cache=True, **_OPTIONS)(function)
    except RuntimeError:  # there is no place on disk that can be written to
        return cfunc(signature, **_OPTIONS)(function)
