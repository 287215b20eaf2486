"""Categories, of which some may be rare and some not seen yet."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from skflow.tables.classes import Classes
from skflow.tables.column import Column, FitSettings, Floats, spread

__all__ = ["Categorical"]

# So many of the most frequent categories have classes of their own. The others share one.
_MOST_CLASSES = 50


class Categorical(Column):
    """A column of categories: strings, bools, codes, or a few numbers.

    Its mass is that of classes given the columns before it. The fifty most frequent categories
    have a class each; those beyond share one, in which each has a share by its rows. All
    categories that were not seen have the mass of half a row together. A category that is not
    known has all of it, as nobody can say how many there are.

    What is to be expected is the likeliest category, but for the median of numbers, which is that
    of the numbers.

    Examples
    --------
    >>> from skflow.tables import Categorical
    >>> Categorical()
    Categorical()
    """

    def prepare(self, values: Floats, weights: Floats | None) -> None:  # noqa: D102
        w = np.ones(len(values)) if weights is None else weights
        self._levels, codes = np.unique(values, return_inverse=True)
        counts = np.bincount(codes, w)
        order = np.argsort(-counts, kind="stable")
        n_levels = len(order)
        n_single = n_levels if n_levels <= _MOST_CLASSES else _MOST_CLASSES - 1
        self._class_of = np.full(n_levels, n_single)
        self._class_of[order[:n_single]] = np.arange(n_single)
        self._share_of = np.ones(n_levels)
        rare = order[n_single:]
        self._share_of[rare] = (counts[rare] + 0.5) / (counts[rare] + 0.5).sum()
        self._n_classes = n_single + bool(len(rare))
        self._unseen = 0.5 / (w.sum() + 0.5)

    def learn(  # noqa: D102
        self, values: Floats, features: Floats, weights: Floats | None, settings: FitSettings
    ) -> Self:
        codes = self._class_of[np.searchsorted(self._levels, values)]
        self._classes = Classes(self._n_classes)
        self._classes.fit(features, codes, weights, settings.random_state)
        return self

    def log_prob(self, values: Floats, features: Floats) -> Floats:  # noqa: D102
        proba = self._classes.predict_proba(features)
        at, is_seen = self._places(values)
        mass = (1 - self._unseen) * proba[np.arange(len(at)), self._class_of[at]]
        log_mass: Floats = np.log(np.where(is_seen, mass * self._share_of[at], self._unseen))
        return log_mass

    def sample(self, features: Floats, u: Floats) -> Floats:  # noqa: D102
        classes, rest = self._classes.sample(features, u)
        order = np.argsort(self._class_of, kind="stable")
        first = np.searchsorted(self._class_of[order], np.arange(self._n_classes))
        levels = order[first[classes]]
        rare = np.flatnonzero(self._share_of < 1)
        is_rare = self._share_of[levels] < 1
        if is_rare.any():
            below = self._share_of[rare].cumsum()
            at = np.searchsorted(below, rest[is_rare]).clip(max=len(rare) - 1)
            levels[is_rare] = rare[at]
        values: Floats = self._levels[levels]
        return values

    def has_mass(self, values: Floats) -> NDArray[np.bool_]:  # noqa: D102
        return ~np.isnan(values)

    def range_of_draws(self, values: Floats) -> tuple[float, float]:  # noqa: D102
        return -np.inf, np.inf

    def as_features(self, values: Floats) -> Floats:  # noqa: D102
        at, is_seen = self._places(values)
        classes = np.where(is_seen, self._class_of[at], -1)
        n_classes = self._n_classes
        # Of two classes, one says all.
        shown = range(1, n_classes) if n_classes == 2 else range(n_classes)
        if n_classes == 1:
            return np.empty((len(values), 0))
        return spread(values, [classes == k for k in shown])

    def centre(self, draws: Floats, strategy: str) -> Floats:  # noqa: D102
        if strategy == "median":
            # The lower one, which is a category, where the mean of two may be none.
            middle: Floats = np.sort(draws, 1)[:, (draws.shape[1] - 1) // 2]
            return middle
        at, _ = self._places(draws.ravel())
        counts = np.zeros((len(draws), len(self._levels)))
        np.add.at(counts, (np.repeat(np.arange(len(draws)), draws.shape[1]), at), 1)
        values: Floats = self._levels[counts.argmax(1)]
        return values

    def _places(self, values: Floats) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of values among the levels, and which of them are there."""
        at = np.searchsorted(self._levels, values).clip(max=len(self._levels) - 1)
        return at, self._levels[at] == values
