"""The steps of a chain: one or several columns given those before them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from skflow.tables.block import Block
from skflow.tables.column import Column, FitSettings, Floats
from skflow.tables.noise import Noise

__all__ = ["BlockStep", "ColumnStep", "Extended", "Step"]


class Extended(NamedTuple):
    """Particles that are complete in some more columns."""

    rows: Floats
    """Of shape (n_rows, n_particles, n_columns)."""

    log_weights: Floats
    """By what was observed in these columns, of shape (n_rows, n_particles)."""

    variances: Floats | float = 0.0
    """What the variance of the logarithm of their mean has beyond theirs, of shape (n_rows,)."""


class Step(ABC):
    """One or several columns of a table, whose distribution is that given those before them.

    Attributes
    ----------
    own : list of int
        The columns.
    """

    own: list[int]

    @abstractmethod
    def fit(self, values: Floats, weights: Floats | None) -> Self:
        """Learn from rows.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_columns)
            All columns, NaN where an entry is missing.
        weights : ndarray of shape (n_samples,) or None
            How many rows each row counts for.
        """

    @abstractmethod
    def fit_anew(self, values: Floats, drawn: Floats, weights: Floats | None) -> Self:
        """Learn once more, from rows that have been completed.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_columns)
            All columns, NaN where an entry is missing.
        drawn : ndarray of shape (n_samples, n_draws, n_columns)
            The same rows, completed several times.
        weights : ndarray of shape (n_samples,) or None
            How many rows each row counts for.
        """

    @abstractmethod
    def log_prob(self, rows: Floats) -> Floats:
        """Return the log-probability of the columns given those before them.

        Parameters
        ----------
        rows : ndarray of shape (n_rows, n_columns)
            Without holes.

        Returns
        -------
        log_prob : ndarray of shape (n_rows,)
            In nats.
        """

    @abstractmethod
    def extend(self, rows: Floats, values: Floats, noise: Noise) -> Extended:
        """Draw what is missing of the columns, and weigh particles by what is observed.

        Parameters
        ----------
        rows : ndarray of shape (n_rows, n_particles, n_columns)
            Particles, complete in the columns before.
        values : ndarray of shape (n_rows, n_columns)
            What is observed of each row, NaN where an entry is missing.
        noise : Noise
            Where the randomness comes from.

        Returns
        -------
        extended : Extended
            Particles that are complete in these columns as well.
        """


class BlockStep(Step):
    """The continuous columns, which come first.

    Parameters
    ----------
    block : Block
        Their joint density.
    own : list of int
        Which they are.
    """

    def __init__(self, block: Block, own: list[int]) -> None:
        self.block = block
        self.own = own

    def fit(self, values: Floats, weights: Floats | None) -> Self:  # noqa: D102
        self.block.fit(values[:, self.own], weights)
        return self

    def fit_anew(self, values: Floats, drawn: Floats, weights: Floats | None) -> Self:  # noqa: D102
        self.block.fit_anew(values[:, self.own], drawn[:, :, self.own], weights)
        return self

    def log_prob(self, rows: Floats) -> Floats:  # noqa: D102
        return self.block.log_prob(rows[:, self.own])

    def extend(  # noqa: D102
        self, rows: Floats, values: Floats, noise: Noise
    ) -> Extended:
        n_particles = rows.shape[1]
        own = values[:, self.own]
        missing = np.isnan(own)
        log_weights, variances = np.zeros(rows.shape[:2]), np.zeros(len(rows))
        # Whatever the rows need, so that what others need changes nothing.
        u = noise.uniform(len(rows), n_particles, 1 + len(self.own))
        none, every = ~missing.any(1), missing.all(1)
        if none.any():
            log_weights[none] = self.block.log_prob(own[none])[:, None]
        if every.any():
            self._put(rows, every, self.block.sample(u[every, :, 1:]))
        some = ~none & ~every
        if some.any():
            drawn, log_weights[some], variances[some] = self.block.complete(
                own[some], u[some], noise
            )
            self._put(rows, some, drawn)
        return Extended(rows, log_weights, variances)

    def _put(self, rows: Floats, which: Any, drawn: Floats) -> None:
        part = rows[which]
        part[:, :, self.own] = drawn
        rows[which] = part


class ColumnStep(Step):
    """One column given those before it.

    Parameters
    ----------
    which : int
        The column.
    before : list of int
        Those before it.
    columns : sequence of Column
        The kinds of all columns, prepared.
    settings : FitSettings
        How flows train.
    """

    def __init__(
        self, which: int, before: list[int], columns: Sequence[Column], settings: FitSettings
    ) -> None:
        self.own = [which]
        self.column = columns[which]
        self.before = [(j, columns[j]) for j in before]
        self.settings = settings

    def fit(self, values: Floats, weights: Floats | None) -> Self:  # noqa: D102
        self._learn(values[:, self.own[0]], values, weights)
        return self

    def fit_anew(self, values: Floats, drawn: Floats, weights: Floats | None) -> Self:  # noqa: D102
        if np.isnan(values[:, [j for j, _ in self.before]]).any():
            self._learn(values[:, self.own[0]], drawn[:, 0], weights)
        return self

    def log_prob(self, rows: Floats) -> Floats:  # noqa: D102
        return self.column.log_prob(rows[:, self.own[0]], self._features(rows))

    def extend(  # noqa: D102
        self, rows: Floats, values: Floats, noise: Noise
    ) -> Extended:
        n_rows, n_particles, n_columns = rows.shape
        missing = np.repeat(np.isnan(values[:, self.own[0]]), n_particles)
        flat = rows.reshape(-1, n_columns)
        log_weights = np.zeros(len(flat))
        u = noise.uniform(n_rows, n_particles).reshape(-1)
        if missing.any():
            features = self._features(flat[missing])
            flat[missing, self.own[0]] = self.column.sample(features, u[missing])
        if not missing.all():
            log_weights[~missing] = self.log_prob(flat[~missing])
        return Extended(flat.reshape(rows.shape), log_weights.reshape(n_rows, n_particles))

    def _learn(self, own: Floats, rows: Floats, weights: Floats | None) -> None:
        known = ~np.isnan(own)
        kept = None if weights is None else weights[known]
        self.column.learn(own[known], self._features(rows[known]), kept, self.settings)

    def _features(self, rows: Floats) -> Floats:
        shown = [column.as_features(rows[:, j]) for j, column in self.before]
        return np.hstack([np.empty((len(rows), 0)), *shown])
