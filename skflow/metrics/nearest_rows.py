"""Whether a synthetic table copies the rows that it was learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.utils import check_random_state

from skflow._sklearn.codes import CategoryCoder
from skflow._sklearn.readable import readable

__all__ = ["NearestRowResult", "nearest_row_test"]

_N_PERMUTATIONS = 9_999

# Numbers are computed so many at a time: 32 MB.
_BLOCK = 2**22

# What rounding may add to distances that are equal.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class NearestRowResult:
    """What :func:`nearest_row_test` returns.

    Attributes
    ----------
    statistic : float
        The share of synthetic rows whose nearest real row is one of those that were fitted.
    expected : float
        That share if nothing was copied: that of the fitted among all real rows.
    pvalue : float
        The probability of a statistic at least this high if nothing was copied.
    distances : ndarray of shape (n_synthetic,)
        How far each synthetic row is from the nearest fitted one, from 0, where they are equal,
        to 1, where no column agrees at all.
    n_copies : int
        How many synthetic rows equal a fitted one.
    n_held_out_copies : int
        How many of the rows that were held out do. Nobody copied these: where there are few
        values, rows are equal by chance.
    """

    statistic: float
    expected: float
    pvalue: float
    distances: NDArray[np.float64]
    n_copies: int
    n_held_out_copies: int


def nearest_row_test(
    synthetic: Any, fitted: Any, held_out: Any, *, random_state: Any = None
) -> NearestRowResult:
    r"""Test whether a synthetic table copies the rows that a model was fitted to.

    Each synthetic row is nearest to some real row, either to one that the model was fitted to or
    to one that was held out. A model that has learned the distribution, and no rows, does not
    know which is which. Then the share of synthetic rows that are nearest to a fitted one is that
    of the fitted among the real rows, but for chance. One that repeats rows is nearer to those.

    Read more in the :ref:`User Guide <synthetic_tables>`.

    Parameters
    ----------
    synthetic : array-like of shape (n_synthetic, n_features)
        Rows that were made: an array of numbers, or a frame with categories and dates. NaN, None
        and the missing values of frames are a value like others.
    fitted : array-like of shape (n_fitted, n_features)
        The rows that the model has seen, with the same columns.
    held_out : array-like of shape (n_held_out, n_features)
        Rows of the same distribution that it has not seen. Where rows are similar in groups, such
        as those of one person, hold out whole groups.
    random_state : int, RandomState instance or None, default=None
        Determines the permutations behind the p-value. Pass an int for the same result each time.

    Returns
    -------
    result : NearestRowResult
        With ``statistic``, ``expected`` and ``pvalue``, the ``distances`` to the nearest fitted
        rows, and the numbers of rows that equal one: ``n_copies`` and ``n_held_out_copies``.

    Raises
    ------
    ValueError
        If the tables have different columns, or one has no row.

    See Also
    --------
    drift : Whether the table is like rows that were held out. A copy of the fitted rows is.
    synthesis_report : This, and how good the table is.

    Notes
    -----
    Rows are as far apart as Gower says [1]_: the mean over all columns of the difference of
    numbers in ranges of the fitted ones, and of 0 or 1 for equal or other categories. What is
    missing is at 0 from what is missing, and at 1 from all else. If several real rows are equally
    near, each has its share of the synthetic one. Categories beyond the 253 most frequent count
    as one.

    The p-value is exact, by 9,999 permutations of which real rows were fitted. So it does not
    matter that a real row may be nearest to many synthetic ones, nor how many of these there are.
    It is one-sided. If the real rows are independent draws, and the model has not seen them, it
    is below :math:`\alpha` with a probability of :math:`\alpha` at most.

    A model cannot learn from rows without going by them a little, and with many rows a small
    p-value says no more than that. The statistic says how much, and the distances say of which
    rows. The test knows nothing of rare rows that matter more than others: it is no proof of
    privacy.

    Cost: O(`n_synthetic` · (`n_fitted` + `n_held_out`) · `n_features`), in a bounded memory.

    References
    ----------
    .. [1] J. C. Gower, "A general coefficient of similarity and some of its properties",
       Biometrics 27 (1971).

    Examples
    --------
    Draws of the same distribution, and rows that were fitted with a little noise:

    >>> import numpy as np
    >>> from skflow.metrics import nearest_row_test
    >>> rng = np.random.default_rng(0)
    >>> fitted, held_out, fresh = rng.normal(size=(3, 200, 3))
    >>> noisy = fitted + 0.01 * rng.normal(size=fitted.shape)
    >>> for synthetic in (fresh, noisy):
    ...     result = nearest_row_test(synthetic, fitted, held_out, random_state=0)
    ...     print(f"{result.statistic:.1f} {result.expected:.1f}", result.pvalue < 0.001)
    0.5 0.5 False
    1.0 0.5 True
    """
    tables = tuple(map(readable, (fitted, held_out, synthetic)))
    for name, rows in zip(("fitted", "held_out", "synthetic"), tables, strict=True):
        if not np.shape(rows)[:1] or not np.shape(rows)[0]:
            raise ValueError(f"{name} must have a row at least, got none.")
    coder = CategoryCoder().fit(*tables)
    seen, unseen, made = (coder.transform(X) for X in tables)
    scale = _Scale(seen, coder.is_category_)
    weights, distances = _nearest(scale, made, np.concatenate([seen, unseen]), len(seen))
    statistic = weights[: len(seen)].sum()
    known = set(_as_keys(seen))
    return NearestRowResult(
        statistic=float(statistic),
        expected=len(seen) / (len(seen) + len(unseen)),
        pvalue=_pvalue(weights, len(seen), statistic, check_random_state(random_state)),
        distances=distances,
        n_copies=sum(key in known for key in _as_keys(made)),
        n_held_out_copies=sum(key in known for key in _as_keys(unseen)),
    )


class _Scale:
    """Gower's distance between rows.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
        Those whose ranges are units, with NaN where an entry is missing.
    is_category : ndarray of bool of shape (n_features,)
        Which columns hold codes.
    """

    def __init__(self, rows: NDArray[np.float64], is_category: NDArray[np.bool_]) -> None:
        gone = np.isnan(rows)
        low = np.where(gone, np.inf, rows).min(axis=0)
        high = np.where(gone, -np.inf, rows).max(axis=0)
        # Of a constant, all other numbers are as far away as other categories.
        self.is_number = ~is_category & (high > low)
        self.unit = np.where(self.is_number, high - low, 1.0)

    def distances(self, X: NDArray[np.float64], Y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distances between all rows of two tables.

        Parameters
        ----------
        X : ndarray of shape (n_X, n_features)
            Rows.
        Y : ndarray of shape (n_Y, n_features)
            Rows.

        Returns
        -------
        distances : ndarray of shape (n_X, n_Y)
            From 0 to 1, or above it where numbers are out of the range.
        """
        has_holes = np.isnan(X).any(axis=0) | np.isnan(Y).any(axis=0)
        plain = self.is_number & ~has_holes
        found = np.zeros((len(X), len(Y)))
        if plain.any():
            x, y = (np.ascontiguousarray(Z[:, plain] / self.unit[plain]) for Z in (X, Y))
            found += cdist(x, y, "cityblock")
        for j in np.flatnonzero(~plain):
            found += self._of_column(X[:, j, None], Y[:, j], j)
        return found / X.shape[1]

    def _of_column(self, x: NDArray[np.float64], y: NDArray[np.float64], j: Any) -> NDArray[Any]:
        if not self.is_number[j]:
            return (x != y) & ~(np.isnan(x) & np.isnan(y))
        apart = abs(x - y) / self.unit[j]
        return np.where(np.isnan(apart), np.isnan(x) != np.isnan(y), apart)


