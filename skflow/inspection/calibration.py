"""Calibration of predicted quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skflow._sklearn.predictive import (
    ask,
    check_levels,
    effective_size,
    like_targets,
    one_target,
    targets,
)
from skflow._sklearn.validation import as_numpy, row_weights
from skflow.inspection.figures import one_panel, pyplot
from skflow.inspection.sampling_error import CONFIDENCE, band

__all__ = ["QuantileCalibrationDisplay"]

_LEVELS = tuple(np.arange(1, 20) / 20)
_DIAGONAL = "calibrated"


class QuantileCalibrationDisplay:
    """The share of targets below predicted quantiles, against the share that should be there.

    A curve on the diagonal is that of a calibrated regressor. If predicted distributions are too
    narrow, it is flat in the middle and steep at the ends; if they are too wide, the other way
    round. Above the diagonal the quantiles are too high.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to create a
    display. All parameters are stored as attributes.

    Read more in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    levels : ndarray of shape (n_levels,)
        The levels of the quantiles.
    observed : ndarray of shape (n_levels,)
        The share of rows whose target is no larger than its quantile.
    n_rows : float
        The number of rows; with weights, of as many of equal weight as are as certain.
    name : str or None, default=None
        What the legend calls the estimator. None is without a name.

    Attributes
    ----------
    line_ : Line2D
        The curve.
    band_ : PolyCollection or None
        The range around the diagonal that holds 95 % of shares if the model is right, of each
        level by itself. None on axes that had a diagonal before.
    ax_ : Axes
    figure_ : Figure

    See Also
    --------
    PITDisplay : The same in the form of a histogram, with a test of all levels.
    skflow.metrics.interval_coverage : Intervals between two quantiles, and their width.

    Notes
    -----
    Pass rows that the estimator was not fitted to. Shares at neighbouring levels are those of
    nearly the same rows: of a perfect model, the whole curve is outside of the band more often
    than one level is, and then over many levels.

    Examples
    --------
    Boosted trees that predict three quantiles:

    >>> import numpy as np
    >>> from sklearn.ensemble import HistGradientBoostingRegressor
    >>> from skflow.inspection import QuantileCalibrationDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(1, 3, size=(2000, 1))
    >>> y = X[:, 0] * (1 + rng.normal(size=2000))
    >>> levels = [0.1, 0.5, 0.9]
    >>> quantiles = np.column_stack([
    ...     HistGradientBoostingRegressor(loss="quantile", quantile=level, max_iter=30)
    ...     .fit(X[:1000], y[:1000])
    ...     .predict(X[1000:])
    ...     for level in levels
    ... ])
    >>> display = QuantileCalibrationDisplay.from_predictions(
    ...     y[1000:], quantiles, levels=levels, name="boosted trees"
    ... )
    >>> display.observed.round(1)
    array([0.1, 0.5, 0.9])
    """

    def __init__(
        self,
        *,
        levels: NDArray[np.float64],
        observed: NDArray[np.float64],
        n_rows: float,
        name: str | None = None,
    ) -> None:
        self.levels = levels
        self.observed = observed
        self.n_rows = n_rows
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        levels: Sequence[float] | NDArray[np.float64] = _LEVELS,
        sample_weight: Any = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the calibration of a regressor's quantiles.

        Parameters
        ----------
        estimator : regressor
            Fitted, with a method ``predict_quantiles(X, q)`` that gives the quantiles of each row,
            of shape (n_samples, n_levels); or a search for one, or a Pipeline that ends in one.
        X : array-like of shape (n_samples, n_features)
            Rows, best those that it was not fitted to.
        y : array-like of shape (n_samples,) or (n_samples, 1)
            Their targets. Of several, pass the quantiles of one to :meth:`from_predictions`.
        levels : array-like of shape (n_levels,), default=(0.05, 0.1, ..., 0.95)
            The levels of the quantiles, between 0 and 1.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            The weights of rows.
        name : str or None, default=None
            What the legend calls the estimator, to tell several on the same axes apart. None is
            the name of its class.
        ax : Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot` for the curve.

        Returns
        -------
        display : QuantileCalibrationDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no method ``predict_quantiles``.
        ValueError
            If there are several targets, or a level is not between 0 and 1.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        target = one_target(y, X, f"{cls.__name__}.from_predictions").reshape(-1)
        checked = check_levels(levels)
        quantiles = ask(estimator, "predict_quantiles", X, checked)
        return cls.from_predictions(
            target,
            like_targets(quantiles, target, "predict_quantiles", len(checked)),
            levels=checked,
            sample_weight=sample_weight,
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        quantiles: ArrayLike,
        *,
        levels: Sequence[float] | NDArray[np.float64],
        sample_weight: Any = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the calibration of predicted quantiles.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            The targets.
        quantiles : array-like of shape (n_samples, n_levels)
            The predicted quantiles of each row.
        levels : array-like of shape (n_levels,)
            Their levels, between 0 and 1.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            The weights of rows.
        name : str or None, default=None
            What the legend calls the estimator, to tell several on the same axes apart.
        ax : Axes or None, default=None
            Where to draw; None makes a new figure.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot` for the curve.

        Returns
        -------
        display : QuantileCalibrationDisplay
            The display, drawn.
        """
        pyplot(f"{cls.__name__}.from_predictions")
        y = targets(y_true, name="y_true")
        if y.ndim != 1:
            raise ValueError(f"y_true must be of shape (n_samples,), got {y.shape}.")
        checked = check_levels(levels)
        predicted = like_targets(as_numpy(quantiles), y, "quantiles", len(checked))
        predicted = predicted.astype(np.float64)  # infinite ones are as good as others
        if np.isnan(predicted).any():
            raise ValueError("quantiles must have no NaN.")
        weights = row_weights(sample_weight, y)
        order = np.argsort(checked)
        display = cls(
            levels=checked[order],
            observed=np.average(y[:, None] <= predicted, axis=0, weights=weights)[order],
            n_rows=effective_size(weights),
            name=name,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, name: str | None = None, **kwargs: Any) -> Self:
        """Draw the curve, the diagonal and the band.

        Parameters
        ----------
        ax : Axes or None, default=None
            Where to draw; None makes a new figure. On axes that have a diagonal already, neither
            it nor the band is drawn again.
        name : str or None, default=None
            What the legend calls the estimator. None is the name that is stored.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot` for the curve.

        Returns
        -------
        display : QuantileCalibrationDisplay
            The display, drawn.
        """
        ax = one_panel(f"{type(self).__name__}.plot", ax)
        name = self.name if name is None else name
        self.band_ = None
        if _DIAGONAL not in ax.get_legend_handles_labels()[1]:
            ax.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle=":", label=_DIAGONAL)
            levels = np.linspace(0, 1, 201)
            self.band_ = ax.fill_between(
                levels,
                *band(levels, self.n_rows),
                color="black",
                alpha=0.15,
                linewidth=0,
                label=f"{100 * CONFIDENCE:g} % of shares if calibrated",
            )
        style = {"marker": "o", "markersize": 4, "label": name or "observed", **kwargs}
        (self.line_,) = ax.plot(self.levels, self.observed, **style)
        ax.set(
            xlabel="level of the predicted quantile",
            ylabel="share of targets below it",
            xlim=(0, 1),
            ylim=(0, 1),
            aspect="equal",
        )
        ax.legend(loc="upper left", fontsize="small", frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
