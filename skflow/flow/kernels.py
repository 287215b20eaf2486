r"""Compiled kernels: rows through a run of dense layers, couplings and splines, and gradients back.

Numba compiles what is here when it is first called, and keeps that on disk. All of it stands in
one file, as Numba compiles a file anew when that has changed, but not when what it imports has.

Rows go through all operations 64 at a time, as a *panel*: a matrix with a row for each feature or
hidden unit and a column for each of the 64. A panel stays in a processor's cache from the first
operation to the last; each inner loop runs over neighbours, has a length that is known, and
becomes a few instructions on whole registers. That is also why exponentials and logarithms of
float32 are written out here: those of the C library take one number at a time.

The mathematics is that of :mod:`skflow.flow.couplings`, :mod:`skflow.flow.splines` and
:mod:`skflow.flow.accumulator`, which are the oracles of the tests. :ref:`derivatives_of_splines`
derives it.
"""

from __future__ import annotations

import ctypes
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

__all__ = ["FIELDS", "PANEL", "kernel", "scratch_rows"]

# Products may be fused with sums. Nothing else is taken to be exact: infinities and NaN count.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract", "nsz", "arcp"}, "error_model": "numpy"}

# And terms of sums may change places.
_SUMS: dict[str, Any] = _OPTIONS | {"fastmath": _OPTIONS["fastmath"] | {"reassoc"}}

PANEL = 64
"""How many rows are worked off at once."""

# ---------------------------------------------------------------------------------------------
# Elementary functions
# ---------------------------------------------------------------------------------------------

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


@njit(forceinline=True, **_OPTIONS)
def _series(z, coefficients, n_terms):
    value = type(z)(coefficients[n_terms - 1])
    for k in range(n_terms - 2, -1, -1):
        value = value * z + type(z)(coefficients[k])
    return value


@njit(forceinline=True, **_OPTIONS)
def _scaled_exp(x, least, most, n_terms, bias, n_digits):
    """Return exp(x) as a power of 2 and the exponential of what is left of `x`."""
    number = type(x)
    x = number(least) if x < number(least) else x
    x = number(most) if x > number(most) else x
    n = _floor(x * number(1 / _LOG2) + number(0.5))
    r = (x - n * number(_LOG2_HEAD)) - n * number(_LOG2_REST)
    power = _from_bits((types.int64(_whole(n)) + bias) << n_digits, x)
    return _series(r, _EXP, n_terms) * power


@njit(forceinline=True, **_OPTIONS)
def _scaled_log(x, offset, n_terms, n_digits):
    """Return log(x) as that of a power of 2 and log(1 + r) = 2 artanh(r / (2 + r))."""
    number = type(x)
    bits = types.int64(_bits(x))
    n = (bits - offset) >> n_digits
    r = _from_bits(bits - (n << n_digits), x) - number(1)
    s = r / (r + number(2))
    value = number(2) * s * _series(s * s, _ARTANH, n_terms)
    return number(types.int32(n)) * number(_LOG2) + value if x == x else x


def _exp(x):
    """Return exp(x), in the precision of `x`. It neither overflows nor underflows."""


def _log(x):
    """Return log(x) of a positive `x`, in its precision."""


# In float32 and in float64: what does not overflow, how many terms of a series count, and how
# numbers are stored. 0x3F3504F3 and 0x3FE6A09E667F3BCD are the roots of 1/2.


@overload(_exp, jit_options=_OPTIONS)
def _choose_exp(x):
    if x == types.float32:
        return lambda x: _scaled_exp(x, -87, 88, 8, 127, 23)
    return lambda x: _scaled_exp(x, -708, 709, 14, 1023, 52)


@overload(_log, jit_options=_OPTIONS)
def _choose_log(x):
    if x == types.float32:
        return lambda x: _scaled_log(x, 0x3F3504F3, 5, 23)
    return lambda x: _scaled_log(x, 0x3FE6A09E667F3BCD, 11, 52)


@njit(forceinline=True, **_OPTIONS)
def _log1p(x):
    """Return log(1 + x) of an `x` from 0 to 1."""
    one = type(x)(1)
    u = one + x
    return _log(u) + (x - (u - one)) / u  # with what the sum lost


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
# Operations
# ---------------------------------------------------------------------------------------------


# What an operation is described by: whole numbers, of which some are addresses. It is a dense
# layer, or it maps M columns one by one and leaves those before them as they are: by an affine
# map, if there is one, and by a spline of K bins, if there is one. The numbers that these are made
# of are parameters, or each row has its own, which a conditioner with two hidden layers makes of
# the columns before.
FIELDS = (
    "n_given", "n_columns", "n_bins", "n_slopes", "n_shares", "has_affine", "n_hidden", "n_outputs",
    # Addresses of parameters, 0 where there is none.
    "weight", "bias",
    "weight_0", "bias_0", "weight_1", "bias_1", "weight_2", "bias_2",
    "spacings", "slopes", "low", "size",
    # Addresses of their gradients.
    "by_weight_0", "by_bias_0", "by_weight_1", "by_bias_1", "by_weight_2", "by_bias_2",
    "by_spacings", "by_slopes",
    # Rows of a panel: what comes in and goes out, the hidden layers, and what they say.
    "x", "y", "hidden_0", "hidden_1", "theta",
    # Where the shares of splines that are those of all rows are, in a vector.
    "table",
    # Of a dense layer, its number among these.
    "dense",
)  # fmt: skip
(
    _N_GIVEN, _N_COLUMNS, _N_BINS, _N_SLOPES, _N_SHARES, _HAS_AFFINE, _N_HIDDEN, _N_OUTPUTS,
    _WEIGHT, _BIAS,
    _WEIGHT_0, _BIAS_0, _WEIGHT_1, _BIAS_1, _WEIGHT_2, _BIAS_2,
    _SPACINGS, _SLOPES, _LOW_ENDS, _SIZES,
    _BY_WEIGHT_0, _BY_BIAS_0, _BY_WEIGHT_1, _BY_BIAS_1, _BY_WEIGHT_2, _BY_BIAS_2,
    _BY_SPACINGS, _BY_SLOPES,
    _INPUT, _OUTPUT, _HIDDEN_0, _HIDDEN_1, _THETA,
    _TABLE,
    _DENSE,
) = range(len(FIELDS))  # fmt: skip
_N_FIELDS = len(FIELDS)


