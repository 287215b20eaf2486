"""The density of some columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skflow._sklearn.readable import readable
from skflow._sklearn.validation import _get_feature_names
from skflow.estimators.score import mean_log_density

if TYPE_CHECKING:
    from skflow.tables.flow import TableFlow

__all__ = ["TableMarginal"]


class TableMarginal:
    """The density of some columns of a fitted table, whatever the others are.

    :meth:`TableFlow.marginal` makes it.

    Parameters
    ----------
    table : TableFlow
        Fitted. It is not copied.
    columns : sequence of int
        The numbers of the columns, in the order in which they are taken and returned.

    Examples
    --------
    >>> import numpy as np
    >>> from skflow import TableFlow
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> table = TableFlow(max_iter=2, n_particles=50, random_state=0).fit(X)
    >>> pair = table.marginal([2, 0])
    >>> pair.score_samples(X[:4, [2, 0]]).shape
    (4,)
    """

    def __init__(self, table: TableFlow, columns: Sequence[int]) -> None:
        self.table = table
        self.columns = list(columns)
        self.n_features_in_ = len(self.columns)
        self._layout = table._layout.part(self.columns)
        names = self._layout.names
        if all(isinstance(name, str) for name in names):
            self.feature_names_in_ = np.array(names, dtype=object)

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the log-probability of rows of the columns.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_columns)
            The rows, which may have holes.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats, in the units of the columns.
        """
        rows = self._checked(X)
        values = np.full((len(rows), self.table.n_features_in_), np.nan)
        values[:, self.columns] = self._layout.read(rows)
        return self.table._log_prob(values)[0]

    def _checked(self, X: Any) -> Any:
        """Return rows of these columns, in this order."""
        X, names = readable(X), self._layout.names
        X = X if hasattr(X, "shape") else np.asarray(X, dtype=object)
        if len(X.shape) != 2 or X.shape[1] != len(names) or not X.shape[0]:
            raise ValueError(
                f"X must have the {len(names)} columns {names}, and a row at least, got shape "
                f"{tuple(X.shape)}."
            )
        given, known = _get_feature_names(X), getattr(self, "feature_names_in_", None)
        if given is not None and known is not None and list(given) != list(known):
            raise ValueError(f"X must have the columns {list(known)}, got {list(given)}.")
        return X

    def score(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean log-probability of rows of the columns.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_columns)
            The rows, which may have holes.
        y : object, default=None
            Ignored.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Of the rows, in the mean.

        Returns
        -------
        score : float
            In nats per row.
        """
        return mean_log_density(self.score_samples(X), sample_weight)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw rows of the columns, without holes.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        random_state : int, RandomState instance or None, default=None
            Where the randomness comes from.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            With the types of the columns.
        """
        values = self.table._complete_rows(n_samples, random_state)
        return self._layout.write(values[:, self.columns])
