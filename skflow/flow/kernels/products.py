"""Products of small matrices, of which one is a panel."""

from __future__ import annotations

import math

from numba import njit

from skflow.flow.kernels.layout import (
    PANEL,
    PRODUCT,
)
from skflow.flow.kernels.options import (
    INLINED,
    SUMS,
)
from skflow.flow.kernels.units import (
    unit,
)

__all__ = ["ADD", "MASK", "RECTIFY", "SET", "add_gradients", "multiply"]

SET, RECTIFY, ADD, MASK = range(4)


@unit("ppnnpnpnpnnnn")
def multiply(scratch, a, a_row, a_column, b, b_row, c, c_row, bias, n, inner, m, what):
    """Do something with the product of an (n, inner) and an (inner, m) matrix, and an (n, m) one.

    SET: c = ab + bias. RECTIFY: c = max(0, ab + bias). ADD: c += ab. MASK: c = ab where c > 0,
    else 0. Four rows and four terms of the sums are worked off at once, so that what is loaded is
    used four times.
    """
    zero = type(scratch[0])(0)
    p0, p1 = PRODUCT * PANEL, (PRODUCT + 1) * PANEL
    p2, p3 = (PRODUCT + 2) * PANEL, (PRODUCT + 3) * PANEL
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
                p, q = (PRODUCT + j) * PANEL, (i + j) * c_row + start
                if what == ADD:
                    for r in range(length):
                        c[q + r] += scratch[p + r]
                elif what == MASK:
                    for r in range(length):
                        c[q + r] = scratch[p + r] if c[q + r] > zero else zero
                else:
                    shift = bias[i + j]
                    least = zero if what == RECTIFY else type(zero)(-math.inf)
                    for r in range(length):
                        value = scratch[p + r] + shift
                        c[q + r] = least if value < least else value


@njit(**SUMS)
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


@njit(**INLINED)
def _add_four(target, first, k, m, s0, s1, s2, s3):
    """Add to four neighbours, or to those of them that there are."""
    target[first + k] += s0
    if k + 1 < m:
        target[first + k + 1] += s1
    if k + 2 < m:
        target[first + k + 2] += s2
    if k + 3 < m:
        target[first + k + 3] += s3


@njit(**SUMS)
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


@unit("pnpnpp")
def add_gradients(by_y, n, x, m, by_weight, by_bias):
    """Add the gradients of a layer's weight and bias, from n rows of a panel and m of another."""
    _add_outer(by_y, n, x, m, by_weight)
    _add_totals(by_y, n, by_bias)
