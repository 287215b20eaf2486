"""The histogram of probability integral transforms."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_scalar, column_or_1d

from skflow._sklearn.predictive import ask, effective_size, of_uniform, one_target, probabilities
from skflow._sklearn.validation import plain_array, row_weights
from skflow.inspection.figures import one_panel, p_value_label, pyplot
from skflow.inspection.sampling_error import CONFIDENCE, band

__all__ = ["PITDisplay"]

_FEWEST_BINS, _MOST_BINS = 5, 20
_ROWS_A_BIN = 20


class PITDisplay:
    """Histogram of probability integral transforms, with what sampling error allows.

    The distribution function that a regressor predicts for a row, at its target, is uniform
    between 0 and 1 over the rows if the regressor is calibrated. A histogram like a U says that it
    is overconfident, one like a hill that it is too wide, and a slope that it is biased.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to create a
    display. All parameters are stored as attributes.

    Read more in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    density : ndarray of shape (n_bins,)
        The share of rows in each of equal bins, in units of the share that should be there.
    n_rows : float
        The number of rows; with weights, of as many of equal weight as are as certain.
    statistic, pvalue : float
        Of a Kolmogorov-Smirnov test that the values are uniform.
    name : str or None, default=None
        What the title calls the estimator. None is without a name.

    Attributes
    ----------
    bars_ : BarContainer
        The histogram.
    band_ : PolyCollection
        The range that holds 95 % of a bin's bars if the model is right.
    ax_ : Axes
    figure_ : Figure

    See Also
    --------
    QuantileCalibrationDisplay : The same in the form of a distribution function.
    skflow.metrics.probability_integral_transform : The values and the test.

    Notes
    -----
    Pass rows that the estimator was not fitted to. The band is that of each bin by itself, so that
    of 20 bins of a perfect model one is outside of it.

    Examples
    --------
    Normal distributions of half the width that they should have:

    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from skflow.inspection import PITDisplay
    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(size=1000)
    >>> display = PITDisplay.from_predictions(norm.cdf(y, scale=0.5), n_bins=5)
    >>> display.density.round(1)
    array([1.8, 0.6, 0.5, 0.6, 1.6])
    """

    def __init__(
        self,
        *,
        density: NDArray[np.float64],
        n_rows: float,
        statistic: float,
        pvalue: float,
        name: str | None = None,
    ) -> None:
        self.density = density
        self.n_rows = n_rows
        self.statistic = statistic
        self.pvalue = pvalue
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n_bins: int | None = None,
        sample_weight: Any = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the values of predicted distribution functions at the targets.

        Parameters
        ----------
        estimator : regressor
            Fitted, with a method ``cdf(X, y)`` that gives P(Y ≤ y | x) for each row; or a search
            for one, or a Pipeline that ends in one.
        X : array-like of shape (n_samples, n_features)
            Rows, best those that it was not fitted to.
        y : array-like of shape (n_samples,) or (n_samples, 1)
            Their targets. Of several, pass one column of ``cdf(X, y)`` to
            :meth:`from_predictions`.
        n_bins : int or None, default=None
            The number of bins. None is 5 to 20, of 20 rows or more each where they suffice.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            The weights of rows.
        name : str or None, default=None
            What the title calls the estimator.
        ax : Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.bar`.

        Returns
        -------
        display : PITDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no method ``cdf``.
        ValueError
            If there are several targets, or what ``cdf`` gives is no probability.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        target = one_target(y, X, f"{cls.__name__}.from_predictions(estimator.cdf(X, y)[:, 0])")
        values = ask(estimator, "cdf", X, target)
        return cls.from_predictions(
            values, n_bins=n_bins, sample_weight=sample_weight, name=name, ax=ax, **kwargs
        )

    @classmethod
    def from_predictions(
        cls,
        values: ArrayLike,
        *,
        n_bins: int | None = None,
        sample_weight: Any = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw values of distribution functions at targets.

        Parameters
        ----------
        values : array-like of shape (n_samples,)
            The predicted probability of a target no larger than the observed one, for each row.
        n_bins : int or None, default=None
            The number of bins. None is 5 to 20, of 20 rows or more each where they suffice.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            The weights of rows.
        name : str or None, default=None
            What the title calls the estimator.
        ax : Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.bar`.

        Returns
        -------
        display : PITDisplay
            The display, drawn.
        """
        pyplot(f"{cls.__name__}.from_predictions")
        checked = probabilities(column_or_1d(plain_array(values)), "values")
        weights = row_weights(sample_weight, checked)
        n_rows = effective_size(weights)
        if n_bins is None:
            n_bins = int(np.clip(n_rows // _ROWS_A_BIN, _FEWEST_BINS, _MOST_BINS))
        check_scalar(n_bins, "n_bins", Integral, min_val=2)
        counts, _ = np.histogram(checked, n_bins, range=(0, 1), weights=weights)
        statistic, pvalue = of_uniform(checked, weights)
        display = cls(
            density=n_bins * counts / weights.sum(),
            n_rows=n_rows,
            statistic=statistic,
            pvalue=pvalue,
            name=name,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, name: str | None = None, **kwargs: Any) -> Self:
        """Draw the histogram and the band.

        Parameters
        ----------
        ax : Axes or None, default=None
            Where to draw; None makes a new figure.
        name : str or None, default=None
            What the title calls the estimator. None is the name that is stored.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.bar`.

        Returns
        -------
        display : PITDisplay
            The display, drawn.
        """
        ax = one_panel(f"{type(self).__name__}.plot", ax)
        name = self.name if name is None else name
        n_bins = len(self.density)
        left = np.arange(n_bins) / n_bins
        style = {"align": "edge", "color": "C0", "alpha": 0.5, "edgecolor": "white", **kwargs}
        self.bars_ = ax.bar(left, self.density, width=1 / n_bins, **style)
        low, high = (n_bins * share for share in band(1 / n_bins, self.n_rows))
        self.band_ = ax.fill_between(
            [0, 1],
            low,
            high,
            color="black",
            alpha=0.15,
            linewidth=0,
            label=f"{100 * CONFIDENCE:g} % of bars if calibrated",
        )
        ax.axhline(1, color="black", linewidth=1, linestyle=":")
        title = f"KS {self.statistic:.3f}, {p_value_label(self.pvalue)}"
        ax.set_title(title if name is None else f"{name}\n{title}", fontsize="medium")
        top = 1.25 * max(float(self.density.max()), float(high))
        ax.set(
            xlabel="probability integral transform", ylabel="density", xlim=(0, 1), ylim=(0, top)
        )
        ax.legend(loc="upper center", fontsize="small", frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