@intrinsic
def _at(typing_context: Any, address: Any, like: Any) -> Any:
    """Return the address as a pointer of the type of another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(like))

    return like(types.int64, like), generate


@intrinsic
def _behind(typing_context: Any, pointer: Any, n: Any) -> Any:
    """Return a pointer so many places on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, types.int64), generate


# Rows of scratch: values on both sides of a spline, their log-slopes, the affine map, gradients,
# the bins that rows lie in, and sums. The rows of a product follow, and then the shares of widths
# and of heights and the raw slopes, K of each and a slope more, and as many sums of gradients.
_X, _Y, _LOG_SLOPE, _SCALE, _SHIFT, _BY_Y, _BY_LOG = range(7)
_LEFT, _RIGHT, _LOW, _HIGH, _SLOPE, _NEXT_SLOPE, _INDEX = range(7, 14)
_RAW, _NEXT_RAW, _SUM, _OTHER_SUM = range(14, 18)
_BY_INNER, _SPREAD, _BY_BOTH, _BY_HIGH, _BY_SLOPE, _BY_NEXT_SLOPE = range(18, 24)
_PRODUCT = 24
_SHARES = 28


def scratch_rows(n_features: int, n_bins: int) -> tuple[int, int]:
    """Return where room for signals begins in scratch, and how many rows of a panel it takes.

    Parameters
    ----------
    n_features : int
        The number D of columns.
    n_bins : int
        The most bins K of a spline.
    """
    first = _SHARES + 3 * n_bins + 1
    return first, first + 2 * n_features


# ---------------------------------------------------------------------------------------------
# Products of small matrices
# ---------------------------------------------------------------------------------------------

_SET, _RECTIFY, _ADD, _MASK = range(4)


@njit(**_OPTIONS)
def _multiply(scratch, a, a_row, a_column, b, b_row, c, c_row, bias, n, inner, m, what):
    """Do something with the product of an (n, inner) and an (inner, m) matrix, and an (n, m) one.

    _SET: c = ab + bias. _RECTIFY: c = max(0, ab + bias). _ADD: c += ab. _MASK: c = ab where c > 0,
    else 0. Four rows and four terms of the sums are worked off at once, so that what is loaded is
    used four times.
    """
    zero = type(scratch[0])(0)
    p0, p1 = _PRODUCT * PANEL, (_PRODUCT + 1) * PANEL
    p2, p3 = (_PRODUCT + 2) * PANEL, (_PRODUCT + 3) * PANEL
    for start in range(0, m, PANEL):
        length = min(PANEL, m - start)
        for i in range(0, n, 4):
            i1, i2, i3 = min(i + 1, n - 1), min(i + 2, n - 1), min(i + 3, n - 1)
            for r in range(PANEL):
                scratch[p0 + r] = zero
                scratch[p1 + r] = zero
                scratch[p2 + r] = zero
                scratch[p3 + r] = zero
            for k in range(0, inner, 4):
                # Terms that are not there count nothing.
                k1, k2, k3 = min(k + 1, inner - 1), min(k + 2, inner - 1), min(k + 3, inner - 1)
                f1 = type(zero)(1) if k + 1 < inner else zero
                f2 = type(zero)(1) if k + 2 < inner else zero
                f3 = type(zero)(1) if k + 3 < inner else zero
                a00, a01 = a[i * a_row + k * a_column], f1 * a[i * a_row + k1 * a_column]
                a02, a03 = f2 * a[i * a_row + k2 * a_column], f3 * a[i * a_row + k3 * a_column]
                a10, a11 = a[i1 * a_row + k * a_column], f1 * a[i1 * a_row + k1 * a_column]
                a12, a13 = f2 * a[i1 * a_row + k2 * a_column], f3 * a[i1 * a_row + k3 * a_column]
                a20, a21 = a[i2 * a_row + k * a_column], f1 * a[i2 * a_row + k1 * a_column]
                a22, a23 = f2 * a[i2 * a_row + k2 * a_column], f3 * a[i2 * a_row + k3 * a_column]
                a30, a31 = a[i3 * a_row + k * a_column], f1 * a[i3 * a_row + k1 * a_column]
                a32, a33 = f2 * a[i3 * a_row + k2 * a_column], f3 * a[i3 * a_row + k3 * a_column]
                b0, b1 = start + k * b_row, start + k1 * b_row
                b2, b3 = start + k2 * b_row, start + k3 * b_row
                for r in range(length):
                    v0, v1, v2, v3 = b[b0 + r], b[b1 + r], b[b2 + r], b[b3 + r]
                    scratch[p0 + r] += a00 * v0 + a01 * v1 + a02 * v2 + a03 * v3
                    scratch[p1 + r] += a10 * v0 + a11 * v1 + a12 * v2 + a13 * v3
                    scratch[p2 + r] += a20 * v0 + a21 * v1 + a22 * v2 + a23 * v3
                    scratch[p3 + r] += a30 * v0 + a31 * v1 + a32 * v2 + a33 * v3
            for j in range(min(4, n - i)):
                p, q = (_PRODUCT + j) * PANEL, (i + j) * c_row + start
                if what == _ADD:
                    for r in range(length):
                        c[q + r] += scratch[p + r]
                elif what == _MASK:
                    for r in range(length):
                        c[q + r] = scratch[p + r] if c[q + r] > zero else zero
                else:
                    shift = bias[i + j]
                    least = zero if what == _RECTIFY else type(zero)(-math.inf)
                    for r in range(length):
                        value = scratch[p + r] + shift
                        c[q + r] = least if value < least else value


