"""Splines of a panel that are those of all rows."""

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
    BY_SLOPES,
    BY_SPACINGS,
    HIGH,
    INDEX,
    LEFT,
    LOW,
    LOW_ENDS,
    N_BINS,
    N_COLUMNS,
    N_SHARES,
    NEXT_SLOPE,
    PANEL,
    RIGHT,
    SIZES,
    SLOPE,
    SLOPES,
    SPACINGS,
    SPREAD,
    TABLE,
    X,
    Y,
    length_of_table,
    row_of,
)
from skflow.flow.kernels.options import (
    INLINED,
    at,
    behind,
)
from skflow.flow.kernels.units import (
    unit,
)
from skflow.flow.splines import (
    LEAST_SLOPE,
    UNIT_SLOPE,
)

__all__ = ["clear_sums", "gather", "look_up", "pull_sums_back", "tabulate"]


@unit("op")
def tabulate(operation, tables):
    """Write down the knots and slopes of the splines that are those of all rows."""
    number = type(tables[0])
    n_columns, n_bins = operation[N_COLUMNS], operation[N_BINS]
    spacings, slopes = at(operation[SPACINGS], tables), at(operation[SLOPES], tables)
    low, size = at(operation[LOW_ENDS], tables), at(operation[SIZES], tables)
    least = number(1) / number(operation[N_SHARES])
    free = number(1) - number(n_bins) * least
    for m in range(n_columns):
        table = behind(tables, operation[TABLE] + m * length_of_table(n_bins))
        for axis in range(2):
            source, knots = (axis * n_columns + m) * n_bins, axis * (n_bins + 1)
            low_end, width = low[axis * n_columns + m], size[axis * n_columns + m]
            most, total, passed = spacings[source], number(0), number(0)
            for k in range(1, n_bins):
                most = max(most, spacings[source + k])
            for k in range(n_bins):
                total += exp(spacings[source + k] - most)
            table[knots] = low_end
            for k in range(1, n_bins):
                passed += exp(spacings[source + k - 1] - most) / total
                table[knots + k] = low_end + width * (free * passed + number(k) * least)
            table[knots + n_bins] = low_end + width
        for k in range(n_bins + 1):
            raw = slopes[m * (n_bins + 1) + k] + number(UNIT_SLOPE)
            table[2 * (n_bins + 1) + k] = softplus(raw) + number(LEAST_SLOPE)


@njit(**INLINED)
def look_up(scratch, table, n_bins, by_y):
    """Find the bin of each row, of splines that are those of all rows."""
    number = type(scratch[0])
    zero, one, n_knots = number(0), number(1), n_bins + 1
    value, index = row_of(scratch, Y if by_y else X), row_of(scratch, INDEX)
    knots = behind(table, n_knots if by_y else 0)
    for r in range(PANEL):
        index[r] = zero
    for k in range(1, n_bins):
        knot = knots[k]
        for r in range(PANEL):
            index[r] += one if value[r] >= knot else zero
    left, right = row_of(scratch, LEFT), row_of(scratch, RIGHT)
    lower, upper = row_of(scratch, LOW), row_of(scratch, HIGH)
    slope, next_slope = row_of(scratch, SLOPE), row_of(scratch, NEXT_SLOPE)
    for r in range(PANEL):
        k = int(index[r])
        left[r] = table[k]
        right[r] = table[k + 1]
        lower[r] = table[n_knots + k]
        upper[r] = table[n_knots + k + 1]
        slope[r] = table[2 * n_knots + k]
        next_slope[r] = table[2 * n_knots + k + 1]


@njit(**INLINED)
def gather(scratch, sums):
    """Add up the gradients of the rows in each bin."""
    index = row_of(scratch, INDEX)
    by_inner, spread = row_of(scratch, BY_INNER), row_of(scratch, SPREAD)
    by_both, by_high = row_of(scratch, BY_BOTH), row_of(scratch, BY_HIGH)
    by_slope, by_next = row_of(scratch, BY_SLOPE), row_of(scratch, BY_NEXT_SLOPE)
    for r in range(PANEL):
        first = 6 * int(index[r])
        sums[first] += by_inner[r]
        sums[first + 1] += spread[r]
        sums[first + 2] += by_both[r]
        sums[first + 3] += by_high[r]
        sums[first + 4] += by_slope[r]
        sums[first + 5] += by_next[r]


@njit(**INLINED)
def clear_sums(operation, tables):
    """Begin to add up gradients."""
    n_bins = operation[N_BINS]
    for m in range(operation[N_COLUMNS]):
        first = operation[TABLE] + m * length_of_table(n_bins) + 3 * (n_bins + 1)
        for k in range(6 * n_bins):
            tables[first + k] = type(tables[0])(0)


@unit("op")
def pull_sums_back(operation, tables):
    """Take the gradients of the rows in each bin to spacings and slopes."""
    number = type(tables[0])
    n_columns, n_bins = operation[N_COLUMNS], operation[N_BINS]
    by_spacings = at(operation[BY_SPACINGS], tables)
    slopes, by_slopes = at(operation[SLOPES], tables), at(operation[BY_SLOPES], tables)
    size = at(operation[SIZES], tables)
    least = number(1) / number(operation[N_SHARES])
    for m in range(n_columns):
        table = behind(tables, operation[TABLE] + m * length_of_table(n_bins))
        sums = behind(table, 3 * (n_bins + 1))
        for axis in range(2):
            width, place = size[axis * n_columns + m], (axis * n_columns + m) * n_bins
            knots, sign = behind(table, axis * (n_bins + 1)), number(1 if axis else -1)
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
            by_slopes[place] += by_slope * sigmoid(slopes[place] + number(UNIT_SLOPE))
