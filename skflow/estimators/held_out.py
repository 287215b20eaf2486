"""Estimators that are fitted without some rows each, and what they say of rows together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from skflow._sklearn.readable import readable
from skflow._sklearn.validation import as_numpy, n_samples, params_of_rows, take_rows

__all__ = ["fit_to_rows", "log_density_by", "seeded_clone"]


def seeded_clone(estimator: Any, random_state: np.random.RandomState) -> Any:
    """Clone an estimator and give it seeds where it has none, nested ones included.

    Parameters
    ----------
    estimator : estimator
        It stays as it is.
    random_state : RandomState
        Where the seeds come from.

    Returns
    -------
    twin : estimator
        Not fitted.
    """
    twin = clone(estimator)
    unset = [
        name
        for name, value in sorted(twin.get_params().items())
        if (name == "random_state" or name.endswith("__random_state")) and value is None
    ]
    return twin.set_params(
        **{name: random_state.randint(np.iinfo(np.int32).max) for name in unset}
    )


def fit_to_rows(
    estimator: Any, X: Any, y: Any, fit_params: dict[str, Any], which: NDArray[np.intp]
) -> Any:
    """Fit an estimator to some of the rows.

    Parameters
    ----------
    estimator : estimator
        It is fitted in place.
    X : array-like of shape (n_samples, n_features)
        All rows.
    y : array-like of shape (n_samples,) or None
        Passed on, if it is not None.
    fit_params : dict
        Passed on; of those with a value for each row, the values of these rows.
    which : array of int
        The rows to fit.

    Returns
    -------
    estimator : estimator
        The same, fitted.
    """
    fit_params = params_of_rows(X, fit_params, which)
    X = take_rows(X, which)
    if y is None:
        return estimator.fit(X, **fit_params)
    return estimator.fit(X, take_rows(y, which), **fit_params)


def _plain_score(estimator: Any, X: Any) -> Any:
    return estimator.score_samples(X)


def log_density_by(
    estimators: Sequence[Any],
    X: Any,
    judges: NDArray[np.bool_] | None = None,
    *,
    score: Callable[[Any, Any], Any] = _plain_score,
) -> NDArray[np.float64]:
    """Score each row by the mixture of its judges, in equal parts.

    Parameters
    ----------
    estimators : sequence of estimators
        Fitted density estimators.
    X : array-like of shape (n_samples, n_features)
        Rows of any kind that they take.
    judges : array of bool of shape (n_samples, n_estimators) or None, default=None
        Which estimators judge which row, one at least. None is all of them.
    score : callable, default=_plain_score
        Returns the log-densities of an estimator at rows. The default asks ``score_samples``.

    Returns
    -------
    log_density : array of shape (n_samples,)
        In nats. Scores that are not a number count as minus infinity.
    """
    X = readable(X)
    if judges is None:
        judges = np.ones((n_samples(X), len(estimators)), dtype=bool)
    scores = np.full(judges.shape, -np.inf)
    for k, estimator in enumerate(estimators):
        mine = np.flatnonzero(judges[:, k])
        if len(mine):
            of_mine = X if len(mine) == len(judges) else take_rows(X, mine)
            scores[mine, k] = as_numpy(score(estimator, of_mine))
    scores = np.nan_to_num(
        scores, copy=False, nan=-np.inf, posinf=np.finfo(np.float64).max, neginf=-np.inf
    )
    mixture: NDArray[np.float64] = np.logaddexp.reduce(scores, axis=1)
    return mixture - np.log(judges.sum(axis=1))
