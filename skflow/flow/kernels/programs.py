"""The kernels: rows through all operations of a program, and gradients back."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from numba import njit

from skflow.flow.kernels.columns import (
    find_bins,
    map_columns,
    map_columns_back,
    pull_columns_back,
)
from skflow.flow.kernels.layout import (
    ADD_GRADIENTS,
    BIAS,
    BIAS_0,
    BY_BIAS_0,
    BY_LOG,
    BY_WEIGHT_0,
    DENSE,
    FIND_BINS,
    HIDDEN_0,
    HIDDEN_1,
    INPUT,
    MAP,
    MULTIPLY,
    N_BINS,
    N_COLUMNS,
    N_FIELDS,
    N_GIVEN,
    N_HIDDEN,
    N_OUTPUTS,
    N_UNITS,
    OUTPUT,
    PANEL,
    PULL_COLUMNS_BACK,
    PULL_SUMS_BACK,
    TABULATE,
    THETA,
    WEIGHT,
    WEIGHT_0,
    row_of,
)
from skflow.flow.kernels.options import (
    INLINED,
    at,
    behind,
    call,
)
from skflow.flow.kernels.products import (
    ADD,
    MASK,
    RECTIFY,
    SET,
    add_gradients,
    multiply,
)
from skflow.flow.kernels.shared_splines import (
    clear_sums,
    pull_sums_back,
    tabulate,
)
from skflow.flow.kernels.units import (
    unit,
)

__all__ = ["kernel"]


@njit(**INLINED)
def _apply(units, scratch, operation, panel, tables, log_det_row):
    """Map a panel by an operation."""
    n_given, n_hidden = operation[N_GIVEN], operation[N_HIDDEN]
    x = row_of(panel, operation[INPUT])
    if operation[WEIGHT]:
        d = operation[N_COLUMNS]
        call(
            units[MULTIPLY], scratch, at(operation[WEIGHT], panel), d, 1, x, PANEL,
            row_of(panel, operation[OUTPUT]), PANEL,
            at(operation[BIAS], panel), d, d, PANEL, SET,
        )  # fmt: skip
        return
    if n_hidden:
        first = row_of(panel, operation[HIDDEN_0])
        second = row_of(panel, operation[HIDDEN_1])
        theta = row_of(panel, operation[THETA])
        for k in range(3):
            call(
                units[MULTIPLY], scratch,
                at(operation[WEIGHT_0 + 2 * k], panel), n_hidden if k else n_given, 1,
                x if k == 0 else first if k == 1 else second, PANEL,
                first if k == 0 else second if k == 1 else theta, PANEL,
                at(operation[BIAS_0 + 2 * k], panel),
                operation[N_OUTPUTS] if k == 2 else n_hidden, n_hidden if k else n_given,
                PANEL, SET if k == 2 else RECTIFY,
            )  # fmt: skip
    call(units[MAP], units, scratch, operation, panel, tables, log_det_row)


@njit(**INLINED)
def _pull_conditioner_back(units, scratch, operation, panel, signal):
    """Take what stands in place of `theta` back, and add to the signal of the columns before."""
    n_given, n_hidden = operation[N_GIVEN], operation[N_HIDDEN]
    x_row, row = operation[INPUT], operation[THETA]
    n = operation[N_OUTPUTS]
    for j in range(3):
        k = 2 - j
        from_row = operation[HIDDEN_0 + k - 1] if k else x_row
        m = n_hidden if k else n_given
        by_y, x = row_of(panel, row), row_of(panel, from_row)
        by_weight = at(operation[BY_WEIGHT_0 + 2 * k], panel)
        by_bias = at(operation[BY_BIAS_0 + 2 * k], panel)
        call(units[ADD_GRADIENTS], by_y, n, x, m, by_weight, by_bias)
        # Of a hidden layer, the gradient takes its place; the signal gains that of the columns.
        target = x if k else row_of(scratch, signal)
        call(
            units[MULTIPLY], scratch,
            at(operation[WEIGHT_0 + 2 * k], panel), 1, m, by_y, PANEL, target, PANEL,
            panel, m, n, PANEL, MASK if k else ADD,
        )  # fmt: skip
        row, n = from_row, n_hidden


@unit("oonpppnnpnnpnnpnn")
def forward(
    units, operations, n_operations, scratch, tables, panels, panel_rows, keeps,
    x, x_row, x_column, y, y_row, y_column, log_det, n_rows, n_features,
):  # fmt: skip
    """Map rows. With `keeps`, each panel has room of its own, for the way back."""
    zero = type(scratch[0])(0)
    for o in range(n_operations):
        operation = behind(operations, o * N_FIELDS)
        if operation[N_BINS] and operation[N_HIDDEN] == 0:
            call(units[TABULATE], operation, tables)
    last = behind(operations, (n_operations - 1) * N_FIELDS)
    first_row, last_row = operations[INPUT], last[OUTPUT]
    for start in range(0, n_rows, PANEL):
        n = min(PANEL, n_rows - start)
        panel = behind(panels, start * panel_rows if keeps else 0)
        for j in range(n_features):
            column, first = row_of(panel, first_row + j), start * x_row + j * x_column
            for r in range(n):
                column[r] = x[first + r * x_row]
            for r in range(n, PANEL):
                column[r] = zero
        total = row_of(panel, panel_rows - 1)
        for r in range(PANEL):
            total[r] = zero
        for o in range(n_operations):
            operation = behind(operations, o * N_FIELDS)
            _apply(units, scratch, operation, panel, tables, panel_rows - 1)
        for r in range(n):
            log_det[start + r] = total[r]
        for j in range(n_features):
            column, first = row_of(panel, last_row + j), start * y_row + j * y_column
            for r in range(n):
                y[first + r * y_row] = column[r]


@njit(**INLINED)
def _keep_factors(scratch, operation, panel, signal, deltas, ys, start, n_rows, n_features):
    """Keep the factors of a dense layer, of shape (L, D, N)."""
    for j in range(n_features):
        place = (operation[DENSE] * n_features + j) * n_rows + start
        delta, y = row_of(scratch, signal + j), row_of(panel, operation[OUTPUT] + j)
        for r in range(min(PANEL, n_rows - start)):
            deltas[place + r] = delta[r]
            ys[place + r] = y[r]


@njit(**INLINED)
def _pull_dense_back(units, scratch, operation, panel, signal, other, n_features):
    """Take a signal back through a dense layer, to other rows of scratch."""
    target = row_of(scratch, other)
    for r in range(n_features * PANEL):
        target[r] = 0
    call(
        units[MULTIPLY], scratch, at(operation[WEIGHT], panel), 1, n_features,
        row_of(scratch, signal), PANEL, target, PANEL,
        panel, n_features, n_features, PANEL, ADD,
    )  # fmt: skip


@unit("oonpppnpnnppnnppnnnn")
def pullback(
    units, operations, n_operations, scratch, tables, panels, panel_rows,
    by_y, y_row, y_column, by_log_det, by_x, x_row, x_column, deltas, ys, n_rows, n_features,
    scratch_row, wants_by_x,
):  # fmt: skip
    """Take gradients back, add up those of parameters, and keep the factors of dense layers.

    From `scratch_row` on, there is room for D rows and D others.
    """
    zero = type(scratch[0])(0)
    for o in range(n_operations):
        operation = behind(operations, o * N_FIELDS)
        if operation[N_BINS] and operation[N_HIDDEN] == 0:
            clear_sums(operation, tables)
    signal, other = scratch_row, scratch_row + n_features
    by_log = row_of(scratch, BY_LOG)
    for start in range(0, n_rows, PANEL):
        n = min(PANEL, n_rows - start)
        panel = behind(panels, start * panel_rows)
        for r in range(PANEL):  # rows that are not there have no gradient
            by_log[r] = by_log_det[start + r] if r < n else zero
        for j in range(n_features):
            by_column, first = row_of(scratch, signal + j), start * y_row + j * y_column
            for r in range(PANEL):
                by_column[r] = by_y[first + r * y_row] if r < n else zero
        for back in range(n_operations):
            o = n_operations - 1 - back
            operation = behind(operations, o * N_FIELDS)
            if operation[WEIGHT]:
                _keep_factors(
                    scratch, operation, panel, signal, deltas, ys, start, n_rows, n_features
                )
                if o or wants_by_x:
                    _pull_dense_back(units, scratch, operation, panel, signal, other, n_features)
                    signal, other = other, signal
            else:
                call(units[PULL_COLUMNS_BACK], units, scratch, operation, panel, tables, signal)
                if operation[N_HIDDEN]:
                    _pull_conditioner_back(units, scratch, operation, panel, signal)
        if wants_by_x:
            for j in range(n_features):
                by_column, first = row_of(scratch, signal + j), start * x_row + j * x_column
                for r in range(n):
                    by_x[first + r * x_row] = by_column[r]
    for o in range(n_operations):
        operation = behind(operations, o * N_FIELDS)
        if operation[N_BINS] and operation[N_HIDDEN] == 0:
            call(units[PULL_SUMS_BACK], operation, tables)


# What each kernel calls: units, and their places.
_CALLED = {
    "forward": {
        MULTIPLY: multiply,
        TABULATE: tabulate,
        FIND_BINS: find_bins,
        MAP: map_columns,
    },
    "inverse": {
        MULTIPLY: multiply,
        TABULATE: tabulate,
        FIND_BINS: find_bins,
        MAP: map_columns_back,
    },
    "pullback": {
        MULTIPLY: multiply,
        ADD_GRADIENTS: add_gradients,
        FIND_BINS: find_bins,
        PULL_COLUMNS_BACK: pull_columns_back,
        PULL_SUMS_BACK: pull_sums_back,
    },
}


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
        Takes addresses and whole numbers. Meanwhile, other threads run.
    """
    called = _CALLED[name]
    addresses = [called[k].address(dtype) if k in called else 0 for k in range(N_UNITS)]
    units = torch.tensor(addresses)
    entry = (pullback if name == "pullback" else forward).callable(dtype)

    def run(*arguments: int | None) -> None:
        entry(units.data_ptr(), *arguments)

    return run
