"""Entropies and divergences of fitted densities, by their own samples."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state, check_scalar

from skflow._sklearn.pieces import in_one_piece
from skflow._sklearn.readable import listed, readable
from skflow._sklearn.validation import (
    _get_feature_names,
    as_numpy,
    take_columns,
)
from skflow.estimators.held_out import seeded_clone
from skflow.metrics.log_density import checked_log_density
from skflow.metrics.results import MonteCarloEstimate
from skflow.preprocessing import score_samples_in_original_units
from skflow.preprocessing.samples import draw_rows

__all__ = ["entropy", "kl_divergence", "mutual_information"]


def entropy(
    estimator: Any, n_samples: int = 10_000, *, random_state: Any = None
) -> MonteCarloEstimate:
    r"""Estimate the entropy of a fitted density from its own samples.

    .. math::
        H(p) = -\mathrm{E}_{x \sim p}[\log p(x)]

    Of a density this is the *differential* entropy [1]_. It may be negative, and it depends on
    the units of the columns: a column in units that are c times as small adds log c.

    Read more in the :ref:`User Guide <information>`.

    Parameters
    ----------
    estimator : density estimator
        Fitted, with methods ``sample`` and ``score_samples``, such as
        :class:`~skflow.RelativeGradientFlow`, :class:`~skflow.DensityEnsemble`,
        :class:`!sklearn.mixture.GaussianMixture` and :class:`!sklearn.neighbors.KernelDensity`;
        or a search for one, or a Pipeline that ends in one, whose density is taken in the units
        of what the Pipeline was fitted to.
    n_samples : int, default=10_000
        How many samples to draw, 2 or more.
    random_state : int, RandomState instance or None, default=None
        Determines the samples. Pass an int for the same result each time. It has no effect on an
        estimator that neither takes nor has a ``random_state``.

    Returns
    -------
    entropy : MonteCarloEstimate
        Its ``value`` in nats, and its ``standard_error``.

    Raises
    ------
    TypeError
        If the estimator cannot sample, or is no density estimator.
    ValueError
        If a sample has no finite log-density under the estimator that drew it.

    See Also
    --------
    kl_divergence : How far another density is from this one.
    mutual_information : How much columns say about each other.

    Notes
    -----
    The estimate has no bias. It is the entropy of the model, and not of the data that it was
    fitted to. The negative mean log-density of held-out *rows* is their cross-entropy. It is
    above the entropy of their distribution by the divergence of the model from it.

    Cost: that of drawing and of scoring `n_samples`.

    References
    ----------
    .. [1] T. M. Cover and J. A. Thomas, "Elements of Information Theory", 2nd edition, chapter 8,
       Wiley, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> from skflow.metrics import entropy
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> result = entropy(GaussianMixture().fit(X), random_state=0)
    >>> print(f"{result.value:.1f} ± {result.standard_error:.2f}")
    2.8 ± 0.01
    >>> print(f"{np.log(2 * np.pi * np.e):.1f}")  # of two standard normal columns
    2.8
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=2)
    samples = draw_rows(estimator, n_samples, check_random_state(random_state))
    return _mean(-_own_log_density(estimator, samples))


