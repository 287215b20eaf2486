"""What a fit is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from .data import Table

__all__ = ["Contender", "Fitted", "Task", "coded"]


@dataclass(frozen=True)
class Task:
    """The rows to fit, and what is known of their columns."""

    train: pd.DataFrame
    table: Table
    seed: int


class Fitted(NamedTuple):
    """A density, and what there is to say about its fit."""

    score_samples: Callable
    """Takes a frame, and returns the log-density of each row, or that and standard errors."""

    detail: str = ""


class Contender(NamedTuple):
    """How to fit one estimator."""

    fit: Callable
    package: str


def coded(table, frame):
    """Return a frame as numbers: categories as their places among all levels.

    Parameters
    ----------
    table : Table
    frame : DataFrame

    Returns
    -------
    X : array of shape (n_samples, n_columns)
    """
    columns = [
        pd.Categorical(frame[name], categories=table.levels(name)).codes
        if kind == "category"
        else frame[name]
        for name, kind in table.kinds.items()
    ]
    return np.stack([np.asarray(column, float) for column in columns], 1)
