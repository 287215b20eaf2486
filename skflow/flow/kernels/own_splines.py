"""Splines of a panel where each row has its own."""

from __future__ import annotations

from numba import njit

from skflow.flow.kernels.elementary import (
    exp,
    sigmoid,
    softplus,
)
from skflow.flow.kernels.layout import (
    BY_BOTH,
    BY_HIGH,
    BY_INNER,
    BY_NEXT_SLOPE,
    BY_SLOPE,
    HIGH,
    INDEX,
    LEFT,
    LOW,
    LOW_ENDS,
    N_BINS,
    N_COLUMNS,
    N_SHARES,
    N_SLOPES,
    NEXT_RAW,
    NEXT_SLOPE,
    OTHER_SUM,
    PANEL,
    RAW,
    RIGHT,
    SHARES,
    SIZES,
    SLOPE,
    SPREAD,
    SUM,
    THETA,
    X,
    Y,
    bin_of,
    copy_row,
)
from skflow.flow.kernels.options import (
    OPTIONS,
    at,
)
from skflow.flow.splines import (
    LEAST_SLOPE,
    UNIT_SLOPE,
)

__all__ = ["load_shares", "locate", "pull_table_back"]


@njit(**OPTIONS)
def _softmax(scratch, row, n_bins):
    """Take a softmax over so many rows of scratch."""
    zero = type(scratch[0])(0)
    for r in range(PANEL):
        scratch[SUM * PANEL + r] = zero
        scratch[OTHER_SUM * PANEL + r] = scratch[row * PANEL + r]
    for k in range(1, n_bins):
        for r in range(PANEL):
            most = scratch[OTHER_SUM * PANEL + r]
            value = scratch[(row + k) * PANEL + r]
            scratch[OTHER_SUM * PANEL + r] = value if value > most else most
    for k in range(n_bins):
        for r in range(PANEL):
            e = exp(scratch[(row + k) * PANEL + r] - scratch[OTHER_SUM * PANEL + r])
            scratch[(row + k) * PANEL + r] = e
            scratch[SUM * PANEL + r] += e
    for k in range(n_bins):
        for r in range(PANEL):
            scratch[(row + k) * PANEL + r] /= scratch[SUM * PANEL + r]


@njit(**OPTIONS)
def load_shares(scratch, operation, panel, m):
    """Load the shares and raw slopes of the splines of a column, for each row its own."""
    n_columns, n_bins, n_slopes = operation[N_COLUMNS], operation[N_BINS], operation[N_SLOPES]
    row = operation[THETA] + 2 * n_columns
    for k in range(n_bins):
        copy_row(panel, (row + m * n_bins + k) * PANEL, scratch, SHARES + k)
        copy_row(panel, (row + (n_columns + m) * n_bins + k) * PANEL, scratch, SHARES + n_bins + k)
    _softmax(scratch, SHARES, n_bins)
    _softmax(scratch, SHARES + n_bins, n_bins)
    row += 2 * n_columns * n_bins + m * n_slopes
    for k in range(n_slopes):
        copy_row(panel, (row + k) * PANEL, scratch, SHARES + 2 * n_bins + 1 + k)
    for r in range(PANEL):  # slopes of 1 at the ends
        scratch[(SHARES + 2 * n_bins) * PANEL + r] = type(scratch[0])(0)
        scratch[(SHARES + 3 * n_bins) * PANEL + r] = type(scratch[0])(0)


@njit(**OPTIONS)
def locate(scratch, operation, m, by_y):
    """Find the bin of each row, of splines of its own."""
    number = type(scratch[0])
    n_columns, n_bins = operation[N_COLUMNS], operation[N_BINS]
    low, size = at(operation[LOW_ENDS], scratch), at(operation[SIZES], scratch)
    low_x, size_x, low_y, size_y = low[m], size[m], low[n_columns + m], size[n_columns + m]
    least = number(1) / number(operation[N_SHARES])
    zero, free = number(0), number(1) - number(n_bins) * least
    heights, slopes = SHARES + n_bins, SHARES + 2 * n_bins
    values = Y if by_y else X
    for r in range(PANEL):
        scratch[SUM * PANEL + r] = zero
        scratch[OTHER_SUM * PANEL + r] = zero
        scratch[LEFT * PANEL + r] = low_x
        scratch[RIGHT * PANEL + r] = low_x + size_x
        scratch[LOW * PANEL + r] = low_y
        scratch[HIGH * PANEL + r] = low_y + size_y
        scratch[RAW * PANEL + r] = scratch[slopes * PANEL + r]
        scratch[NEXT_RAW * PANEL + r] = scratch[(slopes + 1) * PANEL + r]
        scratch[INDEX * PANEL + r] = zero
    for k in range(1, n_bins):
        for r in range(PANEL):
            scratch[SUM * PANEL + r] += scratch[(SHARES + k - 1) * PANEL + r]
            scratch[OTHER_SUM * PANEL + r] += scratch[(heights + k - 1) * PANEL + r]
            offset = number(k) * least
            x_k = low_x + size_x * (free * scratch[SUM * PANEL + r] + offset)
            y_k = low_y + size_y * (free * scratch[OTHER_SUM * PANEL + r] + offset)
            beyond = scratch[values * PANEL + r] >= (y_k if by_y else x_k)
            right, high = scratch[RIGHT * PANEL + r], scratch[HIGH * PANEL + r]
            scratch[RIGHT * PANEL + r] = right if beyond or right < x_k else x_k
            scratch[HIGH * PANEL + r] = high if beyond or high < y_k else y_k
            if beyond:
                scratch[LEFT * PANEL + r] = x_k
                scratch[LOW * PANEL + r] = y_k
                scratch[RAW * PANEL + r] = scratch[(slopes + k) * PANEL + r]
                scratch[NEXT_RAW * PANEL + r] = scratch[(slopes + k + 1) * PANEL + r]
                scratch[INDEX * PANEL + r] = number(k)
    unit, least_slope = number(UNIT_SLOPE), number(LEAST_SLOPE)
    for r in range(PANEL):
        slope = softplus(scratch[RAW * PANEL + r] + unit) + least_slope
        next_slope = softplus(scratch[NEXT_RAW * PANEL + r] + unit) + least_slope
        scratch[SLOPE * PANEL + r] = slope
        scratch[NEXT_SLOPE * PANEL + r] = next_slope