@njit(**_SUMS)
def _add_outer(by_y, n, x, m, target):
    """Add the products of n rows of a panel with m rows of another, summed over the panel."""
    zero = type(by_y[0])(0)
    for i in range(0, n, 4):
        i1, i2, i3 = min(i + 1, n - 1), min(i + 2, n - 1), min(i + 3, n - 1)
        for k in range(0, m, 4):
            k1, k2, k3 = min(k + 1, m - 1), min(k + 2, m - 1), min(k + 3, m - 1)
            s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
            s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
            for r in range(PANEL):
                g0, g1 = by_y[i * PANEL + r], by_y[i1 * PANEL + r]
                g2, g3 = by_y[i2 * PANEL + r], by_y[i3 * PANEL + r]
                x0, x1 = x[k * PANEL + r], x[k1 * PANEL + r]
                x2, x3 = x[k2 * PANEL + r], x[k3 * PANEL + r]
                s00 += g0 * x0
                s01 += g0 * x1
                s02 += g0 * x2
                s03 += g0 * x3
                s10 += g1 * x0
                s11 += g1 * x1
                s12 += g1 * x2
                s13 += g1 * x3
                s20 += g2 * x0
                s21 += g2 * x1
                s22 += g2 * x2
                s23 += g2 * x3
                s30 += g3 * x0
                s31 += g3 * x1
                s32 += g3 * x2
                s33 += g3 * x3
            _add_four(target, i * m, k, m, s00, s01, s02, s03)
            if i + 1 < n:
                _add_four(target, i1 * m, k, m, s10, s11, s12, s13)
            if i + 2 < n:
                _add_four(target, i2 * m, k, m, s20, s21, s22, s23)
            if i + 3 < n:
                _add_four(target, i3 * m, k, m, s30, s31, s32, s33)


@njit(**_OPTIONS)
def _add_four(target, first, k, m, s0, s1, s2, s3):
    """Add to four neighbours, or to those of them that there are."""
    target[first + k] += s0
    if k + 1 < m:
        target[first + k + 1] += s1
    if k + 2 < m:
        target[first + k + 2] += s2
    if k + 3 < m:
        target[first + k + 3] += s3


@njit(**_SUMS)
def _add_totals(x, n, target):
    """Add the sums of n rows of a panel."""
    zero = type(x[0])(0)
    for i in range(0, n, 4):
        i1, i2, i3 = min(i + 1, n - 1), min(i + 2, n - 1), min(i + 3, n - 1)
        s0 = s1 = s2 = s3 = zero
        for r in range(PANEL):
            s0 += x[i * PANEL + r]
            s1 += x[i1 * PANEL + r]
            s2 += x[i2 * PANEL + r]
            s3 += x[i3 * PANEL + r]
        _add_four(target, 0, i, n, s0, s1, s2, s3)


# ---------------------------------------------------------------------------------------------
# Splines of a panel
# ---------------------------------------------------------------------------------------------


@njit(**_OPTIONS)
def _copy(source, first, target, row):
    for r in range(PANEL):
        target[row * PANEL + r] = source[first + r]


@njit(**_OPTIONS)
def _softmax(scratch, row, n_bins):
    """Take a softmax over so many rows of scratch."""
    zero = type(scratch[0])(0)
    for r in range(PANEL):
        scratch[_SUM * PANEL + r] = zero
        scratch[_OTHER_SUM * PANEL + r] = scratch[row * PANEL + r]
    for k in range(1, n_bins):
        for r in range(PANEL):
            most = scratch[_OTHER_SUM * PANEL + r]
            value = scratch[(row + k) * PANEL + r]
            scratch[_OTHER_SUM * PANEL + r] = value if value > most else most
    for k in range(n_bins):
        for r in range(PANEL):
            e = _exp(scratch[(row + k) * PANEL + r] - scratch[_OTHER_SUM * PANEL + r])
            scratch[(row + k) * PANEL + r] = e
            scratch[_SUM * PANEL + r] += e
    for k in range(n_bins):
        for r in range(PANEL):
            scratch[(row + k) * PANEL + r] /= scratch[_SUM * PANEL + r]


@njit(**_OPTIONS)
def _tabulate(operation, tables):
    """Write down the knots and slopes of the splines that are those of all rows."""
    number = type(tables[0])
    n_columns, n_bins = operation[_N_COLUMNS], operation[_N_BINS]
    spacings, slopes = _at(operation[_SPACINGS], tables), _at(operation[_SLOPES], tables)
    low, size = _at(operation[_LOW_ENDS], tables), _at(operation[_SIZES], tables)
    least = number(1) / number(operation[_N_SHARES])
    free = number(1) - number(n_bins) * least
    for m in range(n_columns):
        table = _behind(tables, operation[_TABLE] + m * table_length(n_bins))
        for axis in range(2):
            source, knots = (axis * n_columns + m) * n_bins, axis * (n_bins + 1)
            low_end, width = low[axis * n_columns + m], size[axis * n_columns + m]
            most, total, passed = spacings[source], number(0), number(0)
            for k in range(1, n_bins):
                most = max(most, spacings[source + k])
            for k in range(n_bins):
                total += _exp(spacings[source + k] - most)
            table[knots] = low_end
            for k in range(1, n_bins):
                passed += _exp(spacings[source + k - 1] - most) / total
                table[knots + k] = low_end + width * (free * passed + number(k) * least)
            table[knots + n_bins] = low_end + width
        for k in range(n_bins + 1):
            raw = slopes[m * (n_bins + 1) + k] + number(UNIT_SLOPE)
            table[2 * (n_bins + 1) + k] = _softplus(raw) + number(LEAST_SLOPE)


@njit(**_OPTIONS)
def table_length(n_bins):
    """Return how many numbers a column takes: knots, slopes and six sums for each bin."""
    return 9 * n_bins + 3


