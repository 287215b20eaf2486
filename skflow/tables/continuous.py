"""Continuous columns: a flow given the columns before them."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from scipy.special import ndtri

from skflow.estimators import ConditionalFlow
from skflow.exceptions import ColumnWarning
from skflow.tables.column import FitSettings, Floats, LineColumn

__all__ = ["Continuous", "fitted_flow", "given"]

# A flow learns nothing from fewer rows.
_FEWEST_ROWS = 2


class Continuous(LineColumn):
    """A column with a density on the whole line.

    Its density is that of a :class:`~skflow.ConditionalFlow`.

    Examples
    --------
    >>> from skflow.tables import Continuous
    >>> Continuous()
    Continuous()
    """

    def learn(  # noqa: D102
        self, values: Floats, features: Floats, weights: Floats | None, settings: FitSettings
    ) -> Self:
        self._flow = fitted_flow(values, features, weights, settings)
        return self

    def log_prob(self, values: Floats, features: Floats) -> Floats:  # noqa: D102
        return self._flow.score_samples(given(features), values)

    def sample(self, features: Floats, u: Floats) -> Floats:  # noqa: D102
        return self._flow.from_latents(given(features), ndtri(u))

    def to_line(self, values: Floats) -> tuple[Floats, Floats]:  # noqa: D102
        return values, np.zeros_like(values)

    def from_line(self, x: Floats) -> Floats:  # noqa: D102
        return x


def fitted_flow(
    values: Floats, features: Floats, weights: Floats | None, settings: FitSettings
) -> ConditionalFlow:
    """Return a flow of one target.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        The target.
    features : ndarray of shape (n_samples, n_features)
        May be missing (NaN).
    weights : ndarray of shape (n_samples,) or None
        How many rows each row counts for.
    settings : FitSettings
        How it trains.
    """
    if len(values) < _FEWEST_ROWS:
        values, features = np.repeat(values, 2), np.repeat(features, 2, axis=0)
        weights = None
    flow = ConditionalFlow(**settings._asdict())
    with warnings.catch_warnings():
        # Whatever can be wrong with a column is a matter of its kind.
        warnings.simplefilter("ignore", ColumnWarning)
        return flow.fit(given(features), values, weights)


def given(features: Floats) -> Any:
    """Return features, or a constant one if there are none.

    Parameters
    ----------
    features : ndarray of shape (n_samples, n_features)
        The features.
    """
    return features if features.shape[1] else np.zeros((len(features), 1))
