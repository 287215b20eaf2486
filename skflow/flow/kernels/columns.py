"""Maps of the columns of a panel: an affine map, and a spline after it."""

from __future__ import annotations

from numba import njit

from skflow.flow.kernels.bins import (
    argument_and_slope,
    derivatives,
    value_and_slope,
)
from skflow.flow.kernels.elementary import (
    exp,
    log,
)
from skflow.flow.kernels.layout import (
    BY_BOTH,
    BY_HIGH,
    BY_INNER,
    BY_LOG,
    BY_NEXT_SLOPE,
    BY_SLOPE,
    BY_Y,
    FIND_BINS,
    HAS_AFFINE,
    HIGH,
    INPUT,
    LEFT,
    LOG_SLOPE,
    LOW,
    N_BINS,
    N_COLUMNS,
    N_GIVEN,
    N_HIDDEN,
    NEXT_SLOPE,
    OUTPUT,
    PANEL,
    RIGHT,
    SCALE,
    SHIFT,
    SLOPE,
    SPREAD,
    TABLE,
    THETA,
    X,
    Y,
    copy_row,
    length_of_table,
    row_of,
)
from skflow.flow.kernels.options import (
    INLINED,
    behind,
    call,
)
from skflow.flow.kernels.own_splines import (
    load_shares,
    locate,
    pull_table_back,
)
from skflow.flow.kernels.shared_splines import (
    gather,
    look_up,
)
from skflow.flow.kernels.units import (
    unit,
)

__all__ = ["map_columns", "map_columns_back", "pull_columns_back"]


@njit(**INLINED)
def _load_affine(scratch, operation, panel, m):
    """Load the affine map of a column, and bound its log-scale by a hyperbolic tangent."""
    zero, one, two = type(scratch[0])(0), type(scratch[0])(1), type(scratch[0])(2)
    raw = row_of(panel, operation[THETA] + m)
    log_scale = row_of(scratch, SCALE)
    copy_row(panel, operation[THETA] + operation[N_COLUMNS] + m, scratch, SHIFT)
    for r in range(PANEL):
        e = exp(-abs(raw[r]))
        size = two * (one - e) / (one + e)
        log_scale[r] = size if raw[r] > zero else -size


@njit(**INLINED)
def _move(scratch):
    """Map by the affine map."""
    x, log_scale, shift = row_of(scratch, X), row_of(scratch, SCALE), row_of(scratch, SHIFT)
    for r in range(PANEL):
        x[r] = shift[r] + x[r] * exp(log_scale[r])


@unit("poppnn")
def find_bins(scratch, operation, panel, tables, m, by_y):
    """Find the bin of each row: its number, the knots at its ends and the slopes there."""
    if operation[N_HIDDEN]:
        load_shares(scratch, operation, panel, m)
        locate(scratch, operation, m, by_y)
    else:
        n_bins = operation[N_BINS]
        look_up(
            scratch, behind(tables, operation[TABLE] + m * length_of_table(n_bins)), n_bins, by_y
        )


@unit("opoppn")
def map_columns(units, scratch, operation, panel, tables, log_det_row):
    """Map a panel by affine maps and splines, and add their log-slopes to a row of it."""
    n_given = operation[N_GIVEN]
    for j in range(n_given):
        copy_row(panel, operation[INPUT] + j, panel, operation[OUTPUT] + j)
    log_det, log_slope = row_of(panel, log_det_row), row_of(scratch, LOG_SLOPE)
    left, right = row_of(scratch, LEFT), row_of(scratch, RIGHT)
    low, high = row_of(scratch, LOW), row_of(scratch, HIGH)
    d, d_next = row_of(scratch, SLOPE), row_of(scratch, NEXT_SLOPE)
    x, log_scale = row_of(scratch, X), row_of(scratch, SCALE)
    for m in range(operation[N_COLUMNS]):
        copy_row(panel, operation[INPUT] + n_given + m, scratch, X)
        if operation[HAS_AFFINE]:
            _load_affine(scratch, operation, panel, m)
            _move(scratch)
            for r in range(PANEL):
                log_det[r] += log_scale[r]
        if operation[N_BINS]:
            call(units[FIND_BINS], scratch, operation, panel, tables, m, 0)
            for r in range(PANEL):
                w, h = right[r] - left[r], high[r] - low[r]
                x[r], log_slope[r] = value_and_slope(x[r], left[r], w, low[r], h, d[r], d_next[r])
                log_det[r] += log(log_slope[r])
        copy_row(scratch, X, panel, operation[OUTPUT] + n_given + m)


