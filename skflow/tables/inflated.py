"""Columns with heaps at single values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from skflow.tables.classes import Classes
from skflow.tables.column import Column, FitSettings, Floats, spread
from skflow.tables.continuous import Continuous

__all__ = ["Inflated"]


class Inflated(Column):
    """A column in which single values have a mass each, and all others another distribution.

    Zeros of rainfall, the last value that an instrument can show, ages of 90 and more and codes
    such as -9999 are such values. The classes "this value" and "another" have probabilities given
    the columns before, and what is another has the distribution of a column without them.

    Parameters
    ----------
    at : float or sequence of float
        The values that have a mass.
    others : Column or None, default=None
        The kind of all other values. A :class:`Count` gives no mass to those in `at`. None is
        :class:`Continuous`.

    Examples
    --------
    >>> from skflow.tables import Inflated
    >>> Inflated(at=0)
    Inflated(at=0)
    """

    def __init__(self, at: float | Sequence[float], others: Column | None = None) -> None:
        self.at = at
        self.others = others

    def refuse(self, values: Floats, name: str) -> None:  # noqa: D102
        atoms = np.unique(np.asarray(self.at, np.float64))
        self._inner().refuse(values[~np.isin(values, atoms)], name)

    def prepare(self, values: Floats, weights: Floats | None) -> None:  # noqa: D102
        self._atoms = np.unique(np.asarray(self.at, np.float64))
        self._free = self._inner()
        self._free.leave_out(self._atoms)
        free = self._codes(values) == len(self._atoms)
        self._has_others = bool(free.any())
        self._free.prepare(values[free], None if weights is None else weights[free])

    def learn(  # noqa: D102
        self, values: Floats, features: Floats, weights: Floats | None, settings: FitSettings
    ) -> Self:
        codes = self._codes(values)
        self._classes = Classes(len(self._atoms) + self._has_others)
        self._classes.fit(features, codes, weights, settings.random_state)
        free = codes == len(self._atoms)
        if self._has_others:
            kept = None if weights is None else weights[free]
            self._free.learn(values[free], features[free], kept, settings)
        return self

    def log_prob(self, values: Floats, features: Floats) -> Floats:  # noqa: D102
        codes = self._codes(values)
        proba = self._classes.predict_proba(features)
        known = codes < proba.shape[1]
        log_prob: Floats = np.full(len(codes), -np.inf)
        log_prob[known] = np.log(proba[known, codes[known]])
        free = codes == len(self._atoms)
        if free.any() and self._has_others:
            log_prob[free] += self._free.log_prob(values[free], features[free])
        return log_prob

    def sample(self, features: Floats, u: Floats) -> Floats:  # noqa: D102
        codes, rest = self._classes.sample(features, u)
        free = codes == len(self._atoms)
        values = self._atoms[np.minimum(codes, len(self._atoms) - 1)]
        if free.any():
            values[free] = self._free.sample(features[free], rest[free])
        return values

    def has_mass(self, values: Floats) -> NDArray[np.bool_]:  # noqa: D102
        return np.isin(values, self._atoms) | self._free.has_mass(values)

    def as_features(self, values: Floats) -> Floats:  # noqa: D102
        codes = self._codes(values)
        is_free = codes == len(self._atoms)
        heaps = spread(values, [codes == k for k in range(len(self._atoms))])
        if not self._has_others:
            return heaps
        # Where a value is none of the others, what they would show is unknown.
        others = self._free.as_features(np.where(is_free, values, np.nan))
        return np.hstack([heaps, others])

    def centre(self, draws: Floats, strategy: str) -> Floats:  # noqa: D102
        if strategy == "median":
            # The median of an even number of draws could lie between two of them.
            middle: Floats = np.sort(draws, 1)[:, draws.shape[1] // 2]
            return middle
        return self._free.centre(draws, strategy)

    def _inner(self) -> Column:
        return Continuous() if self.others is None else clone(self.others)

    def _codes(self, values: Floats) -> np.ndarray:
        """Return the number of each value's heap, or that of all others."""
        at = np.searchsorted(self._atoms, values).clip(max=len(self._atoms) - 1)
        return np.where(self._atoms[at] == values, at, len(self._atoms))