@njit(**OPTIONS)
def pull_table_back(scratch, operation, panel, m):
    """Take the gradients of splines that are each row's own to what they are made of."""
    number = type(scratch[0])
    n_columns, n_bins, n_slopes = operation[N_COLUMNS], operation[N_BINS], operation[N_SLOPES]
    low, size = at(operation[LOW_ENDS], scratch), at(operation[SIZES], scratch)
    low_x, size_x, low_y, size_y = low[m], size[m], low[n_columns + m], size[n_columns + m]
    least = number(1) / number(operation[N_SHARES])
    zero, unit, free = number(0), number(UNIT_SLOPE), number(1) - number(n_bins) * least
    for r in range(PANEL):
        x_k, w, y_k, h, _, _ = bin_of(scratch, r)
        # A share moves all knots to its right. What the softmax takes off is a mean.
        below = scratch[INDEX * PANEL + r] * least
        left, bottom = (x_k - low_x) / size_x - below, (y_k - low_y) / size_y - below
        by_inner = -scratch[BY_INNER * PANEL + r] * size_x
        spread = -scratch[SPREAD * PANEL + r] * size_x
        by_both = scratch[BY_BOTH * PANEL + r] * size_y
        by_high = scratch[BY_HIGH * PANEL + r] * size_y
        scratch[SUM * PANEL + r] = by_inner * left + spread * (w / size_x - least)
        scratch[OTHER_SUM * PANEL + r] = by_both * bottom + by_high * (h / size_y - least)
        scratch[BY_INNER * PANEL + r] = by_inner * free
        scratch[SPREAD * PANEL + r] = spread * free
        scratch[BY_BOTH * PANEL + r] = by_both * free
        scratch[BY_HIGH * PANEL + r] = by_high * free
        scratch[BY_SLOPE * PANEL + r] *= sigmoid(scratch[RAW * PANEL + r] + unit)
        scratch[BY_NEXT_SLOPE * PANEL + r] *= sigmoid(scratch[NEXT_RAW * PANEL + r] + unit)
    widths = operation[THETA] + 2 * n_columns + m * n_bins
    heights, slopes = widths + n_columns * n_bins, widths + 2 * n_columns * n_bins
    slopes += m * (n_slopes - n_bins)
    for k in range(n_bins):
        for r in range(PANEL):
            index = scratch[INDEX * PANEL + r]
            by_width = scratch[SPREAD * PANEL + r] if index == number(k) else zero
            by_width = scratch[BY_INNER * PANEL + r] if index > number(k) else by_width
            by_height = scratch[BY_HIGH * PANEL + r] if index == number(k) else zero
            by_height = scratch[BY_BOTH * PANEL + r] if index > number(k) else by_height
            by_width -= scratch[SUM * PANEL + r]
            by_height -= scratch[OTHER_SUM * PANEL + r]
            by_width *= scratch[(SHARES + k) * PANEL + r]
            by_height *= scratch[(SHARES + n_bins + k) * PANEL + r]
            scratch[LEFT * PANEL + r] = by_width
            scratch[LOW * PANEL + r] = by_height
        copy_row(scratch, LEFT * PANEL, panel, widths + k)
        copy_row(scratch, LOW * PANEL, panel, heights + k)
    for k in range(n_slopes):
        for r in range(PANEL):
            index = scratch[INDEX * PANEL + r]
            by_slope = scratch[BY_SLOPE * PANEL + r] if index == number(k + 1) else zero
            by_next = scratch[BY_NEXT_SLOPE * PANEL + r] if index == number(k) else zero
            scratch[LEFT * PANEL + r] = by_slope + by_next
        copy_row(scratch, LEFT * PANEL, panel, slopes + k)
