"""Whether a density adds up to one."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_random_state, check_scalar

from skflow._sklearn.validation import as_numpy, take_rows
from skflow.metrics.log_density import checked_log_density
from skflow.metrics.proposals import DefensiveMixture
from skflow.metrics.results import NormalizationResult
from skflow.preprocessing import score_samples_in_original_units
from skflow.preprocessing.samples import draw_rows

__all__ = ["check_normalization"]

# So many samples of equal weight, and at most such a share of rows beyond all of their weights.
_FEWEST_SAMPLES = 100
_MOST_UNSEEN = 0.01


def check_normalization(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    n_samples: int = 10_000,
    random_state: Any = None,
) -> NormalizationResult:
    r"""Estimate the integral of a fitted density, which is one if it is a density at all.

    .. math::
        \int p(x)\, dx = \mathrm{E}_{x \sim q}\left[\frac{p(x)}{q(x)}\right]

    by importance sampling [1]_ from a mixture q. It is fitted to `X`, and to as many samples of
    the density if that can sample. Its components have heavy tails, and a tenth of it is as wide
    as all of these rows.

    Read more in the :ref:`User Guide <normalization>`.

    Parameters
    ----------
    estimator : density estimator
        Fitted, with a method ``score_samples``, of any library; or a search for one, or a
        Pipeline that ends in one, whose density is taken in the units of `X`. With `y`, a
        conditional density such as :class:`~skflow.ConditionalFlow`, whose ``score_samples`` takes
        both.
    X : array-like of shape (n_samples, n_features)
        Rows that are likely under the density: those that it was fitted to will do. Numbers.
    y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
        The targets of the rows. The integral is then that over targets given features, in the mean
        over the rows of `X`.
    n_samples : int, default=10_000
        How many points to score, 2 or more.
    random_state : int, RandomState instance or None, default=None
        Determines the points. Pass an int for the same result each time.

    Returns
    -------
    result : NormalizationResult
        The ``value`` of the integral, its ``standard_error``, and a ``diagnosis`` that is not
        empty where neither can be trusted.

    Raises
    ------
    ValueError
        If a score is NaN or +inf.

    Notes
    -----
    Parts of the density that lie far from all of these rows are missed. The more columns, and the
    more bent the density is in them, the fewer points count: their effective number is
    :math:`(\sum_i w_i)^2 / \sum_i w_i^2`, with :math:`w_i = p(x_i) / q(x_i)`. Rows that have a
    larger weight than any point say how much is missing.

    Cost: that of scoring `n_samples`, and that of fitting mixtures of up to 16 components to 5,000
    rows.

    References
    ----------
    .. [1] T. Hesterberg, "Weighted average importance sampling and defensive mixture
       distributions", Technometrics 37(2), 1995.

    Examples
    --------
    A density, and one that is too large by a tenth:

    >>> import numpy as np
    >>> from sklearn.neighbors import KernelDensity
    >>> from skflow.metrics import check_normalization
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> density = KernelDensity(bandwidth=0.3).fit(X)
    >>> result = check_normalization(density, X, random_state=0)
    >>> print(f"{result.value:.2f} ± {result.standard_error:.2f}")
    1.00 ± 0.01
    >>> result.diagnosis
    ''
    >>> class TooLarge:
    ...     def score_samples(self, X):
    ...         return density.score_samples(X) + np.log(1.1)
    >>> result = check_normalization(TooLarge(), X, random_state=0)
    >>> print(f"{result.value:.2f} ± {result.standard_error:.2f}")
    1.10 ± 0.01
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=2)
    rng = check_random_state(random_state)
    values = X if y is None else y
    values = check_array(values, dtype=np.float64, ensure_2d=False, ensure_min_samples=2)
    rows = values.reshape(len(values), -1)
    if y is None:
        values = rows = np.concatenate([rows, _samples(estimator, rows, rng)])
    proposal = DefensiveMixture().fit(rows, rng)
    points = proposal.sample(n_samples, rng)
    if y is None:
        log_density, own = (_log_density(estimator, part) for part in (points, rows))
    else:
        some = take_rows(X, rng.randint(len(rows), size=n_samples))
        targets = points.reshape(-1, *values.shape[1:])
        log_density = _log_density(estimator, some, targets)
        own = _log_density(estimator, X, values)
    log_weights = log_density - proposal.log_density(points)
    return _result(log_weights, own - proposal.log_density(rows))


def _samples(
    estimator: Any, like: NDArray[np.float64], rng: np.random.RandomState
) -> NDArray[np.float64]:
    """Draw rows from the density, or none if it cannot."""
    try:
        return as_numpy(draw_rows(estimator, len(like), rng)).astype(np.float64)
    except TypeError:
        return like[:0]


def _log_density(estimator: Any, *data: Any) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        # Points are arrays, though the estimator may have been fitted to a frame.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        if len(data) == 1:
            scores = score_samples_in_original_units(estimator, *data)
        else:
            scores = estimator.score_samples(*data)
    return checked_log_density(scores, estimator)


def _result(log_weights: NDArray[np.float64], own: NDArray[np.float64]) -> NormalizationResult:
    """Return the mean of weights, and what there is to say of them."""
    highest = log_weights.max()
    if np.isneginf(highest):
        return NormalizationResult(0.0, np.nan, 0.0, 1.0, "No point has any density.")
    weights = np.exp(log_weights - highest)
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    unseen = float(np.mean(own > highest))
    diagnosis = []
    if effective < _FEWEST_SAMPLES:
        diagnosis.append(
            f"Few points make up the integral, as good as {effective:.0f} of equal weight: the "
            "standard error is too small. Raise n_samples."
        )
    if unseen > _MOST_UNSEEN:
        diagnosis.append(
            f"{unseen:.0%} of the rows have a larger weight than any point: the integral is too "
            "small. The density is narrower around its rows than the mixture can be."
        )
    scale = np.exp(highest)
    return NormalizationResult(
        value=float(weights.mean() * scale),
        standard_error=float(weights.std(ddof=1) / np.sqrt(len(weights)) * scale),
        effective_sample_size=effective,
        unseen_share=unseen,
        diagnosis=" ".join(diagnosis),
    )