@njit(**_OPTIONS)
def _look_up(scratch, table, n_bins, by_y):
    """Find the bin of each row, of splines that are those of all rows."""
    number = type(scratch[0])
    n_knots = n_bins + 1
    values, knots = (_Y if by_y else _X) * PANEL, n_knots if by_y else 0
    for r in range(PANEL):
        scratch[_INDEX * PANEL + r] = number(0)
    for k in range(1, n_bins):
        knot = table[knots + k]
        for r in range(PANEL):
            beyond = scratch[values + r] >= knot
            scratch[_INDEX * PANEL + r] += number(1) if beyond else number(0)
    for r in range(PANEL):
        k = int(scratch[_INDEX * PANEL + r])
        scratch[_LEFT * PANEL + r] = table[k]
        scratch[_RIGHT * PANEL + r] = table[k + 1]
        scratch[_LOW * PANEL + r] = table[n_knots + k]
        scratch[_HIGH * PANEL + r] = table[n_knots + k + 1]
        scratch[_SLOPE * PANEL + r] = table[2 * n_knots + k]
        scratch[_NEXT_SLOPE * PANEL + r] = table[2 * n_knots + k + 1]


@njit(**_OPTIONS)
def _load_shares(scratch, operation, panel, m):
    """Load the shares and raw slopes of the splines of a column, for each row its own."""
    n_columns, n_bins, n_slopes = operation[_N_COLUMNS], operation[_N_BINS], operation[_N_SLOPES]
    row = operation[_THETA] + 2 * n_columns
    for k in range(n_bins):
        _copy(panel, (row + m * n_bins + k) * PANEL, scratch, _SHARES + k)
        _copy(panel, (row + (n_columns + m) * n_bins + k) * PANEL, scratch, _SHARES + n_bins + k)
    _softmax(scratch, _SHARES, n_bins)
    _softmax(scratch, _SHARES + n_bins, n_bins)
    row += 2 * n_columns * n_bins + m * n_slopes
    for k in range(n_slopes):
        _copy(panel, (row + k) * PANEL, scratch, _SHARES + 2 * n_bins + 1 + k)
    for r in range(PANEL):  # slopes of 1 at the ends
        scratch[(_SHARES + 2 * n_bins) * PANEL + r] = type(scratch[0])(0)
        scratch[(_SHARES + 3 * n_bins) * PANEL + r] = type(scratch[0])(0)


@njit(**_OPTIONS)
def _load_affine(scratch, operation, panel, m):
    """Load the affine map of a column, and bound its log-scale by a hyperbolic tangent."""
    zero, one, two = type(scratch[0])(0), type(scratch[0])(1), type(scratch[0])(2)
    row = operation[_THETA] + m
    _copy(panel, row * PANEL, scratch, _SCALE)
    _copy(panel, (row + operation[_N_COLUMNS]) * PANEL, scratch, _SHIFT)
    for r in range(PANEL):
        raw = scratch[_SCALE * PANEL + r]
        e = _exp(-abs(raw))
        size = two * (one - e) / (one + e)
        scratch[_SCALE * PANEL + r] = size if raw > zero else -size


@njit(**_OPTIONS)
def _move(scratch):
    """Map by the affine map."""
    for r in range(PANEL):
        scale = _exp(scratch[_SCALE * PANEL + r])
        moved = scratch[_SHIFT * PANEL + r] + scratch[_X * PANEL + r] * scale
        scratch[_X * PANEL + r] = moved


@njit(**_OPTIONS)
def _locate(scratch, operation, m, by_y):
    """Find the bin of each row, of splines of its own."""
    number = type(scratch[0])
    n_columns, n_bins = operation[_N_COLUMNS], operation[_N_BINS]
    low, size = _at(operation[_LOW_ENDS], scratch), _at(operation[_SIZES], scratch)
    low_x, size_x, low_y, size_y = low[m], size[m], low[n_columns + m], size[n_columns + m]
    least = number(1) / number(operation[_N_SHARES])
    zero, free = number(0), number(1) - number(n_bins) * least
    heights, slopes = _SHARES + n_bins, _SHARES + 2 * n_bins
    values = _Y if by_y else _X
    for r in range(PANEL):
        scratch[_SUM * PANEL + r] = zero
        scratch[_OTHER_SUM * PANEL + r] = zero
        scratch[_LEFT * PANEL + r] = low_x
        scratch[_RIGHT * PANEL + r] = low_x + size_x
        scratch[_LOW * PANEL + r] = low_y
        scratch[_HIGH * PANEL + r] = low_y + size_y
        scratch[_RAW * PANEL + r] = scratch[slopes * PANEL + r]
        scratch[_NEXT_RAW * PANEL + r] = scratch[(slopes + 1) * PANEL + r]
        scratch[_INDEX * PANEL + r] = zero
    for k in range(1, n_bins):
        for r in range(PANEL):
            scratch[_SUM * PANEL + r] += scratch[(_SHARES + k - 1) * PANEL + r]
            scratch[_OTHER_SUM * PANEL + r] += scratch[(heights + k - 1) * PANEL + r]
            offset = number(k) * least
            x_k = low_x + size_x * (free * scratch[_SUM * PANEL + r] + offset)
            y_k = low_y + size_y * (free * scratch[_OTHER_SUM * PANEL + r] + offset)
            beyond = scratch[values * PANEL + r] >= (y_k if by_y else x_k)
            right, high = scratch[_RIGHT * PANEL + r], scratch[_HIGH * PANEL + r]
            scratch[_RIGHT * PANEL + r] = right if beyond or right < x_k else x_k
            scratch[_HIGH * PANEL + r] = high if beyond or high < y_k else y_k
            if beyond:
                scratch[_LEFT * PANEL + r] = x_k
                scratch[_LOW * PANEL + r] = y_k
                scratch[_RAW * PANEL + r] = scratch[(slopes + k) * PANEL + r]
                scratch[_NEXT_RAW * PANEL + r] = scratch[(slopes + k + 1) * PANEL + r]
                scratch[_INDEX * PANEL + r] = number(k)
    unit, least_slope = number(UNIT_SLOPE), number(LEAST_SLOPE)
    for r in range(PANEL):
        slope = _softplus(scratch[_RAW * PANEL + r] + unit) + least_slope
        next_slope = _softplus(scratch[_NEXT_RAW * PANEL + r] + unit) + least_slope
        scratch[_SLOPE * PANEL + r] = slope
        scratch[_NEXT_SLOPE * PANEL + r] = next_slope


