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
    copy_row,
    row_of,
)
from skflow.flow.kernels.options import (
    INLINED,
    at,
)
from skflow.flow.splines import (
    LEAST_SLOPE,
    UNIT_SLOPE,
)

__all__ = ["load_shares", "locate", "pull_table_back"]


@njit(**INLINED)
def _softmax(scratch, first, n_bins):
    """Take a softmax over so many rows of scratch."""
    total, most = row_of(scratch, SUM), row_of(scratch, OTHER_SUM)
    value = row_of(scratch, first)
    for r in range(PANEL):
        total[r] = 0
        most[r] = value[r]
    for k in range(1, n_bins):
        value = row_of(scratch, first + k)
        for r in range(PANEL):
            most[r] = value[r] if value[r] > most[r] else most[r]
    for k in range(n_bins):
        value = row_of(scratch, first + k)
        for r in range(PANEL):
            value[r] = exp(value[r] - most[r])
            total[r] += value[r]
    for k in range(n_bins):
        value = row_of(scratch, first + k)
        for r in range(PANEL):
            value[r] /= total[r]


@njit(**INLINED)
def load_shares(scratch, operation, panel, m):
    """Load the shares and raw slopes of the splines of a column, for each row its own."""
    n_columns, n_bins, n_slopes = operation[N_COLUMNS], operation[N_BINS], operation[N_SLOPES]
    theta = operation[THETA] + 2 * n_columns
    for axis in range(2):
        first = theta + (axis * n_columns + m) * n_bins
        for k in range(n_bins):
            copy_row(panel, first + k, scratch, SHARES + axis * n_bins + k)
        _softmax(scratch, SHARES + axis * n_bins, n_bins)
    raw = SHARES + 2 * n_bins
    for k in range(n_slopes):
        copy_row(panel, theta + 2 * n_columns * n_bins + m * n_slopes + k, scratch, raw + 1 + k)
    first, last = row_of(scratch, raw), row_of(scratch, raw + n_bins)
    for r in range(PANEL):  # slopes of 1 at the ends
        first[r] = 0
        last[r] = 0


@njit(**INLINED)
def locate(scratch, operation, m, by_y):
    """Find the bin of each row, of splines of its own."""
    number = type(scratch[0])
    n_columns, n_bins = operation[N_COLUMNS], operation[N_BINS]
    low, size = at(operation[LOW_ENDS], scratch), at(operation[SIZES], scratch)
    low_x, size_x, low_y, size_y = low[m], size[m], low[n_columns + m], size[n_columns + m]
    least = number(1) / number(operation[N_SHARES])
    free = number(1) - number(n_bins) * least
    value = row_of(scratch, Y if by_y else X)
    passed, passed_y = row_of(scratch, SUM), row_of(scratch, OTHER_SUM)
    left, right = row_of(scratch, LEFT), row_of(scratch, RIGHT)
    lower, upper = row_of(scratch, LOW), row_of(scratch, HIGH)
    raw, next_raw = row_of(scratch, RAW), row_of(scratch, NEXT_RAW)
    index = row_of(scratch, INDEX)
    d, d_next = row_of(scratch, SHARES + 2 * n_bins), row_of(scratch, SHARES + 2 * n_bins + 1)
    for r in range(PANEL):
        passed[r] = passed_y[r] = index[r] = 0
        left[r] = low_x
        right[r] = low_x + size_x
        lower[r] = low_y
        upper[r] = low_y + size_y
        raw[r] = d[r]
        next_raw[r] = d_next[r]
    for k in range(1, n_bins):
        width, height = row_of(scratch, SHARES + k - 1), row_of(scratch, SHARES + n_bins + k - 1)
        d = row_of(scratch, SHARES + 2 * n_bins + k)
        d_next = row_of(scratch, SHARES + 2 * n_bins + k + 1)
        k_number, offset = number(k), number(k) * least
        for r in range(PANEL):
            passed[r] += width[r]
            passed_y[r] += height[r]
            x_k = low_x + size_x * (free * passed[r] + offset)
            y_k = low_y + size_y * (free * passed_y[r] + offset)
            beyond = value[r] >= (y_k if by_y else x_k)
            right[r] = right[r] if beyond or right[r] < x_k else x_k
            upper[r] = upper[r] if beyond or upper[r] < y_k else y_k
            if beyond:
                left[r] = x_k
                lower[r] = y_k
                raw[r] = d[r]
                next_raw[r] = d_next[r]
                index[r] = k_number
    unit, least_slope = number(UNIT_SLOPE), number(LEAST_SLOPE)
    slope, next_slope = row_of(scratch, SLOPE), row_of(scratch, NEXT_SLOPE)
    for r in range(PANEL):
        slope[r] = softplus(raw[r] + unit) + least_slope
        next_slope[r] = softplus(next_raw[r] + unit) + least_slope


