"""The energy distance between two samples, and the test by it."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist
from sklearn.utils import check_random_state, check_scalar, gen_batches

from skflow._sklearn.validation import two_samples
from skflow.metrics.results import TwoSampleTestResult

__all__ = ["energy_distance", "energy_two_sample_test"]

# Of the distances that are held at a time: 16 MiB.
# The indicator of each row is kept for all permutations.
_MOST_PERMUTATIONS = 10**6

_PAIRS_AT_ONCE = 2**21


def energy_distance(X: ArrayLike, Y: ArrayLike) -> float:
    r"""Estimate the energy distance between the distributions of two samples.

    .. math::
        \mathcal{E} = 2\,\mathrm{E}\|x - y\| - \mathrm{E}\|x - x'\| - \mathrm{E}\|y - y'\|

    where :math:`x, x'` and :math:`y, y'` are independent. It is zero if the distributions are
    the same and positive otherwise [1]_. The estimate is unbiased: the means are over pairs of
    different rows. So it is about zero for a perfect model, on either side, and does not depend
    on how many rows there are.

    Read more in the :ref:`User Guide <diagnostics>`.

    Parameters
    ----------
    X : array-like of shape (n_samples_X, n_features)
        Two rows at least. For the test of a model, ones that it was not fitted to.
    Y : array-like of shape (n_samples_Y, n_features)
        Two rows at least, such as samples of the model.

    Returns
    -------
    distance : float
        In the units of the columns, which count by their scale. Lower is better; below zero is as
        good as zero.

    Raises
    ------
    ValueError
        If `X` and `Y` have different columns, or one has fewer than two rows.

    See Also
    --------
    energy_two_sample_test : Whether it is more than chance.
    scipy.stats.energy_distance : Of one column, the square root of a biased estimate.

    Notes
    -----
    The distance is Euclidean, so that columns in large units dominate. Where their units have
    nothing to do with each other, scale both samples by the *same*
    :class:`!sklearn.preprocessing.StandardScaler`, fitted to data.

    :func:`scipy.stats.energy_distance` is :math:`\sqrt{V}` for one column, where :math:`V` counts
    each row as a pair with itself, too. It is positive for two samples of one distribution:
    :math:`\mathrm{E}\,V = \mathcal{E} + \mathrm{E}\|x - x'\| / n + \mathrm{E}\|y - y'\| / m`
    for n and m rows.

    Cost: O((n + m)² · D), and some 16 MiB of memory beside the rows.

    References
    ----------
    .. [1] G. J. Székely and M. L. Rizzo, "Energy statistics: a class of statistics based on
       distances", Journal of Statistical Planning and Inference 143(8), 2013.

    Examples
    --------
    >>> from sklearn.mixture import GaussianMixture
    >>> from skflow.datasets import half_moons
    >>> from skflow.metrics import energy_distance
    >>> X_train, X_test = half_moons().sample(2000, random_state=0).reshape(2, 1000, 2)
    >>> good = GaussianMixture(10, random_state=0).fit(X_train)
    >>> bad = GaussianMixture(1, random_state=0).fit(X_train)
    >>> abs(energy_distance(X_test, good.sample(1000)[0])) < 0.005
    True
    >>> energy_distance(X_test, bad.sample(1000)[0]) > 0.005
    True
    """
    X, Y = two_samples(X, Y, least=2)
    rows = np.concatenate([X, Y])
    is_first = np.repeat([1.0, 0.0], [len(X), len(Y)])
    return float(_energy_distances(rows, is_first[:, None])[0])


def energy_two_sample_test(
    X: ArrayLike, Y: ArrayLike, *, n_permutations: int = 999, random_state: Any = None
) -> TwoSampleTestResult:
    """Test by the energy distance whether two samples have the same distribution.

    The rows are divided anew into two samples of the same sizes, at random, as often as
    `n_permutations` says. The p-value is the share of divisions, the actual one included, whose
    energy distance is at least as high: exact if the rows are independent, for any number of
    rows, columns and permutations.

    Read more in the :ref:`User Guide <diagnostics>`.

    Parameters
    ----------
    X : array-like of shape (n_samples_X, n_features)
        Two rows at least. For the test of a model, ones that it was not fitted to.
    Y : array-like of shape (n_samples_Y, n_features)
        Two rows at least, such as samples of the model.
    n_permutations : int, default=999
        The p-value is no lower than 1 / (`n_permutations` + 1).
    random_state : int, RandomState instance or None, default=None
        Determines the permutations. Pass an int for the same result each time.

    Returns
    -------
    result : TwoSampleTestResult
        Its ``statistic`` is :func:`energy_distance`.

    Raises
    ------
    ValueError
        If `X` and `Y` have different columns, or one has fewer than two rows.

    See Also
    --------
    classifier_two_sample_test : Learns what to look for, which pays with many columns.

    Notes
    -----
    The distances are computed once, and not kept. Cost: O((n + m)² · (D + `n_permutations`)), and
    O((n + m) · `n_permutations`) of memory.

    Examples
    --------
    >>> from skflow.datasets import half_moons
    >>> from skflow.metrics import energy_two_sample_test
    >>> X = half_moons().sample(200, random_state=0)
    >>> energy_two_sample_test(X, half_moons().sample(200, 1), random_state=0).pvalue > 0.05
    True
    >>> energy_two_sample_test(X, half_moons().sample(200, 1) + 0.3, random_state=0).pvalue
    0.001
    """
    check_scalar(n_permutations, "n_permutations", Integral, min_val=1, max_val=_MOST_PERMUTATIONS)
    X, Y = two_samples(X, Y, least=2)
    rng = check_random_state(random_state)
    rows = np.concatenate([X, Y])
    is_first = np.zeros((len(rows), 1 + n_permutations))
    is_first[: len(X), 0] = 1
    for j in range(1, 1 + n_permutations):
        is_first[rng.permutation(len(rows))[: len(X)], j] = 1
    distances = _energy_distances(rows, is_first)
    # Divisions that are the same up to the order of summation count as equal.
    rounding = 1e-12 * np.ptp(distances)
    pvalue = np.mean(distances >= distances[0] - rounding)
    return TwoSampleTestResult(float(distances[0]), float(pvalue))


def _energy_distances(
    rows: NDArray[np.float64], is_first: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the energy distance between the parts of each division of the rows into two.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
        The rows.
    is_first : ndarray of shape (n_rows, n_divisions)
        1 for a row of the first part, else 0; with as many of them in each division.

    Returns
    -------
    distances : ndarray of shape (n_divisions,)
        Of each division.
    """
    n_rows = len(rows)
    # In units of a power of two near the largest entry, no square overflows or underflows, and
    # no digit is lost.
    unit = 2.0 ** np.frexp(np.abs(rows).max())[1].clip(-1000, 1000)
    rows = rows / unit
    from_each = np.zeros(n_rows)  # the sum of a row's distances
    within_first = np.zeros(is_first.shape[1])
    for block in gen_batches(n_rows, max(1, _PAIRS_AT_ONCE // n_rows)):
        here, after = slice(block.start, None), slice(block.stop, None)
        distances = cdist(rows[block], rows[here])
        n_here = len(distances)
        from_each[block] += distances.sum(axis=1)
        from_each[after] += distances[:, n_here:].sum(axis=0)
        distances[:, n_here:] *= 2  # for the pairs in the other order
        within_first += np.einsum("ij,ij->j", is_first[block], distances @ is_first[here])
    between = from_each @ is_first - within_first
    within_second = from_each.sum() - within_first - 2 * between
    n = int(is_first[:, 0].sum())
    m = n_rows - n
    energy: NDArray[np.float64] = (
        2 * between / (n * m) - within_first / (n * (n - 1)) - within_second / (m * (m - 1))
    )
    with np.errstate(over="ignore"):  # of rows so far apart, it is infinite
        return unit * energy
