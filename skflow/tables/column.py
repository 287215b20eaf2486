"""What every kind of column promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

__all__ = ["Column", "FitSettings", "Floats", "LineColumn", "spread"]

Floats = NDArray[np.float64]


class FitSettings(NamedTuple):
    """How the flows of a table train."""

    random_state: int
    """Where the randomness comes from."""

    max_iter: int | Literal["auto"] = "auto"
    """The most epochs of a flow."""


class Column(BaseEstimator, ABC):
    """The distribution of one column of a table, given features of its rows.

    Values are numbers: those of the column, or the code of a category. What a column is declared
    with are its parameters. :meth:`prepare` is called once, and then :meth:`learn`, once or twice.

    A subclass states how it learns, what a value's exact log-mass or log-density is, how values
    are drawn, and what other columns see of it.
    """

    def refuse(self, values: Floats, name: str) -> None:
        """Raise a ValueError if values cannot belong to such a column.

        Parameters
        ----------
        values : ndarray of shape (n_values,)
            Those that are not missing.
        name : str
            What the column is called.
        """

    def prepare(self, values: Floats, weights: Floats | None) -> None:
        """Find out what other columns have to know of this one, before any of them learns.

        Parameters
        ----------
        values : ndarray of shape (n_samples,)
            None of them is missing.
        weights : ndarray of shape (n_samples,) or None
            How many rows each row counts for.
        """

    def leave_out(self, values: Floats) -> None:
        """Give no mass to some values, whatever is learned: heaps that are counted elsewhere.

        :class:`Inflated` says so to its others, before they learn. A column with a density alone
        need not know.

        Parameters
        ----------
        values : ndarray of shape (n_values,)
            The heaps.
        """

    def range_of_draws(self, values: Floats) -> tuple[float, float]:
        """Return between which values draws for users lie: those of the fit, both included.

        Parameters
        ----------
        values : ndarray of shape (n_samples,)
            None of them is missing.

        Returns
        -------
        low, high : float
            Infinite for a column whose values have no order, or go round.
        """
        return float(values.min()), float(values.max())

    @abstractmethod
    def learn(
        self, values: Floats, features: Floats, weights: Floats | None, settings: FitSettings
    ) -> Self:
        """Learn the distribution.

        Parameters
        ----------
        values : ndarray of shape (n_samples,)
            None of them is missing.
        features : ndarray of shape (n_samples, n_features)
            May be missing (NaN).
        weights : ndarray of shape (n_samples,) or None
            How many rows each row counts for.
        settings : FitSettings
            How flows train, and where the randomness comes from.
        """

    @abstractmethod
    def log_prob(self, values: Floats, features: Floats) -> Floats:
        """Return the log-mass of values that have some, and the log-density of others.

        Parameters
        ----------
        values : ndarray of shape (n_samples,)
            None of them is missing.
        features : ndarray of shape (n_samples, n_features)
            May be missing (NaN).

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats.
        """

    @abstractmethod
    def sample(self, features: Floats, u: Floats) -> Floats:
        """Return a value for each row, as a uniform number says.

        Parameters
        ----------
        features : ndarray of shape (n_samples, n_features)
            May be missing (NaN).
        u : ndarray of shape (n_samples,)
            Uniform between 0 and 1, both excluded. The same number always gives the same value.

        Returns
        -------
        values : ndarray of shape (n_samples,)
            In the column's support.
        """

    def has_mass(self, values: Floats) -> NDArray[np.bool_]:
        """Say which values have a mass, and not a density.

        Parameters
        ----------
        values : ndarray of shape (n_samples,)
            May be missing (NaN).

        Returns
        -------
        has_mass : ndarray of shape (n_samples,), of bools
            None of them by default.
        """
        return np.zeros(len(values), bool)

    def as_features(self, values: Floats) -> Floats:
        """Return what the columns behind this one see of its values.

        Parameters
        ----------
        values : ndarray of shape (n_samples,)
            May be missing (NaN).

        Returns
        -------
        features : ndarray of shape (n_samples, n_features)
            NaN where the value is missing.
        """
        return values[:, None]

    def centre(self, draws: Floats, strategy: str) -> Floats:
        """Return what is to be expected where a value is missing.

        Parameters
        ----------
        draws : ndarray of shape (n_rows, n_draws)
            Values that may stand there, all of them as likely.
        strategy : {"mean", "median"}
            What is returned of them.

        Returns
        -------
        values : ndarray of shape (n_rows,)
            In the column's support.
        """
        centre: Floats = draws.mean(1) if strategy == "mean" else np.median(draws, 1)
        return centre


class LineColumn(Column):
    """A column whose values a smooth map takes to the whole line.

    All of these in a table share one flow.
    """

    @abstractmethod
    def to_line(self, values: Floats) -> tuple[Floats, Floats]:
        """Return values on the line, and the logarithms of the map's slopes.

        Parameters
        ----------
        values : ndarray of shape (n_samples,)
            May be missing (NaN).

        Returns
        -------
        x : ndarray of shape (n_samples,)
            NaN where a value is missing.
        log_slopes : ndarray of shape (n_samples,)
            Minus infinity for a value that is outside the support.
        """

    @abstractmethod
    def from_line(self, x: Floats) -> Floats:
        """Undo :meth:`to_line`.

        Parameters
        ----------
        x : ndarray of shape (n_samples,)
            On the line.

        Returns
        -------
        values : ndarray of shape (n_samples,)
            In the support.
        """


def spread(values: Floats, columns: Any) -> Floats:
    """Return functions of values as columns, which are missing where the values are.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        May be missing (NaN).
    columns : sequence of ndarray of shape (n_samples,)
        The functions.

    Returns
    -------
    features : ndarray of shape (n_samples, n_columns)
        The columns.
    """
    features: Floats = np.stack(columns, 1).astype(np.float64)
    features[np.isnan(values)] = np.nan
    return features
