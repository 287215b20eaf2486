"""A rational-quadratic spline in the bin that its argument lies in.

The formulae are those of :mod:`skflow.flow.splines`. :ref:`derivatives_of_splines` derives them.
"""

from __future__ import annotations

import math

from numba import njit

from skflow.flow.kernels.options import (
    INLINED,
)

__all__ = ["argument_and_slope", "derivatives", "value_and_slope"]


@njit(**INLINED)
def value_and_slope(x, x_k, w, y_k, h, d, d_next):
    """Return what the spline is at `x`, and its slope there."""
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


@njit(**INLINED)
def argument_and_slope(y, x_k, w, y_k, h, d, d_next):
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
        value, slope = value_and_slope(xi * w, zero, w, zero, h, d, d_next)
        xi -= (value - rise) / (slope * w)
    # Outside, the slope is that of the knot at the end, however steep it is beside that.
    outer = y - inner
    xi = zero if outer < zero else xi
    xi = one if outer > zero else xi
    slope = d if outer < zero else slope
    slope = d_next if outer > zero else slope
    return x_k + xi * w + outer / slope, slope


@njit(**INLINED)
def derivatives(x, x_k, w, y_k, h, d, d_next, by_y, by_log_slope):
    """Return the gradients with respect to the argument and to what the bin is made of.

    Those with respect to `x` come first, and to `x` where it is inside. Then come `spread` and
    `by_high`, from which those with respect to the knots follow: spread - by_inner and -spread
    for the left one and the right one, by_y - by_high and by_high for the lower and the upper
    one. Those with respect to the slopes are the last.
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