def kl_divergence(
    p: Any, q: Any, n_samples: int = 10_000, *, random_state: Any = None
) -> MonteCarloEstimate:
    r"""Estimate the Kullback-Leibler divergence of one fitted density from another.

    .. math::
        D(p \,\|\, q) = \mathrm{E}_{x \sim p}[\log p(x) - \log q(x)]

    It is zero if the densities are the same and positive otherwise, and does not depend on the
    units of the columns [1]_. Nor is it symmetric: it is large where `p` has probability and `q`
    has next to none.

    Read more in the :ref:`User Guide <information>`.

    Parameters
    ----------
    p : density estimator
        What the samples are drawn from: as :func:`entropy` takes it.
    q : density estimator
        Fitted to the same columns, with a method ``score_samples``; or a search for one, or a
        Pipeline that ends in one.
    n_samples : int, default=10_000
        How many samples to draw, 2 or more.
    random_state : int, RandomState instance or None, default=None
        Determines the samples. Pass an int for the same result each time.

    Returns
    -------
    divergence : MonteCarloEstimate
        Its ``value`` in nats, infinite if a sample has no density under `q`, and its
        ``standard_error``.

    Raises
    ------
    TypeError
        If `p` cannot sample, or one of both is no density estimator.
    ValueError
        If the columns differ, or a sample has no finite log-density under `p`.

    See Also
    --------
    energy_distance : Needs samples of both alone, and is never infinite.
    skflow.DensityRatio : The same from two samples, row by row.

    Notes
    -----
    The estimate has no bias, so that it is below zero about as often as above where the densities
    are the same or nearly so: judge it beside its standard error. Where log p - log q has a long
    tail, as with a `q` whose tails are much lighter, rare samples decide; the value and its
    standard error are then both too low more often than not. Both densities have to add up to
    one: :class:`~skflow.LogarithmicPool` does not.

    Cost: that of drawing `n_samples` and of scoring them twice.

    References
    ----------
    .. [1] S. Kullback and R. A. Leibler, "On information and sufficiency", The Annals of
       Mathematical Statistics 22(1), 1951.

    Examples
    --------
    Two half moons, and a single Gaussian in place of a mixture of them:

    >>> from sklearn.mixture import GaussianMixture
    >>> from skflow.datasets import half_moons
    >>> from skflow.metrics import kl_divergence
    >>> X = half_moons().sample(2000, random_state=0)
    >>> mixture = GaussianMixture(10, random_state=0).fit(X)
    >>> single = GaussianMixture(1, random_state=0).fit(X)
    >>> for q in (mixture, single):
    ...     result = kl_divergence(mixture, q, random_state=0)
    ...     print(f"{result.value:.1f} ± {result.standard_error:.2f}")
    0.0 ± 0.00
    0.9 ± 0.01
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=2)
    _check_same_columns(p, q)
    samples = draw_rows(p, n_samples, check_random_state(random_state))
    return _mean(_own_log_density(p, samples) - _log_density(q, samples))


def mutual_information(
    estimator: Any,
    first: Any,
    second: Any = None,
    *,
    marginals: tuple[Any, Any] | None = None,
    n_samples: int = 10_000,
    random_state: Any = None,
) -> MonteCarloEstimate:
    r"""Estimate how much two groups of columns say about each other, under a fitted density.

    .. math::
        I(a; b) = \mathrm{E}_{(a, b) \sim p}[\log p(a, b) - \log p(a) - \log p(b)]

    It is zero if the groups are independent and positive otherwise, whatever the kind of their
    dependence and the units of the columns [1]_.

    A joint density does not give its marginals p(a) and p(b) away. Unless you pass them, clones
    of the estimator are fitted to the columns of samples, other ones than those that the mean is
    over. So one fitted density is all that is needed.

    Read more in the :ref:`User Guide <information>`.

    Parameters
    ----------
    estimator : density estimator
        The joint density: as :func:`entropy` takes it.
    first : int, str or list of these
        The columns of one group, by their positions from 0 on, or by the names that the estimator
        was fitted to.
    second : int, str or list of these, default=None
        The columns of the other group. None is all that are not in `first`. Columns that are in
        neither group are left out: the density of both groups then is a fitted clone, too.
    marginals : tuple of two density estimators, default=None
        Fitted densities of the columns of `first` and of `second`, in the order in which these
        list them. None is clones, fitted to `n_samples` samples of the estimator; pass your own
        where a clone does not suit fewer columns, or where they are known exactly. Every column
        must then be in one of the groups.
    n_samples : int, default=10_000
        How many samples the mean is over, 2 or more.
    random_state : int, RandomState instance or None, default=None
        Determines the samples, and the seeds of clones whose ``random_state`` is None. Pass an
        int for the same result each time.

    Returns
    -------
    information : MonteCarloEstimate
        Its ``value`` in nats, and its ``standard_error``, which is that of the samples alone: it
        takes the marginals as they are.

    Raises
    ------
    TypeError
        If the estimator cannot sample or cannot be cloned.
    ValueError
        If a column is not there, or is in both groups, or a group is empty.

    See Also
    --------
    sklearn.feature_selection.mutual_info_regression : Of pairs of columns, from rows alone.

    Notes
    -----
    With exact marginals the estimate has no bias, and is below zero by chance alone. Marginals q
    that are fitted raise it, on average, by what they miss of the exact ones: by
    :math:`D(p_a \| q_a) + D(p_b \| q_b)`. So it is an upper bound of the mutual information under
    the joint density, the tighter the better the marginals fit, and no error of theirs makes it
    negative. If columns are left out, the fitted density of both groups lowers it by
    its own divergence, and it bounds nothing.

    Whether the model's dependence is that of the data is another question: a joint density that
    is too stiff to learn a dependence has none.

    Cost: that of drawing `n_samples` and of scoring them three times. Without `marginals`, as
    many samples again and two fits to them, or three.

    References
    ----------
    .. [1] T. M. Cover and J. A. Thomas, "Elements of Information Theory", 2nd edition, chapter 8,
       Wiley, 2006.

    Examples
    --------
    Two columns with a correlation of 0.8, and a third that is independent of both:

    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> from skflow.metrics import mutual_information
    >>> X = np.random.default_rng(0).normal(size=(2000, 3))
    >>> X[:, 1] = 0.8 * X[:, 0] + 0.6 * X[:, 1]
    >>> model = GaussianMixture().fit(X)
    >>> for second in (1, 2, [1, 2]):
    ...     result = mutual_information(model, 0, second, random_state=0)
    ...     print(f"{result.value:.1f} ± {result.standard_error:.2f}")
    0.5 ± 0.01
    0.0 ± 0.00
    0.5 ± 0.01
    >>> print(f"{-0.5 * np.log(1 - 0.8**2):.1f}")
    0.5
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=2)
    rng = check_random_state(random_state)
    samples = draw_rows(estimator, n_samples, rng)
    groups = _groups(estimator, samples, first, second)
    is_whole = sum(map(len, groups)) == samples.shape[1]
    parts = [_columns_of(samples, group) for group in groups]
    if marginals is not None:
        if not is_whole:
            raise ValueError(
                "With marginals, each column must be in first or in second. Pass a density of "
                "these columns alone as the estimator, or leave marginals out."
            )
        joint, fitted = _own_log_density(estimator, samples), marginals
    else:
        others = draw_rows(estimator, n_samples, rng)
        fitted = tuple(_fitted_to(estimator, others, group, rng) for group in groups)
        if is_whole:
            joint = _own_log_density(estimator, samples)
        else:
            both = np.concatenate(groups)
            density = _fitted_to(estimator, others, both, rng)
            joint = _log_density(density, _columns_of(samples, both))
    of_parts = [_log_density(q, part) for q, part in zip(fitted, parts, strict=True)]
    return _mean(joint - of_parts[0] - of_parts[1])


