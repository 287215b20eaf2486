"""What a fit is given, and what it gives back.

All are given the same rows, those to train on and those to validate on. Who stops early, or keeps
the best of its weights, holds the validation rows out, or, if it is a scikit-learn estimator
that holds rows out by itself, about as many of its own choice; the others fit to all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["LEADER", "NO_LIMIT", "Contender", "Fitted", "Task", "Unattainable"]


class Unattainable(ValueError):
    """What was asked for cannot be had of this estimator."""


LEADER = "skflow"  # with whom all others are compared

NO_LIMIT = 1_000_000  # epochs, where the seconds decide


@dataclass(frozen=True)
class Task:
    """The rows to fit, and on what terms."""

    train: np.ndarray
    validation: np.ndarray
    seed: int
    n_threads: int
    max_time: float | None = None
    n_parameters: int | None = None
    groups: np.ndarray | None = None
    """Of the rows to train on, where they come in groups."""


class Fitted(NamedTuple):
    """A density, and what there is to say about its fit."""

    score_samples: Callable
    n_rows: int
    n_parameters: int | str = ""
    validation_nats: float | str = ""
    detail: str = ""
    scores: tuple = ()


class Contender(NamedTuple):
    """How to fit one estimator."""

    fit: Callable
    package: str
    timed: bool = False
    """Whether it is given the seconds that skflow's default took."""

    sized: bool = False
    """Whether it can be given a number of parameters."""

    validates: bool = False
    """Whether it keeps the weights that are best on the validation rows."""
