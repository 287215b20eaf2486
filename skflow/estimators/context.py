"""What a conditional density is given: standardised features, and what a forest says of them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from skflow._sklearn.features import FeatureEncoder
from skflow._sklearn.validation import as_numpy, as_tensor
from skflow.flow import Bijection
from skflow.training.conditional_defaults import n_default_trees
from skflow.training.rows import Rows
from skflow.training.standardization import standardization

__all__ = ["Context"]

# A tree sees so many rows at the most, and its leaves grow with them: forests stay small.
_MOST_ROWS_OF_TREE = 10_000
_ROWS_OF_LARGER_LEAVES = 1000

# No number is further out for trees, which compute in float32.
_FARTHEST = 1e30


class Context:
    """Features on one scale, and the predictions of a forest of extremely randomised trees.

    Few rows tell a forest more than a network. For the rows that it is fitted to, its predictions
    are those of the trees that have not seen them: they are as far off as for any other row.

    Parameters
    ----------
    n_trees : int or "auto"
        The number of trees; 0 for none.
    seed : int
        Where their randomness comes from.
    """

    def __init__(self, n_trees: int | str, seed: int) -> None:
        self.n_trees = n_trees
        self.seed = seed
        self._encoder = FeatureEncoder()
        self._standardize: Bijection | None = None
        self._forest: ExtraTreesRegressor | None = None

    def fit(
        self,
        X: Any,
        targets: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Learn from rows, and return their context.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.
        targets : Tensor of shape (n_samples, n_targets)
            On one scale.
        weights : Tensor of shape (n_samples,) or None, default=None
            Of the rows, all positive.

        Returns
        -------
        context : Tensor of shape (n_samples, n_context)
            In float64.
        """
        features = as_tensor(self._encoder.fit(X).transform(X))
        rows = Rows(features, weights=weights)
        self._standardize = standardization(rows, robust=True)
        columns = self._standardize(features)
        n_trees = self.n_trees
        if n_trees == "auto":
            n_trees = n_default_trees(*features.shape)
        if not n_trees:
            return columns
        n_rows = min(len(features), _MOST_ROWS_OF_TREE)
        self._forest = ExtraTreesRegressor(
            n_trees,
            min_samples_leaf=max(1, round((n_rows / _ROWS_OF_LARGER_LEAVES) ** 0.5)),
            bootstrap=True,
            oob_score=_nothing,
            max_samples=n_rows,
            n_jobs=torch.get_num_threads(),
            random_state=self.seed,
        )
        y, shares = as_numpy(targets), None if weights is None else as_numpy(weights)
        with warnings.catch_warnings():
            # A row that all of few trees have seen: 0 is the mean of the targets.
            warnings.filterwarnings("ignore", "Some inputs do not have OOB scores", UserWarning)
            self._forest.fit(_for_trees(columns), y[:, 0] if y.shape[1] == 1 else y, shares)
        predictions = self._forest.oob_prediction_.reshape(len(y), -1)
        del self._forest.oob_prediction_
        return torch.cat([columns, torch.from_numpy(predictions)], 1)

    def transform(self, X: Any) -> torch.Tensor:
        """Return the context of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.

        Returns
        -------
        context : Tensor of shape (n_samples, n_context)
            In float64.
        """
        assert self._standardize is not None
        columns = self._standardize(as_tensor(self._encoder.transform(X)))
        # What overflows is as far out as a number can be: a flow says that there is no density.
        most = torch.finfo(columns.dtype).max
        columns = columns.clamp(-most, most)
        if self._forest is None:
            return columns
        # Rows that are asked for several times in a row, as draws are, go through the trees once.
        rows = columns.numpy()
        is_new = np.ones(len(rows), bool)
        is_new[1:] = (rows[1:] != rows[:-1]).any(1)
        predictions = self._forest.predict(_for_trees(columns[is_new]))[is_new.cumsum() - 1]
        return torch.cat([columns, torch.from_numpy(predictions.reshape(len(rows), -1))], 1)


def _for_trees(columns: torch.Tensor) -> NDArray[Any]:
    """Return numbers whose sums float32 holds: trees see no more than their order."""
    clipped: NDArray[Any] = columns.clamp(-_FARTHEST, _FARTHEST).numpy()
    return clipped


def _nothing(y_true: Any, y_pred: Any) -> float:
    """Stand for a score, of which none is needed."""
    return 0.0
