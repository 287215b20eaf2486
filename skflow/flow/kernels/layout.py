"""Where things are: what describes an operation, a panel, scratch and tables."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from skflow.flow.kernels.options import (
    INLINED,
)

PANEL = 64
"""How many rows are worked off at once."""

# The units that kernels call, by their place in a vector of addresses. MAP maps columns forwards
# or backwards.
MULTIPLY, ADD_GRADIENTS, TABULATE, FIND_BINS, MAP, PULL_COLUMNS_BACK, PULL_SUMS_BACK = range(7)
N_UNITS = 7

# What an operation is described by: whole numbers, of which some are addresses. It is a dense
# layer, or it maps M columns one by one and leaves those before them as they are: by an affine
# map, if there is one, and by a spline of K bins, if there is one. The numbers that these are made
# of are parameters, or each row has its own, which a conditioner with two hidden layers makes of
# the columns before.
FIELDS = (
    "n_given", "n_columns", "n_bins", "n_slopes", "n_shares", "has_affine",
    "n_hidden", "n_outputs",
    # Addresses of parameters, 0 where there is none.
    "weight", "bias",
    "weight_0", "bias_0", "weight_1", "bias_1", "weight_2", "bias_2",
    "spacings", "slopes", "low", "size",
    # Addresses of their gradients.
    "by_weight_0", "by_bias_0", "by_weight_1", "by_bias_1", "by_weight_2", "by_bias_2",
    "by_spacings", "by_slopes",
    # Rows of a panel: what comes in and goes out, the hidden layers, and what they say.
    "x", "y", "hidden_0", "hidden_1", "theta",
    # Where the knots and slopes of splines that all rows share are, in a vector.
    "table",
    # Of a dense layer, its number among these.
    "dense",
)  # fmt: skip
(
    N_GIVEN, N_COLUMNS, N_BINS, N_SLOPES, N_SHARES, HAS_AFFINE, N_HIDDEN, N_OUTPUTS,
    WEIGHT, BIAS,
    WEIGHT_0, BIAS_0, WEIGHT_1, BIAS_1, WEIGHT_2, BIAS_2,
    SPACINGS, SLOPES, LOW_ENDS, SIZES,
    BY_WEIGHT_0, BY_BIAS_0, BY_WEIGHT_1, BY_BIAS_1, BY_WEIGHT_2, BY_BIAS_2,
    BY_SPACINGS, BY_SLOPES,
    INPUT, OUTPUT, HIDDEN_0, HIDDEN_1, THETA,
    TABLE,
    DENSE,
) = range(len(FIELDS))  # fmt: skip
N_FIELDS = len(FIELDS)

# Rows of scratch: values on both sides of a spline, their slopes, the affine map, gradients, the
# bins that rows lie in, and sums. Four rows for a product follow, then the shares of widths and
# of heights and the raw slopes of splines that are each row's own: K of each, and a slope more.
X, Y, LOG_SLOPE, SCALE, SHIFT, BY_Y, BY_LOG = range(7)
LEFT, RIGHT, LOW, HIGH, SLOPE, NEXT_SLOPE, INDEX = range(7, 14)
RAW, NEXT_RAW, SUM, OTHER_SUM = range(14, 18)
BY_INNER, SPREAD, BY_BOTH, BY_HIGH, BY_SLOPE, BY_NEXT_SLOPE = range(18, 24)
PRODUCT = 24
SHARES = 28


def scratch_rows(n_features: int, n_bins: int) -> tuple[int, int]:
    """Return where room for signals begins in scratch, and how many rows of a panel it takes.

    Parameters
    ----------
    n_features : int
        The number D of columns.
    n_bins : int
        The most bins K of a spline.
    """
    first = SHARES + 3 * n_bins + 1
    return first, first + 2 * n_features


def table_length(n_bins: int) -> int:
    """Return how many numbers a column's table takes: knots, slopes and six sums for each bin.

    Parameters
    ----------
    n_bins : int
        The number K of bins.
    """
    return 9 * n_bins + 3


# The same for kernels.
length_of_table = njit(**INLINED)(table_length)


@intrinsic
def row_of(typing_context: Any, pointer: Any, row: Any) -> Any:
    """Return a pointer to a row of a panel or of scratch."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first = builder.mul(arguments[1], ir.Constant(ir.IntType(64), PANEL))
        return builder.gep(arguments[0], [first])

    return pointer(pointer, types.int64), generate


@njit(**INLINED)
def copy_row(source, source_row, target, target_row):
    """Copy a row of a panel or of scratch."""
    x, y = row_of(source, source_row), row_of(target, target_row)
    for r in range(PANEL):
        y[r] = x[r]