@njit(**_OPTIONS)
def _find_bins(scratch, operation, panel, tables, m, by_y):
    """Find the bin of each row: its number, the knots at its ends and the slopes there."""
    if operation[_N_HIDDEN]:
        _load_shares(scratch, operation, panel, m)
        _locate(scratch, operation, m, by_y)
    else:
        n_bins = operation[_N_BINS]
        table = _behind(tables, operation[_TABLE] + m * table_length(n_bins))
        _look_up(scratch, table, n_bins, by_y)


@njit(forceinline=True, **_OPTIONS)
def _bin(scratch, r):
    """Return the knot on the left, the width, the knot below, the height and both slopes."""
    x_k, y_k = scratch[_LEFT * PANEL + r], scratch[_LOW * PANEL + r]
    w, h = scratch[_RIGHT * PANEL + r] - x_k, scratch[_HIGH * PANEL + r] - y_k
    return x_k, w, y_k, h, scratch[_SLOPE * PANEL + r], scratch[_NEXT_SLOPE * PANEL + r]


@njit(**_OPTIONS)
def _map_columns(scratch, operation, panel, tables, log_det_row):
    """Map a panel by affine maps and splines, and add their log-slopes to a row of it."""
    n_given = operation[_N_GIVEN]
    for j in range(n_given):
        _copy(panel, (operation[_INPUT] + j) * PANEL, panel, operation[_OUTPUT] + j)
    for m in range(operation[_N_COLUMNS]):
        _copy(panel, (operation[_INPUT] + n_given + m) * PANEL, scratch, _X)
        for r in range(PANEL):
            scratch[_LOG_SLOPE * PANEL + r] = type(scratch[0])(0)
        if operation[_HAS_AFFINE]:
            _load_affine(scratch, operation, panel, m)
            _move(scratch)
            _copy(scratch, _SCALE * PANEL, scratch, _LOG_SLOPE)
        if operation[_N_BINS]:
            _find_bins(scratch, operation, panel, tables, m, False)
            for r in range(PANEL):
                x_k, w, y_k, h, d, d_next = _bin(scratch, r)
                value, slope = _value_and_slope(
                    scratch[_X * PANEL + r], x_k, w, y_k, h, d, d_next
                )
                scratch[_X * PANEL + r] = value
                scratch[_LOG_SLOPE * PANEL + r] += _log(slope)
        _copy(scratch, _X * PANEL, panel, operation[_OUTPUT] + n_given + m)
        for r in range(PANEL):
            panel[log_det_row * PANEL + r] += scratch[_LOG_SLOPE * PANEL + r]


@njit(**_OPTIONS)
def _map_columns_back(scratch, operation, panel, tables, log_det_row):
    """Undo :func:`_map_columns`, from its input to its output."""
    n_given = operation[_N_GIVEN]
    for j in range(n_given):
        _copy(panel, (operation[_INPUT] + j) * PANEL, panel, operation[_OUTPUT] + j)
    for m in range(operation[_N_COLUMNS]):
        _copy(panel, (operation[_INPUT] + n_given + m) * PANEL, scratch, _Y)
        for r in range(PANEL):
            scratch[_LOG_SLOPE * PANEL + r] = type(scratch[0])(0)
        if operation[_N_BINS]:
            _find_bins(scratch, operation, panel, tables, m, True)
            for r in range(PANEL):
                x_k, w, y_k, h, d, d_next = _bin(scratch, r)
                value, slope = _argument_and_slope(
                    scratch[_Y * PANEL + r], x_k, w, y_k, h, d, d_next
                )
                scratch[_Y * PANEL + r] = value
                scratch[_LOG_SLOPE * PANEL + r] = -_log(slope)
        if operation[_HAS_AFFINE]:
            _load_affine(scratch, operation, panel, m)
            for r in range(PANEL):
                log_scale = scratch[_SCALE * PANEL + r]
                moved = scratch[_Y * PANEL + r] - scratch[_SHIFT * PANEL + r]
                scratch[_Y * PANEL + r] = moved * _exp(-log_scale)
                scratch[_LOG_SLOPE * PANEL + r] -= log_scale
        _copy(scratch, _Y * PANEL, panel, operation[_OUTPUT] + n_given + m)
        for r in range(PANEL):
            panel[log_det_row * PANEL + r] += scratch[_LOG_SLOPE * PANEL + r]


@njit(**_OPTIONS)
def _pull_columns_back(scratch, operation, panel, tables, signal):
    """Take a signal back through the maps of columns, and put gradients where `theta` was."""
    n_given, n_columns, n_bins = operation[_N_GIVEN], operation[_N_COLUMNS], operation[_N_BINS]
    for m in range(n_columns):
        _copy(panel, (operation[_INPUT] + n_given + m) * PANEL, scratch, _X)
        _copy(scratch, (signal + n_given + m) * PANEL, scratch, _BY_Y)
        if operation[_HAS_AFFINE]:
            _load_affine(scratch, operation, panel, m)
            _move(scratch)
        if n_bins:
            _find_bins(scratch, operation, panel, tables, m, False)
            _differentiate(scratch)
            if operation[_N_HIDDEN]:
                _pull_table_back(scratch, operation, panel, m)
            else:
                table = _behind(tables, operation[_TABLE] + m * table_length(n_bins))
                _gather(scratch, _behind(table, 3 * (n_bins + 1)))
        if operation[_HAS_AFFINE]:
            for r in range(PANEL):
                log_scale = scratch[_SCALE * PANEL + r]
                by_moved = scratch[_BY_Y * PANEL + r]
                scaled = scratch[_X * PANEL + r] - scratch[_SHIFT * PANEL + r]
                by_log_scale = scratch[_BY_LOG * PANEL + r] + by_moved * scaled
                by_log_scale *= type(scaled)(1) - type(scaled)(0.25) * log_scale * log_scale
                scratch[_SHIFT * PANEL + r] = by_log_scale
                scratch[_SCALE * PANEL + r] = by_moved * _exp(log_scale)
            row = operation[_THETA] + m
            _copy(scratch, _SHIFT * PANEL, panel, row)
            _copy(scratch, _BY_Y * PANEL, panel, row + n_columns)
            _copy(scratch, _SCALE * PANEL, scratch, signal + n_given + m)
        else:
            _copy(scratch, _BY_Y * PANEL, scratch, signal + n_given + m)