def _mean(values: NDArray[np.float64]) -> MonteCarloEstimate:
    if not np.isfinite(values).all():
        return MonteCarloEstimate(float(values.mean()), np.nan)
    standard_error = values.std(ddof=1) / np.sqrt(len(values))
    return MonteCarloEstimate(float(values.mean()), float(standard_error))


def _log_density(estimator: Any, rows: Any) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        # Samples may be arrays though the estimator was fitted to a frame, and vice versa.
        warnings.filterwarnings("ignore", message="X (does not have valid|has) feature names")
        return checked_log_density(score_samples_in_original_units(estimator, rows), estimator)


def _own_log_density(estimator: Any, samples: Any) -> NDArray[np.float64]:
    log_density = _log_density(estimator, samples)
    n_lost = np.count_nonzero(np.isneginf(log_density))
    if n_lost:
        raise ValueError(
            f"{n_lost} of {len(log_density)} samples have no density under the estimator that "
            f"drew them, {estimator!r}."
        )
    return log_density


def _check_same_columns(p: Any, q: Any) -> None:
    names = [getattr(density, "feature_names_in_", None) for density in (p, q)]
    numbers = [getattr(density, "n_features_in_", None) for density in (p, q)]
    if None not in numbers and numbers[0] != numbers[1]:
        raise ValueError(
            f"p and q must have the same columns, got {numbers[0]} in p and {numbers[1]} in q."
        )
    if names[0] is not None and names[1] is not None and list(names[0]) != list(names[1]):
        raise ValueError(
            "p and q must have the same columns in the same order, "
            f"got {list(names[0])} in p and {list(names[1])} in q."
        )


def _groups(
    estimator: Any, samples: Any, first: Any, second: Any
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the positions of the columns of both groups."""
    names = _get_feature_names(samples)
    if names is None:
        names = getattr(estimator, "feature_names_in_", None)
    known = [] if names is None else list(names)
    of_first = _positions(first, known, samples.shape[1], "first")
    if second is None:
        of_second = np.setdiff1d(np.arange(samples.shape[1]), of_first)
    else:
        of_second = _positions(second, known, samples.shape[1], "second")
    shared = np.intersect1d(of_first, of_second)
    if len(shared):
        raise ValueError(f"first and second must share no column, got {shared.tolist()} in both.")
    if not len(of_first) or not len(of_second):
        raise ValueError("first and second must each have a column at least.")
    return of_first, of_second


def _positions(columns: Any, names: list[Any], n_features: int, group: str) -> NDArray[np.intp]:
    positions = []
    for column in listed(columns):
        if isinstance(column, str) and column in names:
            positions.append(names.index(column))
        elif isinstance(column, Integral) and 0 <= int(column) < n_features:
            positions.append(int(column))
        else:
            raise ValueError(
                f"{group} must list columns by names that the estimator was fitted to, or by "
                f"positions from 0 to {n_features - 1}, got {column!r}."
            )
    if len(set(positions)) < len(positions):
        raise ValueError(f"{group} must list each column once, got {columns!r}.")
    return np.array(positions, dtype=np.intp)


def _columns_of(samples: Any, positions: NDArray[np.intp]) -> Any:
    is_frame = hasattr(samples, "columns")
    return take_columns(samples if is_frame else as_numpy(readable(samples)), positions)


@in_one_piece()
def _fitted_to(
    estimator: Any, samples: Any, positions: NDArray[np.intp], rng: np.random.RandomState
) -> Any:
    return seeded_clone(estimator, rng).fit(_columns_of(samples, positions))