def _nearest(
    scale: _Scale, made: NDArray[np.float64], real: NDArray[np.float64], n_fitted: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return of each real row the share of rows that it is nearest to, and distances.

    The first are of all real rows. The others are those of the rows to the first `n_fitted`.
    """
    shares, distances = np.zeros(len(real)), np.empty(len(made))
    n_blocks = 1 + len(made) * len(real) // _BLOCK
    for rows in np.array_split(np.arange(len(made)), min(n_blocks, len(made))):
        apart = scale.distances(made[rows], real)
        distances[rows] = apart[:, :n_fitted].min(axis=1)
        is_nearest = apart <= apart.min(axis=1, keepdims=True) + _ROUNDING
        shares += (is_nearest / is_nearest.sum(axis=1, keepdims=True)).sum(axis=0)
    return shares / len(made), distances


def _pvalue(
    weights: NDArray[np.float64], n_fitted: int, statistic: float, rng: np.random.RandomState
) -> float:
    """Return how often a random choice of real rows has as much weight as those fitted have."""
    # Rows of the same weight are alike: how many of each are chosen is all that matters.
    levels, sizes = np.unique(weights.round(12), return_counts=True)
    generator = np.random.default_rng(rng.randint(np.iinfo(np.int32).max))
    n_higher, at_once = 0, 1 + _BLOCK // len(levels)
    for first in range(0, _N_PERMUTATIONS, at_once):
        size = min(at_once, _N_PERMUTATIONS - first)
        chosen = generator.multivariate_hypergeometric(sizes, n_fitted, size=size)
        n_higher += int(np.count_nonzero(chosen @ levels >= statistic - _ROUNDING))
    return (1 + n_higher) / (1 + _N_PERMUTATIONS)


def _as_keys(rows: NDArray[np.float64]) -> list[bytes]:
    """Return each row as a key, the same for equal rows."""
    plain = np.where(np.isnan(rows), np.nan, rows + 0.0)  # one NaN, and no minus zero
    return [row.tobytes() for row in plain]
