"""The kernels: rows through all operations of a program, and gradients back."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from numba import cfunc, njit, types

from skflow.flow.kernels.columns import (
    map_columns,
    map_columns_back,
    pull_columns_back,
)
from skflow.flow.kernels.layout import (
    BIAS,
    BIAS_0,
    BY_BIAS_0,
    BY_LOG,
    BY_WEIGHT_0,
    DENSE,
    HIDDEN_0,
    HIDDEN_1,
    INPUT,
    N_BINS,
    N_COLUMNS,
    N_FIELDS,
    N_GIVEN,
    N_HIDDEN,
    N_OUTPUTS,
    OUTPUT,
    PANEL,
    THETA,
    WEIGHT,
    WEIGHT_0,
)
from skflow.flow.kernels.options import (
    OPTIONS,
    at,
    behind,
)
from skflow.flow.kernels.products import (
    ADD,
    MASK,
    RECTIFY,
    SET,
    add_outer,
    add_totals,
    multiply,
)
from skflow.flow.kernels.shared_splines import (
    clear_sums,
    pull_sums_back,
    tabulate,
)

__all__ = ["kernel"]


@njit(**OPTIONS)
def _apply(scratch, operation, panel, tables, log_det_row, back):
    """Map a panel by an operation."""
    n_given, n_hidden = operation[N_GIVEN], operation[N_HIDDEN]
    x = behind(panel, operation[INPUT] * PANEL)
    if operation[WEIGHT]:
        d = operation[N_COLUMNS]
        multiply(
            scratch, at(operation[WEIGHT], panel), d, 1, x, PANEL,
            behind(panel, operation[OUTPUT] * PANEL), PANEL,
            at(operation[BIAS], panel), d, d, PANEL, SET,
        )  # fmt: skip
        return
    if n_hidden:
        first = behind(panel, operation[HIDDEN_0] * PANEL)
        second = behind(panel, operation[HIDDEN_1] * PANEL)
        theta = behind(panel, operation[THETA] * PANEL)
        for k in range(3):
            multiply(
                scratch, at(operation[WEIGHT_0 + 2 * k], panel), n_hidden if k else n_given, 1,
                x if k == 0 else first if k == 1 else second, PANEL,
                first if k == 0 else second if k == 1 else theta, PANEL,
                at(operation[BIAS_0 + 2 * k], panel),
                operation[N_OUTPUTS] if k == 2 else n_hidden, n_hidden if k else n_given,
                PANEL, SET if k == 2 else RECTIFY,
            )  # fmt: skip
    if back:
        map_columns_back(scratch, operation, panel, tables, log_det_row)
    else:
        map_columns(scratch, operation, panel, tables, log_det_row)


@njit(**OPTIONS)
def _pull_conditioner_back(scratch, operation, panel, signal):
    n_given, n_hidden = operation[N_GIVEN], operation[N_HIDDEN]
    x_row, row = operation[INPUT], operation[THETA]
    n = operation[N_OUTPUTS]
    for j in range(3):
        k = 2 - j
        from_row = operation[HIDDEN_0 + k - 1] if k else x_row
        m = n_hidden if k else n_given
        by_y, x = behind(panel, row * PANEL), behind(panel, from_row * PANEL)
        add_outer(by_y, n, x, m, at(operation[BY_WEIGHT_0 + 2 * k], panel))
        add_totals(by_y, n, at(operation[BY_BIAS_0 + 2 * k], panel))
        # Of a hidden layer, the gradient takes its place; the signal gains that of the columns.
        target = x if k else behind(scratch, signal * PANEL)
        multiply(
            scratch, at(operation[WEIGHT_0 + 2 * k], panel), 1, m, by_y, PANEL, target, PANEL,
            panel, m, n, PANEL, MASK if k else ADD,
        )  # fmt: skip
        row, n = from_row, n_hidden


@njit(**OPTIONS)
def _forward(
    operations, n_operations, scratch, tables, panels, panel_rows, keeps, back,
    x, x_row, x_column, y, y_row, y_column, log_det, n_rows, n_features,
):  # fmt: skip
    """Map rows. With `keeps`, each panel has room of its own, for the way back."""
    zero = type(scratch[0])(0)
    for o in range(n_operations):
        operation = behind(operations, o * N_FIELDS)
        if operation[N_BINS] and operation[N_HIDDEN] == 0:
            tabulate(operation, tables)
    last = behind(operations, (n_operations - 1) * N_FIELDS)
    first_row, last_row = operations[INPUT], last[OUTPUT]
    log_det_row = panel_rows - 1
    for start in range(0, n_rows, PANEL):
        n = min(PANEL, n_rows - start)
        panel = behind(panels, start * panel_rows if keeps else 0)
        for j in range(n_features):
            for r in range(n):
                panel[(first_row + j) * PANEL + r] = x[(start + r) * x_row + j * x_column]
            for r in range(n, PANEL):
                panel[(first_row + j) * PANEL + r] = zero
        for r in range(PANEL):
            panel[log_det_row * PANEL + r] = zero
        for o in range(n_operations):
            operation = behind(operations, o * N_FIELDS)
            _apply(scratch, operation, panel, tables, log_det_row, back)
        for r in range(n):
            log_det[start + r] = panel[log_det_row * PANEL + r]
        for j in range(n_features):
            for r in range(n):
                y[(start + r) * y_row + j * y_column] = panel[(last_row + j) * PANEL + r]


@njit(**OPTIONS)
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
        operation = behind(operations, o * N_FIELDS)
        if operation[N_BINS] and operation[N_HIDDEN] == 0:
            clear_sums(operation, tables)
    signal, other = scratch_row, scratch_row + n_features
    for start in range(0, n_rows, PANEL):
        n = min(PANEL, n_rows - start)
        panel = behind(panels, start * panel_rows)
        for r in range(PANEL):
            scratch[BY_LOG * PANEL + r] = by_log_det[start + r] if r < n else zero
        for j in range(n_features):
            for r in range(PANEL):
                # Rows that are not there have no gradient.
                value = by_y[(start + r) * y_row + j * y_column] if r < n else zero
                scratch[(signal + j) * PANEL + r] = value
        for back in range(n_operations):
            o = n_operations - 1 - back
            operation = behind(operations, o * N_FIELDS)
            if operation[WEIGHT] == 0:
                pull_columns_back(scratch, operation, panel, tables, signal)
                if operation[N_HIDDEN]:
                    _pull_conditioner_back(scratch, operation, panel, signal)
                continue
            for j in range(n_features):
                place = (operation[DENSE] * n_features + j) * n_rows + start
                for r in range(n):
                    deltas[place + r] = scratch[(signal + j) * PANEL + r]
                    ys[place + r] = panel[(operation[OUTPUT] + j) * PANEL + r]
            if o == 0 and wants_by_x == 0:
                continue
            for r in range(n_features * PANEL):
                scratch[other * PANEL + r] = zero
            multiply(
                scratch, at(operation[WEIGHT], panel), 1, n_features,
                behind(scratch, signal * PANEL), PANEL,
                behind(scratch, other * PANEL), PANEL,
                panel, n_features, n_features, PANEL, ADD,
            )  # fmt: skip
            signal, other = other, signal
        if wants_by_x:
            for j in range(n_features):
                for r in range(n):
                    by_x[(start + r) * x_row + j * x_column] = scratch[(signal + j) * PANEL + r]
    for o in range(n_operations):
        operation = behind(operations, o * N_FIELDS)
        if operation[N_BINS] and operation[N_HIDDEN] == 0:
            pull_sums_back(operation, tables)


# What each kernel takes: o for operations, p for a pointer to numbers, n for a whole number.
_ARGUMENTS = {"forward": "onpppnnnpnnpnnpnn", "pullback": "onpppnpnnppnnppnnnn"}
_NUMBERS = {torch.float32: types.float32, torch.float64: types.float64}


def _version() -> int:
    """Return a number that changes with what is written here and beside."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return zlib.crc32(b"".join(file.read_bytes() for file in files)) + 1


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
    kinds = {
        "o": types.CPointer(types.int64),
        "p": types.CPointer(_NUMBERS[dtype]),
        "n": types.int64,
    }
    c_kinds = {"o": ctypes.c_void_p, "p": ctypes.c_void_p, "n": ctypes.c_int64}
    arguments = _ARGUMENTS[name]
    signature = types.void(*(kinds[one] for one in arguments))
    compiled = _compiled(signature, _versioned(_version())[name])
    call: Any = ctypes.CFUNCTYPE(None, *(c_kinds[one] for one in arguments))(compiled.address)
    call.compiled = compiled  # which owns the code
    return cast(Callable[..., None], call)