@njit(**_OPTIONS)
def _differentiate(scratch):
    """Take gradients back through splines, to their arguments, knots and slopes."""
    for r in range(PANEL):
        x_k, w, y_k, h, d, d_next = _bin(scratch, r)
        by_y = scratch[_BY_Y * PANEL + r]
        by_x, by_inner, spread, by_high, by_d, by_d_next = _derivatives(
            scratch[_X * PANEL + r], x_k, w, y_k, h, d, d_next, by_y, scratch[_BY_LOG * PANEL + r]
        )
        scratch[_BY_INNER * PANEL + r] = by_inner
        scratch[_SPREAD * PANEL + r] = spread
        scratch[_BY_BOTH * PANEL + r] = by_y
        scratch[_BY_HIGH * PANEL + r] = by_high
        scratch[_BY_SLOPE * PANEL + r] = by_d
        scratch[_BY_NEXT_SLOPE * PANEL + r] = by_d_next
        scratch[_BY_Y * PANEL + r] = by_x


@njit(**_OPTIONS)
def _gather(scratch, sums):
    """Add up the gradients of the rows in each bin."""
    for r in range(PANEL):
        first = 6 * int(scratch[_INDEX * PANEL + r])
        sums[first] += scratch[_BY_INNER * PANEL + r]
        sums[first + 1] += scratch[_SPREAD * PANEL + r]
        sums[first + 2] += scratch[_BY_BOTH * PANEL + r]
        sums[first + 3] += scratch[_BY_HIGH * PANEL + r]
        sums[first + 4] += scratch[_BY_SLOPE * PANEL + r]
        sums[first + 5] += scratch[_BY_NEXT_SLOPE * PANEL + r]


@njit(**_OPTIONS)
def _clear_sums(operation, tables):
    n_bins = operation[_N_BINS]
    for m in range(operation[_N_COLUMNS]):
        first = operation[_TABLE] + m * table_length(n_bins) + 3 * (n_bins + 1)
        for k in range(6 * n_bins):
            tables[first + k] = type(tables[0])(0)


@njit(**_OPTIONS)
def _pull_sums_back(operation, tables):
    """Take the gradients of the rows in each bin to spacings and slopes."""
    number = type(tables[0])
    n_columns, n_bins = operation[_N_COLUMNS], operation[_N_BINS]
    by_spacings = _at(operation[_BY_SPACINGS], tables)
    slopes, by_slopes = _at(operation[_SLOPES], tables), _at(operation[_BY_SLOPES], tables)
    size = _at(operation[_SIZES], tables)
    least = number(1) / number(operation[_N_SHARES])
    for m in range(n_columns):
        table = _behind(tables, operation[_TABLE] + m * table_length(n_bins))
        sums = _behind(table, 3 * (n_bins + 1))
        for axis in range(2):
            width, place = size[axis * n_columns + m], (axis * n_columns + m) * n_bins
            knots, sign = _behind(table, axis * (n_bins + 1)), number(1 if axis else -1)
            # A share moves all knots to its right. What the softmax takes off is a mean: where
            # shares are `free` of the box, times their gradients, times the rest of the box.
            mean, right = number(0), number(0)
            for j in range(n_bins):
                k = n_bins - 1 - j
                by_share = sign * width * (right + sums[6 * k + 2 * axis + 1])
                mean += ((knots[k + 1] - knots[k]) / width - least) * by_share
                right += sums[6 * k + 2 * axis]
            free = number(1) - number(n_bins) * least
            mean, right = mean / free, number(0)
            for j in range(n_bins):
                k = n_bins - 1 - j
                by_share = sign * width * (right + sums[6 * k + 2 * axis + 1])
                share = (knots[k + 1] - knots[k]) / width - least
                by_spacings[place + k] += share * (by_share - mean)
                right += sums[6 * k + 2 * axis]
        for k in range(n_bins + 1):
            by_slope = sums[6 * k + 4] if k < n_bins else number(0)
            by_slope += sums[6 * (k - 1) + 5] if k > 0 else number(0)
            place = m * (n_bins + 1) + k
            by_slopes[place] += by_slope * _sigmoid(slopes[place] + number(UNIT_SLOPE))


