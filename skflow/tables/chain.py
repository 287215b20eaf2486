"""The distribution of a table's rows: a flow of the continuous columns, then column by column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed

from skflow.tables.block import Block
from skflow.tables.categorical import Categorical
from skflow.tables.column import Column, FitSettings, Floats, LineColumn
from skflow.tables.steps import BlockStep, ColumnStep, Step

__all__ = ["Announce", "Chain"]

Announce = Callable[[int, list[int], bool], None]


class Chain:
    r"""The product :math:`p(x) = p(x_C) \prod_j p(x_j \mid x_C, x_1, \dots, x_{j-1})`.

    Continuous columns come first, all of them together, as their flow does not depend on others.
    The others follow one by one, and categories last: a classifier takes whatever came before.

    Parameters
    ----------
    columns : sequence of Column
        The kinds of all columns, in the order of the table.
    settings : FitSettings
        How flows train.

    Attributes
    ----------
    steps : list of Step
        The factors, in order.
    ranges : ndarray of shape (2, n_columns)
        The least and the greatest values that are drawn for users.
    """

    def __init__(self, columns: Sequence[Column], settings: FitSettings) -> None:
        self.columns = [clone(column) for column in columns]
        self.settings = settings
        self.steps: list[Step] = []
        self.ranges: Floats = np.empty((2, 0))

    def fit(
        self,
        values: Floats,
        weights: Floats | None,
        n_jobs: int | None = None,
        announce: Announce | None = None,
    ) -> Chain:
        """Learn from rows, which may have holes.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_columns)
            NaN where an entry is missing.
        weights : ndarray of shape (n_samples,) or None
            How many rows each row counts for.
        n_jobs : int or None, default=None
            How many steps are learned at once.
        announce : callable or None, default=None
            Called as each step begins; see :meth:`announced`.
        """
        ends = []
        for j, column in enumerate(self.columns):
            known = ~np.isnan(values[:, j])
            column.prepare(values[known, j], None if weights is None else weights[known])
            ends.append(column.range_of_draws(values[known, j]))
        self.ranges = np.array(ends).T
        together = [j for j, c in enumerate(self.columns) if isinstance(c, LineColumn)]
        others = [j for j in range(len(self.columns)) if j not in together]
        others.sort(key=lambda j: isinstance(self.columns[j], Categorical))
        steps: list[Step] = []
        if together:
            block = Block([self.columns[j] for j in together], self.settings)
            steps.append(BlockStep(block, together))
        for k, j in enumerate(others):
            before = [*together, *others[:k]]
            steps.append(ColumnStep(j, before, self.columns, self.settings))

        self.steps = steps
        self.steps = Parallel(n_jobs=n_jobs)(
            delayed(step.fit)(values, weights) for step in self.announced(announce, again=False)
        )
        return self

    def announced(self, announce: Announce | None, *, again: bool) -> Iterator[Step]:
        """Go through the steps, and say of each that it begins.

        Parameters
        ----------
        announce : callable or None
            Called as each step begins, with the number of columns before it, its own, and `again`.
        again : bool
            Whether they are learned once more.
        """
        n_before = 0
        for step in self.steps:
            if announce is not None:
                announce(n_before, step.own, again)
            n_before += len(step.own)
            yield step

    def columns_from(self, step: int) -> list[int]:
        """Return the columns of a step and of all behind it.

        Parameters
        ----------
        step : int
            Its number, from 0.
        """
        return [j for other in self.steps[step:] for j in other.own]

    def log_prob(self, rows: Floats) -> Floats:
        """Return the log-probability of rows without holes.

        Parameters
        ----------
        rows : ndarray of shape (n_rows, n_columns)
            None is missing.
        """
        log_prob: Floats = np.sum([step.log_prob(rows) for step in self.steps], axis=0)
        return log_prob