def _versioned(version: int) -> dict[str, Callable[..., None]]:
    """Return the kernels, whose code Numba keeps on disk under this number.

    It would tell by itself that this file has changed, but not that another one has.
    """

    def forward(
        operations, n_operations, scratch, tables, panels, panel_rows, keeps, back,
        x, x_row, x_column, y, y_row, y_column, log_det, n_rows, n_features,
    ):  # fmt: skip
        if version:
            _forward(
                operations, n_operations, scratch, tables, panels, panel_rows, keeps, back,
                x, x_row, x_column, y, y_row, y_column, log_det, n_rows, n_features,
            )  # fmt: skip

    def pullback(
        operations, n_operations, scratch, tables, panels, panel_rows,
        by_y, y_row, y_column, by_log_det, by_x, x_row, x_column, deltas, ys, n_rows, n_features,
        scratch_row, wants_by_x,
    ):  # fmt: skip
        if version:
            _pullback(
                operations, n_operations, scratch, tables, panels, panel_rows,
                by_y, y_row, y_column, by_log_det, by_x, x_row, x_column, deltas, ys,
                n_rows, n_features, scratch_row, wants_by_x,
            )  # fmt: skip

    return {"forward": forward, "pullback": pullback}


def _compiled(signature: Any, function: Callable[..., None]) -> Any:
    try:
        return cfunc(signature, cache=True, **OPTIONS)(function)
    except (OSError, RuntimeError):  # there is no place on disk that can be written to
        return cfunc(signature, **OPTIONS)(function)
