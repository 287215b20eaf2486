"""The continuous ranked probability score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from skflow._sklearn.predictive import like_targets, targets
from skflow._sklearn.validation import as_numpy, plain_array, row_weights

__all__ = ["crps"]


# Sums of larger numbers may overflow.
_LARGEST = 1e150


def crps(
    y_true: Any, samples: Any, *, fair: bool = True, sample_weight: Any = None
) -> float | NDArray[np.float64]:
    r"""Return the continuous ranked probability score of distributions that samples stand for.

    .. math::
        \mathrm{CRPS}(F, y) = \int \left(F(t) - 1\{y \le t\}\right)^2 dt
            = \mathrm{E}|Y - y| - \tfrac12\,\mathrm{E}|Y - Y'|

    where :math:`Y, Y'` are independent draws from the predicted distribution F [1]_. It is proper:
    the true distribution has the lowest expected score. Lower is better, and a prediction that is
    a single number has its absolute error. Unlike a log-density it asks for no density, is finite
    for any target, and gains nothing from a target that repeats.

    Read more in the :ref:`User Guide <predictive_distributions>`.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_targets)
        The targets, of rows that the model was not fitted to.
    samples : array-like of shape (n_samples, n_draws) or (n_samples, n_targets, n_draws)
        Draws from the predicted distribution of each target, or its quantiles at the levels
        :math:`(i - \frac12) / m` for :math:`i = 1, \dots, m`, in any order.
    fair : bool, default=True
        True is for independent draws: the estimate of the score of the distribution that they come
        from is unbiased, whatever their number, two or more [2]_. False is the score of the
        samples as they are, each with the same probability. That is the choice for quantiles, and
        for ensembles whose members are the forecast. It is larger by
        :math:`\mathrm{E}|Y - Y'| / (2m)` on average, for m draws.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        The weights of rows in the mean.

    Returns
    -------
    score : float or ndarray of shape (n_targets,)
        The mean over rows in the units of the target: of `y_true` of shape (n_samples, n_targets)
        one for each target by itself.

    Raises
    ------
    ValueError
        If the shapes do not fit, something is not finite, or `fair` has fewer than two draws.

    See Also
    --------
    probability_integral_transform : Whether distributions are calibrated.
    interval_coverage : Whether intervals are.
    sklearn.metrics.mean_pinball_loss : Of a single quantile; the mean of twice the loss over all
        levels is this score.

    Notes
    -----
    Of m draws the score has some chance in it, which falls with :math:`1 / \sqrt{nm}` for n rows,
    beside that of the rows. Quantiles have none. With them, the score is exactly twice the mean
    of the pinball losses at their levels. A hundred are within 0.01 % of the integral for a normal
    distribution.

    Cost: O(n·m·log m), by sorting.

    References
    ----------
    .. [1] T. Gneiting and A. E. Raftery, "Strictly proper scoring rules, prediction, and
       estimation", Journal of the American Statistical Association 102(477), 2007.
    .. [2] C. A. T. Ferro, "Fair scores for ensemble forecasts", Quarterly Journal of the Royal
       Meteorological Society 140(683), 2014.

    Examples
    --------
    Noise grows with x. A prediction that knows it is better than one that has the same spread
    everywhere:

    >>> import numpy as np
    >>> from skflow.metrics import crps
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(size=1000)
    >>> y = x + 0.5 * x * rng.normal(size=1000)
    >>> draws = rng.normal(size=(1000, 200))
    >>> round(crps(y, x[:, None] + 0.5 * x[:, None] * draws), 2)
    0.14
    >>> round(crps(y, x[:, None] + 0.5 * draws), 2)
    0.18
    """
    y = targets(y_true, name="y_true")
    draws = as_numpy(
        check_array(plain_array(samples), dtype=np.float64, allow_nd=True, input_name="samples")
    )
    n_draws = draws.shape[-1]
    draws = like_targets(draws, y, "samples", n_draws)
    if fair and n_draws < 2:
        raise ValueError(
            "samples has one draw for each row, and fair=True needs two. With fair=False the "
            "score is the mean absolute error."
        )
    weights = row_weights(sample_weight, y)
    # Differences from the target keep the digits that a large offset would take.
    unit = np.maximum(1.0, max(np.abs(draws).max(), np.abs(y).max()) / _LARGEST)
    errors = np.sort(draws / unit - y[..., None] / unit, axis=-1)
    # Half the mean distance of two draws, from their ranks: each is above some, below the others.
    n_above_minus_below = 2.0 * np.arange(n_draws) - (n_draws - 1)
    half_distance = errors @ n_above_minus_below / (n_draws * (n_draws - 1 if fair else n_draws))
    score = np.average(np.abs(errors).mean(axis=-1) - half_distance, axis=0, weights=weights)
    score = np.minimum(score, np.finfo(np.float64).max / unit) * unit
    return float(score) if y.ndim == 1 else np.asarray(score)
