"""Classes of rows by what learns the borders between them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from skflow._sklearn.formats import Layout
from skflow.tables.categorical import Categorical
from skflow.tables.classes import Classes
from skflow.tables.column import Floats
from skflow.tables.continuous import Continuous

__all__ = ["Borders"]


class Borders:
    """A mixture of logistic regression, boosted trees and shares, of the rows of a table.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_samples, n_features)
        All rows, by which it is known what columns there are.
    n_classes : int
        The classes are 0 to n_classes - 1.
    random_state : int
        Where the randomness comes from.
    """

    def __init__(self, X: Any, n_classes: int, random_state: int) -> None:
        self._layout = Layout(X)
        self._classes = Classes(n_classes)
        self._random_state = random_state
        values = self._layout.read(X)
        self._columns = [
            Categorical() if form.is_category else Continuous() for form in self._layout.formats
        ]
        for column, own in zip(self._columns, values.T, strict=True):
            column.prepare(own[~np.isnan(own)], None)

    def fit(self, X: Any, codes: NDArray[np.intp], weights: Floats) -> Self:
        """Learn from rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The rows.
        codes : ndarray of shape (n_samples,)
            Their classes.
        weights : ndarray of shape (n_samples,)
            How many rows each row counts for.
        """
        self._classes.fit(self._features(X), codes, weights, self._random_state)
        return self

    def predict_log_proba(self, X: Any) -> Floats:
        """Return the logarithms of the probabilities of classes.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            All finite.
        """
        return np.log(self._classes.predict_proba(self._features(X)))

    def _features(self, X: Any) -> Floats:
        values = self._layout.read(X)
        shown = [
            column.as_features(own) for column, own in zip(self._columns, values.T, strict=True)
        ]
        return np.hstack(shown)
