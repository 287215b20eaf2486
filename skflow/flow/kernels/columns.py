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
    HAS_AFFINE,
    INPUT,
    LOG_SLOPE,
    N_BINS,
    N_COLUMNS,
    N_GIVEN,
    N_HIDDEN,
    OUTPUT,
    PANEL,
    SCALE,
    SHIFT,
    SPREAD,
    TABLE,
    THETA,
    X,
    Y,
    bin_of,
    copy_row,
    table_length,
)
from skflow.flow.kernels.options import (
    OPTIONS,
    behind,
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

__all__ = ["map_columns", "map_columns_back", "pull_columns_back"]


@njit(**OPTIONS)
def _load_affine(scratch, operation, panel, m):
    """Load the affine map of a column, and bound its log-scale by a hyperbolic tangent."""
    zero, one, two = type(scratch[0])(0), type(scratch[0])(1), type(scratch[0])(2)
    row = operation[THETA] + m
    copy_row(panel, row * PANEL, scratch, SCALE)
    copy_row(panel, (row + operation[N_COLUMNS]) * PANEL, scratch, SHIFT)
    for r in range(PANEL):
        raw = scratch[SCALE * PANEL + r]
        e = exp(-abs(raw))
        size = two * (one - e) / (one + e)
        scratch[SCALE * PANEL + r] = size if raw > zero else -size


@njit(**OPTIONS)
def _move(scratch):
    """Map by the affine map."""
    for r in range(PANEL):
        scale = exp(scratch[SCALE * PANEL + r])
        moved = scratch[SHIFT * PANEL + r] + scratch[X * PANEL + r] * scale
        scratch[X * PANEL + r] = moved


@njit(**OPTIONS)
def _find_bins(scratch, operation, panel, tables, m, by_y):
    """Find the bin of each row: its number, the knots at its ends and the slopes there."""
    if operation[N_HIDDEN]:
        load_shares(scratch, operation, panel, m)
        locate(scratch, operation, m, by_y)
    else:
        n_bins = operation[N_BINS]
        table = behind(tables, operation[TABLE] + m * table_length(n_bins))
        look_up(scratch, table, n_bins, by_y)


@njit(**OPTIONS)
def map_columns(scratch, operation, panel, tables, log_det_row):
    """Map a panel by affine maps and splines, and add their log-slopes to a row of it."""
    n_given = operation[N_GIVEN]
    for j in range(n_given):
        copy_row(panel, (operation[INPUT] + j) * PANEL, panel, operation[OUTPUT] + j)
    for m in range(operation[N_COLUMNS]):
        copy_row(panel, (operation[INPUT] + n_given + m) * PANEL, scratch, X)
        for r in range(PANEL):
            scratch[LOG_SLOPE * PANEL + r] = type(scratch[0])(0)
        if operation[HAS_AFFINE]:
            _load_affine(scratch, operation, panel, m)
            _move(scratch)
            copy_row(scratch, SCALE * PANEL, scratch, LOG_SLOPE)
        if operation[N_BINS]:
            _find_bins(scratch, operation, panel, tables, m, False)
            for r in range(PANEL):
                x_k, w, y_k, h, d, d_next = bin_of(scratch, r)
                value, slope = value_and_slope(scratch[X * PANEL + r], x_k, w, y_k, h, d, d_next)
                scratch[X * PANEL + r] = value
                scratch[LOG_SLOPE * PANEL + r] += log(slope)
        copy_row(scratch, X * PANEL, panel, operation[OUTPUT] + n_given + m)
        for r in range(PANEL):
            panel[log_det_row * PANEL + r] += scratch[LOG_SLOPE * PANEL + r]


@njit(**OPTIONS)
def map_columns_back(scratch, operation, panel, tables, log_det_row):
    """Undo :func:`map_columns`, from its input to its output."""
    n_given = operation[N_GIVEN]
    for j in range(n_given):
        copy_row(panel, (operation[INPUT] + j) * PANEL, panel, operation[OUTPUT] + j)
    for m in range(operation[N_COLUMNS]):
        copy_row(panel, (operation[INPUT] + n_given + m) * PANEL, scratch, Y)
        for r in range(PANEL):
            scratch[LOG_SLOPE * PANEL + r] = type(scratch[0])(0)
        if operation[N_BINS]:
            _find_bins(scratch, operation, panel, tables, m, True)
            for r in range(PANEL):
                x_k, w, y_k, h, d, d_next = bin_of(scratch, r)
                value, slope = argument_and_slope(
                    scratch[Y * PANEL + r], x_k, w, y_k, h, d, d_next
                )
                scratch[Y * PANEL + r] = value
                scratch[LOG_SLOPE * PANEL + r] = -log(slope)
        if operation[HAS_AFFINE]:
            _load_affine(scratch, operation, panel, m)
            for r in range(PANEL):
                log_scale = scratch[SCALE * PANEL + r]
                moved = scratch[Y * PANEL + r] - scratch[SHIFT * PANEL + r]
                scratch[Y * PANEL + r] = moved * exp(-log_scale)
                scratch[LOG_SLOPE * PANEL + r] -= log_scale
        copy_row(scratch, Y * PANEL, panel, operation[OUTPUT] + n_given + m)
        for r in range(PANEL):
            panel[log_det_row * PANEL + r] += scratch[LOG_SLOPE * PANEL + r]


@njit(**OPTIONS)
def pull_columns_back(scratch, operation, panel, tables, signal):
    """Take a signal back through the maps of columns, and put gradients where `theta` was."""
    n_given, n_columns, n_bins = operation[N_GIVEN], operation[N_COLUMNS], operation[N_BINS]
    for m in range(n_columns):
        copy_row(panel, (operation[INPUT] + n_given + m) * PANEL, scratch, X)
        copy_row(scratch, (signal + n_given + m) * PANEL, scratch, BY_Y)
        if operation[HAS_AFFINE]:
            _load_affine(scratch, operation, panel, m)
            _move(scratch)
        if n_bins:
            _find_bins(scratch, operation, panel, tables, m, False)
            _differentiate(scratch)
            if operation[N_HIDDEN]:
                pull_table_back(scratch, operation, panel, m)
            else:
                table = behind(tables, operation[TABLE] + m * table_length(n_bins))
                gather(scratch, behind(table, 3 * (n_bins + 1)))
        if operation[HAS_AFFINE]:
            for r in range(PANEL):
                log_scale = scratch[SCALE * PANEL + r]
                by_moved = scratch[BY_Y * PANEL + r]
                scaled = scratch[X * PANEL + r] - scratch[SHIFT * PANEL + r]
                by_log_scale = scratch[BY_LOG * PANEL + r] + by_moved * scaled
                by_log_scale *= type(scaled)(1) - type(scaled)(0.25) * log_scale * log_scale
                scratch[SHIFT * PANEL + r] = by_log_scale
                scratch[SCALE * PANEL + r] = by_moved * exp(log_scale)
            row = operation[THETA] + m
            copy_row(scratch, SHIFT * PANEL, panel, row)
            copy_row(scratch, BY_Y * PANEL, panel, row + n_columns)
            copy_row(scratch, SCALE * PANEL, scratch, signal + n_given + m)
        else:
            copy_row(scratch, BY_Y * PANEL, scratch, signal + n_given + m)


@njit(**OPTIONS)
def _differentiate(scratch):
    """Take gradients back through splines, to their arguments, knots and slopes."""
    for r in range(PANEL):
        x_k, w, y_k, h, d, d_next = bin_of(scratch, r)
        by_y = scratch[BY_Y * PANEL + r]
        by_x, by_inner, spread, by_high, by_d, by_d_next = derivatives(
            scratch[X * PANEL + r], x_k, w, y_k, h, d, d_next, by_y, scratch[BY_LOG * PANEL + r]
        )
        scratch[BY_INNER * PANEL + r] = by_inner
        scratch[SPREAD * PANEL + r] = spread
        scratch[BY_BOTH * PANEL + r] = by_y
        scratch[BY_HIGH * PANEL + r] = by_high
        scratch[BY_SLOPE * PANEL + r] = by_d
        scratch[BY_NEXT_SLOPE * PANEL + r] = by_d_next
        scratch[BY_Y * PANEL + r] = by_x
