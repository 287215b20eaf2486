"""What a fit is given, what it gives back, and what can be asked of a prediction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["LEVELS", "Contender", "Fitted", "Prediction", "Task"]

LEVELS = np.arange(1, 200) / 200  # of the quantiles that all are asked for


@dataclass(frozen=True)
class Task:
    """The rows to fit, and on what terms."""

    X: np.ndarray
    y: np.ndarray
    seed: int
    max_time: float | None = None


class Prediction:
    """The distributions of y given the rows of X, one for each row."""

    def log_density(self, y):
        """Return log p(y | x) for each row, or None where there is no density."""
        return None

    def cdf(self, y):
        """Return the probability of what is not above y for each row, or None."""
        return None

    def quantiles(self):
        """Return an array of shape (n_rows, n_levels) with the quantiles at `LEVELS`."""
        raise NotImplementedError

    def interval(self, percent):
        """Return both ends of a central interval of each row, or None for its quantiles."""
        return None


class Fitted(NamedTuple):
    """A conditional distribution, and what there is to say about its fit."""

    predict: Callable
    """Takes rows of X, and returns a `Prediction`."""

    detail: str = ""


class Contender(NamedTuple):
    """How to fit one estimator."""

    fit: Callable
    package: str
    timed: bool = False
    """Whether it is given the seconds that skflow's default took."""
