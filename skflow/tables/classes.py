"""Probabilities of classes given features, by several models that share as held-out rows say."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow.tables.column import Floats
from skflow.tables.noise import chosen
from skflow.training.stacking import stacking_weights

__all__ = ["Classes"]

# Trees take time in proportion to the classes.
_MOST_CLASSES_OF_TREES = 30

_N_FOLDS = 3
_FEWEST_ROWS = 20


class Classes:
    """The probabilities of classes: a mixture of shares, logistic regression and boosted trees.

    Rows that a model has not seen weigh the models, so that the mixture is likelier for such rows
    than each of them. The shares count half a row more for each class: no class has no mass.

    Parameters
    ----------
    n_classes : int
        The classes are 0 to n_classes - 1.
    """

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes

    def fit(
        self,
        features: Floats,
        codes: NDArray[np.intp],
        weights: Floats | None,
        random_state: int,
    ) -> Classes:
        """Learn from rows.

        Parameters
        ----------
        features : ndarray of shape (n_samples, n_features)
            May be missing (NaN).
        codes : ndarray of shape (n_samples,)
            The classes.
        weights : ndarray of shape (n_samples,) or None
            How many rows each row counts for.
        random_state : int
            Where the randomness comes from.
        """
        w = np.ones(len(codes)) if weights is None else weights
        self._members: list[tuple[float, _Member]] = []
        self._share_of_marginal = 1.0
        self._marginal = self._counted(codes, w)
        varies = ~np.all((features == features[:1]) | np.isnan(features), axis=0)
        if self.n_classes < 2 or len(codes) < _FEWEST_ROWS or not varies.any():
            return self
        kinds = ["logistic"]
        if self.n_classes <= _MOST_CLASSES_OF_TREES:
            kinds.append("trees")
        held_out = np.zeros((len(codes), 1 + len(kinds)))
        folds = KFold(_N_FOLDS, shuffle=True, random_state=random_state)
        for train, test in folds.split(features):
            held_out[test, 0] = self._counted(codes[train], w[train])[codes[test]]
            for k, kind in enumerate(kinds):
                member = _Member(kind, self.n_classes, random_state)
                member.fit(features[train], codes[train], w[train])
                proba = member.predict_proba(features[test])
                held_out[test, k + 1] = proba[np.arange(len(test)), codes[test]]
        with np.errstate(divide="ignore"):
            log_probs = torch.from_numpy(np.log(held_out))
        counts = None if weights is None else torch.from_numpy(weights)
        self._share_of_marginal, *shares = stacking_weights(log_probs, counts).tolist()
        for kind, share in zip(kinds, shares, strict=True):
            if share > 0:
                member = _Member(kind, self.n_classes, random_state)
                self._members.append((share, member.fit(features, codes, w)))
        return self

    def predict_proba(self, features: Floats) -> Floats:
        """Return the probability of each class.

        Parameters
        ----------
        features : ndarray of shape (n_samples, n_features)
            May be missing (NaN).

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            All above zero.
        """
        proba = np.tile(self._share_of_marginal * self._marginal, (len(features), 1))
        for share, member in self._members:
            proba += share * member.predict_proba(features)
        return proba / proba.sum(1, keepdims=True)

    def sample(self, features: Floats, u: Floats) -> tuple[NDArray[np.intp], Floats]:
        """Return a class for each row, as a uniform number says, and what is left of the number.

        Parameters
        ----------
        features : ndarray of shape (n_samples, n_features)
            May be missing (NaN).
        u : ndarray of shape (n_samples,)
            Uniform between 0 and 1.

        Returns
        -------
        codes : ndarray of shape (n_samples,)
            The classes.
        rest : ndarray of shape (n_samples,)
            Uniform between 0 and 1 given the class.
        """
        return chosen(self.predict_proba(features), u)

    def _counted(self, codes: NDArray[np.intp], weights: Floats) -> Floats:
        counts = np.bincount(codes, weights, self.n_classes) + 0.5
        return counts / counts.sum()


class _Member:
    """One model, whatever classes there are among the rows that it is fitted to."""

    def __init__(self, kind: str, n_classes: int, random_state: int) -> None:
        self.n_classes = n_classes
        if kind == "logistic":
            imputer = SimpleImputer(add_indicator=True, keep_empty_features=True)
            self._model: Any = make_pipeline(imputer, StandardScaler(), LogisticRegression())
            self._step = "logisticregression__"
        else:
            self._model = HistGradientBoostingClassifier(
                max_iter=100,
                learning_rate=0.1,
                max_leaf_nodes=15,
                l2_regularization=1.0,
                early_stopping=False,
                random_state=random_state,
            )
            self._step = ""

    def fit(self, features: Floats, codes: NDArray[np.intp], weights: Floats) -> _Member:
        self._classes = np.unique(codes)
        # Trees take no column that has nothing but holes, as there may be among some of the rows.
        self._shown = ~np.isnan(features).all(0)
        self._is_constant = len(self._classes) < 2 or not self._shown.any()
        features = features[:, self._shown]
        if self._is_constant:
            counts = np.bincount(codes, weights, self.n_classes)
            self._proba = counts / counts.sum()
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                self._model.fit(features, codes, **{f"{self._step}sample_weight": weights})
        return self

    def predict_proba(self, features: Floats) -> Floats:
        if self._is_constant:
            return np.tile(self._proba, (len(features), 1))
        proba = np.zeros((len(features), self.n_classes))
        proba[:, self._classes] = self._model.predict_proba(features[:, self._shown])
        return proba