@njit(**_OPTIONS)
def _pull_table_back(scratch, operation, panel, m):
    """Take the gradients of splines that are each row's own to what they are made of."""
    number = type(scratch[0])
    n_columns, n_bins, n_slopes = operation[_N_COLUMNS], operation[_N_BINS], operation[_N_SLOPES]
    low, size = _at(operation[_LOW_ENDS], scratch), _at(operation[_SIZES], scratch)
    low_x, size_x, low_y, size_y = low[m], size[m], low[n_columns + m], size[n_columns + m]
    least = number(1) / number(operation[_N_SHARES])
    zero, unit, free = number(0), number(UNIT_SLOPE), number(1) - number(n_bins) * least
    for r in range(PANEL):
        x_k, w, y_k, h, _, _ = _bin(scratch, r)
        # A share moves all knots to its right. What the softmax takes off is a mean.
        below = scratch[_INDEX * PANEL + r] * least
        left, bottom = (x_k - low_x) / size_x - below, (y_k - low_y) / size_y - below
        by_inner = -scratch[_BY_INNER * PANEL + r] * size_x
        spread = -scratch[_SPREAD * PANEL + r] * size_x
        by_both = scratch[_BY_BOTH * PANEL + r] * size_y
        by_high = scratch[_BY_HIGH * PANEL + r] * size_y
        scratch[_SUM * PANEL + r] = by_inner * left + spread * (w / size_x - least)
        scratch[_OTHER_SUM * PANEL + r] = by_both * bottom + by_high * (h / size_y - least)
        scratch[_BY_INNER * PANEL + r] = by_inner * free
        scratch[_SPREAD * PANEL + r] = spread * free
        scratch[_BY_BOTH * PANEL + r] = by_both * free
        scratch[_BY_HIGH * PANEL + r] = by_high * free
        scratch[_BY_SLOPE * PANEL + r] *= _sigmoid(scratch[_RAW * PANEL + r] + unit)
        scratch[_BY_NEXT_SLOPE * PANEL + r] *= _sigmoid(scratch[_NEXT_RAW * PANEL + r] + unit)
    widths = operation[_THETA] + 2 * n_columns + m * n_bins
    heights, slopes = widths + n_columns * n_bins, widths + 2 * n_columns * n_bins
    slopes += m * (n_slopes - n_bins)
    for k in range(n_bins):
        for r in range(PANEL):
            index = scratch[_INDEX * PANEL + r]
            by_width = scratch[_SPREAD * PANEL + r] if index == number(k) else zero
            by_width = scratch[_BY_INNER * PANEL + r] if index > number(k) else by_width
            by_height = scratch[_BY_HIGH * PANEL + r] if index == number(k) else zero
            by_height = scratch[_BY_BOTH * PANEL + r] if index > number(k) else by_height
            by_width -= scratch[_SUM * PANEL + r]
            by_height -= scratch[_OTHER_SUM * PANEL + r]
            by_width *= scratch[(_SHARES + k) * PANEL + r]
            by_height *= scratch[(_SHARES + n_bins + k) * PANEL + r]
            scratch[_LEFT * PANEL + r] = by_width
            scratch[_LOW * PANEL + r] = by_height
        _copy(scratch, _LEFT * PANEL, panel, widths + k)
        _copy(scratch, _LOW * PANEL, panel, heights + k)
    for k in range(n_slopes):
        for r in range(PANEL):
            index = scratch[_INDEX * PANEL + r]
            by_slope = scratch[_BY_SLOPE * PANEL + r] if index == number(k + 1) else zero
            by_next = scratch[_BY_NEXT_SLOPE * PANEL + r] if index == number(k) else zero
            scratch[_LEFT * PANEL + r] = by_slope + by_next
        _copy(scratch, _LEFT * PANEL, panel, slopes + k)


# ---------------------------------------------------------------------------------------------
# Conditioners and dense layers of a panel
# ---------------------------------------------------------------------------------------------


@njit(**_OPTIONS)
def _apply(scratch, operation, panel, tables, log_det_row, back):
    """Map a panel by an operation."""
    n_given, n_hidden = operation[_N_GIVEN], operation[_N_HIDDEN]
    x = _behind(panel, operation[_INPUT] * PANEL)
    if operation[_WEIGHT]:
        d = operation[_N_COLUMNS]
        _multiply(
            scratch, _at(operation[_WEIGHT], panel), d, 1, x, PANEL,
            _behind(panel, operation[_OUTPUT] * PANEL), PANEL,
            _at(operation[_BIAS], panel), d, d, PANEL, _SET,
        )  # fmt: skip
        return
    if n_hidden:
        first = _behind(panel, operation[_HIDDEN_0] * PANEL)
        second = _behind(panel, operation[_HIDDEN_1] * PANEL)
        theta = _behind(panel, operation[_THETA] * PANEL)
        for k in range(3):
            _multiply(
                scratch, _at(operation[_WEIGHT_0 + 2 * k], panel), n_hidden if k else n_given, 1,
                x if k == 0 else first if k == 1 else second, PANEL,
                first if k == 0 else second if k == 1 else theta, PANEL,
                _at(operation[_BIAS_0 + 2 * k], panel),
                operation[_N_OUTPUTS] if k == 2 else n_hidden, n_hidden if k else n_given,
                PANEL, _SET if k == 2 else _RECTIFY,
            )  # fmt: skip
    if back:
        _map_columns_back(scratch, operation, panel, tables, log_det_row)
    else:
        _map_columns(scratch, operation, panel, tables, log_det_row)


@njit(**_OPTIONS)
def _pull_conditioner_back(scratch, operation, panel, signal):
    n_given, n_hidden = operation[_N_GIVEN], operation[_N_HIDDEN]
    x_row, row = operation[_INPUT], operation[_THETA]
    n = operation[_N_OUTPUTS]
    for j in range(3):
        k = 2 - j
        from_row = operation[_HIDDEN_0 + k - 1] if k else x_row
        m = n_hidden if k else n_given
        by_y, x = _behind(panel, row * PANEL), _behind(panel, from_row * PANEL)
        _add_outer(by_y, n, x, m, _at(operation[_BY_WEIGHT_0 + 2 * k], panel))
        _add_totals(by_y, n, _at(operation[_BY_BIAS_0 + 2 * k], panel))
        # Of a hidden layer, the gradient takes its place; the signal gains that of the columns.
        target = x if k else _behind(scratch, signal * PANEL)
        _multiply(
            scratch, _at(operation[_WEIGHT_0 + 2 * k], panel), 1, m, by_y, PANEL, target, PANEL,
            panel, m, n, PANEL, _MASK if k else _ADD,
        )  # fmt: skip
        row, n = from_row, n_hidden


# ---------------------------------------------------------------------------------------------
# The kernels
# ---------------------------------------------------------------------------------------------