@njit(**INLINED)
def pull_table_back(scratch, operation, panel, m):
    """Take the gradients of splines that are each row's own to what they are made of."""
    number = type(scratch[0])
    n_columns, n_bins, n_slopes = operation[N_COLUMNS], operation[N_BINS], operation[N_SLOPES]
    low, size = at(operation[LOW_ENDS], scratch), at(operation[SIZES], scratch)
    low_x, size_x, low_y, size_y = low[m], size[m], low[n_columns + m], size[n_columns + m]
    least = number(1) / number(operation[N_SHARES])
    unit, free = number(UNIT_SLOPE), number(1) - number(n_bins) * least
    left, right = row_of(scratch, LEFT), row_of(scratch, RIGHT)
    lower, upper = row_of(scratch, LOW), row_of(scratch, HIGH)
    raw, next_raw = row_of(scratch, RAW), row_of(scratch, NEXT_RAW)
    by_inner, spread = row_of(scratch, BY_INNER), row_of(scratch, SPREAD)
    by_both, by_high = row_of(scratch, BY_BOTH), row_of(scratch, BY_HIGH)
    by_slope, by_next = row_of(scratch, BY_SLOPE), row_of(scratch, BY_NEXT_SLOPE)
    mean, mean_y, index = row_of(scratch, SUM), row_of(scratch, OTHER_SUM), row_of(scratch, INDEX)
    for r in range(PANEL):
        # A share moves all knots to its right. What the softmax takes off is a mean.
        below = index[r] * least
        before, before_y = (left[r] - low_x) / size_x - below, (lower[r] - low_y) / size_y - below
        within = (right[r] - left[r]) / size_x - least
        within_y = (upper[r] - lower[r]) / size_y - least
        by_inner[r] *= -size_x
        spread[r] *= -size_x
        by_both[r] *= size_y
        by_high[r] *= size_y
        mean[r] = by_inner[r] * before + spread[r] * within
        mean_y[r] = by_both[r] * before_y + by_high[r] * within_y
        by_slope[r] *= sigmoid(raw[r] + unit)
        by_next[r] *= sigmoid(next_raw[r] + unit)
    widths = operation[THETA] + 2 * n_columns + m * n_bins
    heights = widths + n_columns * n_bins
    for k in range(n_bins):
        share, share_y = row_of(scratch, SHARES + k), row_of(scratch, SHARES + n_bins + k)
        target, target_y = row_of(panel, widths + k), row_of(panel, heights + k)
        k_number, zero = number(k), number(0)
        for r in range(PANEL):
            by_share = spread[r] if index[r] == k_number else zero
            by_share = by_inner[r] if index[r] > k_number else by_share
            target[r] = share[r] * (free * by_share - mean[r])
            by_share = by_high[r] if index[r] == k_number else zero
            by_share = by_both[r] if index[r] > k_number else by_share
            target_y[r] = share_y[r] * (free * by_share - mean_y[r])
    slopes = operation[THETA] + 2 * n_columns * (1 + n_bins) + m * n_slopes
    for k in range(n_slopes):
        target, k_number, zero = row_of(panel, slopes + k), number(k), number(0)
        for r in range(PANEL):
            at_left = by_slope[r] if index[r] == k_number + number(1) else zero
            at_right = by_next[r] if index[r] == k_number else zero
            target[r] = at_left + at_right