@unit("opoppn")
def map_columns_back(units, scratch, operation, panel, tables, log_det_row):
    """Undo :func:`map_columns`, from its output to its input."""
    n_given = operation[N_GIVEN]
    for j in range(n_given):
        copy_row(panel, operation[INPUT] + j, panel, operation[OUTPUT] + j)
    log_det, slope = row_of(panel, log_det_row), row_of(scratch, LOG_SLOPE)
    left, right = row_of(scratch, LEFT), row_of(scratch, RIGHT)
    low, high = row_of(scratch, LOW), row_of(scratch, HIGH)
    d, d_next = row_of(scratch, SLOPE), row_of(scratch, NEXT_SLOPE)
    y, log_scale, shift = row_of(scratch, Y), row_of(scratch, SCALE), row_of(scratch, SHIFT)
    for m in range(operation[N_COLUMNS]):
        copy_row(panel, operation[INPUT] + n_given + m, scratch, Y)
        if operation[N_BINS]:
            call(units[FIND_BINS], scratch, operation, panel, tables, m, 1)
            for r in range(PANEL):
                w, h = right[r] - left[r], high[r] - low[r]
                y[r], slope[r] = argument_and_slope(y[r], left[r], w, low[r], h, d[r], d_next[r])
                log_det[r] -= log(slope[r])
        if operation[HAS_AFFINE]:
            _load_affine(scratch, operation, panel, m)
            for r in range(PANEL):
                y[r] = (y[r] - shift[r]) * exp(-log_scale[r])
                log_det[r] -= log_scale[r]
        copy_row(scratch, Y, panel, operation[OUTPUT] + n_given + m)


@unit("opoppn")
def pull_columns_back(units, scratch, operation, panel, tables, signal):
    """Take a signal back through the maps of columns, and put gradients where `theta` was."""
    n_given, n_columns, n_bins = operation[N_GIVEN], operation[N_COLUMNS], operation[N_BINS]
    for m in range(n_columns):
        copy_row(panel, operation[INPUT] + n_given + m, scratch, X)
        copy_row(scratch, signal + n_given + m, scratch, BY_Y)
        if operation[HAS_AFFINE]:
            _load_affine(scratch, operation, panel, m)
            _move(scratch)
        if n_bins:
            call(units[FIND_BINS], scratch, operation, panel, tables, m, 0)
            _differentiate(scratch)
            if operation[N_HIDDEN]:
                pull_table_back(scratch, operation, panel, m)
            else:
                table = behind(tables, operation[TABLE] + m * length_of_table(n_bins))
                gather(scratch, behind(table, 3 * (n_bins + 1)))
        if operation[HAS_AFFINE]:
            _pull_affine_back(scratch, operation, panel, m)
        copy_row(scratch, BY_Y, scratch, signal + n_given + m)


@njit(**INLINED)
def _differentiate(scratch):
    """Take gradients back through splines, to their arguments, knots and slopes."""
    left, right = row_of(scratch, LEFT), row_of(scratch, RIGHT)
    low, high = row_of(scratch, LOW), row_of(scratch, HIGH)
    d, d_next = row_of(scratch, SLOPE), row_of(scratch, NEXT_SLOPE)
    x, by_y, by_log = row_of(scratch, X), row_of(scratch, BY_Y), row_of(scratch, BY_LOG)
    by_inner, spread = row_of(scratch, BY_INNER), row_of(scratch, SPREAD)
    by_both, by_high = row_of(scratch, BY_BOTH), row_of(scratch, BY_HIGH)
    by_slope, by_next = row_of(scratch, BY_SLOPE), row_of(scratch, BY_NEXT_SLOPE)
    for r in range(PANEL):
        w, h = right[r] - left[r], high[r] - low[r]
        by_both[r] = by_y[r]
        by_y[r], by_inner[r], spread[r], by_high[r], by_slope[r], by_next[r] = derivatives(
            x[r], left[r], w, low[r], h, d[r], d_next[r], by_y[r], by_log[r]
        )


@njit(**INLINED)
def _pull_affine_back(scratch, operation, panel, m):
    """Take gradients back through the affine map, to its argument and to `theta`."""
    one, quarter = type(scratch[0])(1), type(scratch[0])(0.25)
    moved, log_scale, shift = row_of(scratch, X), row_of(scratch, SCALE), row_of(scratch, SHIFT)
    by_y, by_log = row_of(scratch, BY_Y), row_of(scratch, BY_LOG)
    by_raw = row_of(panel, operation[THETA] + m)
    by_shift = row_of(panel, operation[THETA] + operation[N_COLUMNS] + m)
    for r in range(PANEL):
        by_log_scale = by_log[r] + by_y[r] * (moved[r] - shift[r])
        by_raw[r] = by_log_scale * (one - quarter * log_scale[r] * log_scale[r])
        by_shift[r] = by_y[r]
        by_y[r] *= exp(log_scale[r])
