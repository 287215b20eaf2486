"""All that is "auto" in a conditional flow: what the numbers of rows and columns make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skflow.training.defaults import (
    TrainingSettings,
    between,
    held_out_and_few,
    power_of_two,
    training_settings,
)

__all__ = ["ConditionalSettings", "conditional_settings", "n_default_trees"]

# Layers: a second one was worth 0.03 nats on 7,400 rows of kin8nm, and a third nothing.
_N_LAYERS = 2

# Hidden units of a conditioner: twice the square root of the rows, in multiples of 8. On kin8nm
# 128 units were 0.06 nats above 64. It reads the whole context, so that it is wider than that of
# a flow's couplings.
_LEAST_HIDDEN, _MOST_HIDDEN = 16, 128

# Bins of a spline: 8, and up to 16 with the square root of the rows, as a density of one target
# may have several modes.
_LEAST_BINS, _MOST_BINS, _ROWS_OF_LEAST_BINS = 8, 16, 5000

# Trees of the forest whose out-of-bag predictions belong to the context. More rows or columns
# have fewer of them, which keeps their time below that of the training.
_MOST_TREES, _LEAST_TREES, _ROWS_OF_MOST_TREES, _COLUMNS_OF_MOST_TREES = 200, 50, 10_000, 64


@dataclass(frozen=True)
class ConditionalSettings:
    """What a fit does with so many rows and columns."""

    n_layers: int
    """The number of layers."""

    n_hidden: int
    """The width of a conditioner."""

    n_bins: int
    """The bins of a spline."""

    training: TrainingSettings
    """The training, on the rows that are not held out."""

    n_validation: int
    """The number of rows that are held out."""

    refits: bool
    """Whether all rows are fitted in the end."""


def conditional_settings(
    parameters: Mapping[str, Any], n_rows: int, n_context: int
) -> ConditionalSettings:
    """Say what the parameters of an estimator come to, with so many rows and columns.

    Parameters
    ----------
    parameters : mapping
        Those of :class:`~skflow.ConditionalFlow`, as ``get_params`` returns them.
    n_rows : int
        The number of rows.
    n_context : int
        The number of columns of the context.

    Returns
    -------
    settings : ConditionalSettings
        Nothing in it is "auto".
    """
    n_validation, few = held_out_and_few(parameters, n_rows, n_context)
    n_layers = parameters["n_layers"]
    n_bins = _LEAST_BINS * (n_rows / _ROWS_OF_LEAST_BINS) ** 0.5
    return ConditionalSettings(
        n_layers=_N_LAYERS if n_layers == "auto" else n_layers,
        n_hidden=8 * round(between(2 * n_rows**0.5, _LEAST_HIDDEN, _MOST_HIDDEN) / 8),
        n_bins=power_of_two(between(n_bins, _LEAST_BINS, _MOST_BINS)),
        training=training_settings(
            {**parameters, "input_noise": 0.0}, n_rows - n_validation, n_context
        ),
        n_validation=n_validation,
        refits=few,
    )


def n_default_trees(n_rows: int, n_features: int) -> int:
    """Return the number of trees of the forest.

    Parameters
    ----------
    n_rows : int
        The number of rows.
    n_features : int
        The number of features.
    """
    by_rows = min(1.0, _ROWS_OF_MOST_TREES / n_rows) ** 0.5
    by_columns = min(1.0, _COLUMNS_OF_MOST_TREES / n_features) ** 0.5
    return max(_LEAST_TREES, round(_MOST_TREES * by_rows * by_columns))