def _forward(
    operations, n_operations, scratch, tables, panels, panel_rows, keeps, back,
    x, x_row, x_column, y, y_row, y_column, log_det, n_rows, n_features,
):  # fmt: skip
    """Map rows. With `keeps`, each panel has room of its own, for the way back."""
    zero = type(scratch[0])(0)
    for o in range(n_operations):
        operation = _behind(operations, o * _N_FIELDS)
        if operation[_N_BINS] and operation[_N_HIDDEN] == 0:
            _tabulate(operation, tables)
    last = _behind(operations, (n_operations - 1) * _N_FIELDS)
    first_row, last_row = operations[_INPUT], last[_OUTPUT]
    log_det_row = panel_rows - 1
    for start in range(0, n_rows, PANEL):
        n = min(PANEL, n_rows - start)
        panel = _behind(panels, start * panel_rows if keeps else 0)
        for j in range(n_features):
            for r in range(n):
                panel[(first_row + j) * PANEL + r] = x[(start + r) * x_row + j * x_column]
            for r in range(n, PANEL):
                panel[(first_row + j) * PANEL + r] = zero
        for r in range(PANEL):
            panel[log_det_row * PANEL + r] = zero
        for o in range(n_operations):
            operation = _behind(operations, o * _N_FIELDS)
            _apply(scratch, operation, panel, tables, log_det_row, back)
        for r in range(n):
            log_det[start + r] = panel[log_det_row * PANEL + r]
        for j in range(n_features):
            for r in range(n):
                y[(start + r) * y_row + j * y_column] = panel[(last_row + j) * PANEL + r]


def _pullback(
    operations, n_operations, scratch, tables, panels, panel_rows,
    by_y, y_row, y_column, by_log_det, by_x, x_row, x_column, deltas, ys, n_rows, n_features,
    scratch_row, wants_by_x,
):  # fmt: skip
    """Take gradients back, add up those of parameters, and keep the factors of dense layers.

    These are of shape (L, D, N). From `scratch_row` on, there is room for D rows and D others.
    """
    zero = type(scratch[0])(0)
    for o in range(n_operations):
        operation = _behind(operations, o * _N_FIELDS)
        if operation[_N_BINS] and operation[_N_HIDDEN] == 0:
            _clear_sums(operation, tables)
    signal, other = scratch_row, scratch_row + n_features
    for start in range(0, n_rows, PANEL):
        n = min(PANEL, n_rows - start)
        panel = _behind(panels, start * panel_rows)
        for r in range(PANEL):
            scratch[_BY_LOG * PANEL + r] = by_log_det[start + r] if r < n else zero
        for j in range(n_features):
            for r in range(PANEL):
                # Rows that are not there have no gradient.
                value = by_y[(start + r) * y_row + j * y_column] if r < n else zero
                scratch[(signal + j) * PANEL + r] = value
        for back in range(n_operations):
            o = n_operations - 1 - back
            operation = _behind(operations, o * _N_FIELDS)
            if operation[_WEIGHT] == 0:
                _pull_columns_back(scratch, operation, panel, tables, signal)
                if operation[_N_HIDDEN]:
                    _pull_conditioner_back(scratch, operation, panel, signal)
                continue
            for j in range(n_features):
                place = (operation[_DENSE] * n_features + j) * n_rows + start
                for r in range(n):
                    deltas[place + r] = scratch[(signal + j) * PANEL + r]
                    ys[place + r] = panel[(operation[_OUTPUT] + j) * PANEL + r]
            if o == 0 and wants_by_x == 0:
                continue
            for r in range(n_features * PANEL):
                scratch[other * PANEL + r] = zero
            _multiply(
                scratch, _at(operation[_WEIGHT], panel), 1, n_features,
                _behind(scratch, signal * PANEL), PANEL,
                _behind(scratch, other * PANEL), PANEL,
                panel, n_features, n_features, PANEL, _ADD,
            )  # fmt: skip
            signal, other = other, signal
        if wants_by_x:
            for j in range(n_features):
                for r in range(n):
                    by_x[(start + r) * x_row + j * x_column] = scratch[(signal + j) * PANEL + r]
    for o in range(n_operations):
        operation = _behind(operations, o * _N_FIELDS)
        if operation[_N_BINS] and operation[_N_HIDDEN] == 0:
            _pull_sums_back(operation, tables)


_KERNELS = {"forward": _forward, "pullback": _pullback}
_NUMBERS = {torch.float32: types.float32, torch.float64: types.float64}

# Which arguments are pointers to numbers. The first is one to whole numbers, as all others are.
_POINTERS = {
    "forward": {2, 3, 4, 8, 11, 14},
    "pullback": {2, 3, 4, 6, 9, 10, 13, 14},
}


@cache
def kernel(name: str, dtype: torch.dtype) -> Callable[..., None]:
    """Return a kernel, which is compiled at the first call.

    Parameters
    ----------
    name : {"forward", "pullback"}
        What it does.
    dtype : torch.dtype
        The precision of all its tensors, float32 or float64.

    Returns
    -------
    kernel : callable
        Takes addresses and whole numbers. Meanwhile, other threads run.
    """
    function, pointers = _KERNELS[name], _POINTERS[name]
    signature, c_types = [types.CPointer(types.int64)], [ctypes.c_void_p]
    for k in range(1, function.__code__.co_argcount):
        signature.append(types.CPointer(_NUMBERS[dtype]) if k in pointers else types.int64)
        c_types.append(ctypes.c_void_p if k in pointers else ctypes.c_int64)
    compiled = _compiled(types.void(*signature), function)
    call = ctypes.CFUNCTYPE(None, *c_types)(compiled.address)
    call.compiled = compiled  # which owns the code
    return call


def _compiled(signature: Any, function: Callable[..., None]) -> Any:
    try:
        return cfunc(signature, cache=True, **_OPTIONS)(function)
    except RuntimeError:  # there is no place on disk that can be written to
        return cfunc(signature, **_OPTIONS)(function)
