"""A conditional density along one feature."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_scalar

from skflow._sklearn.predictive import ask, check_levels, like_targets, one_target
from skflow._sklearn.validation import take_rows
from skflow.inspection.features import centres, chosen_columns, feature_names
from skflow.inspection.figures import one_panel, pyplot
from skflow.inspection.profiles import profile

__all__ = ["ConditionalDensityDisplay"]


class ConditionalDensityDisplay:
    r"""The density of a target given one feature, with quantiles and rows of data over it.

    Each vertical strip is the density p(y | x) at one value of the feature, and all other features
    are at their medians.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters are
    stored as attributes.

    Read more in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    feature_values : ndarray of shape (grid_resolution,)
        The values of the feature.
    target_values : ndarray of shape (grid_resolution,)
        The values of the target.
    density : ndarray of shape (grid_resolution, grid_resolution)
        The density of each of these targets, in rows, at each value of the feature, in columns;
        per unit of the target.
    levels : ndarray of shape (n_levels,) or None, default=None
        The levels of the quantiles.
    quantiles : ndarray of shape (n_levels, grid_resolution) or None, default=None
        These quantiles at each value of the feature.
    points : array-like of shape (n_points, 2) or None, default=None
        The feature and the target of rows to draw over it.
    xlabel, ylabel : str or None, default=None
        The names of the feature and of the target.

    Attributes
    ----------
    surface_ : QuadMesh
        What was drawn of the density.
    lines_ : list of Line2D
        The quantiles.
    points_ : PathCollection or None
        The rows over it.
    ax_ : Axes
    figure_ : Figure

    See Also
    --------
    QuantileCalibrationDisplay : Whether the quantiles hold their share of rows.
    sklearn.inspection.PartialDependenceDisplay : The mean of predictions over the other features.

    Notes
    -----
    If there are other features, rows over the density differ in these, too, and so they scatter
    more widely than the density at the medians. Of a feature that is no number, the most frequent
    value takes the place of the median, and missing values are left out.

    Colours stand for the root of the density, so that faint modes are seen, too. The darkest is
    that of the 90 % quantile of the strips' largest densities: a few narrow strips would make all
    others pale otherwise. Pass a ``norm``, ``vmin`` or ``vmax`` for another scale.

    Cost: that of scoring grid_resolution² rows.

    Examples
    --------
    A normal distribution whose spread grows along x:

    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from skflow.inspection import ConditionalDensityDisplay
    >>> class Normal:
    ...     def score_samples(self, X, y):
    ...         return norm.logpdf(y, loc=X[:, 0], scale=X[:, 0])
    ...
    ...     def predict_quantiles(self, X, q):
    ...         return norm.ppf(q, loc=X[:, [0]], scale=X[:, [0]])
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(1, 3, size=(200, 1))
    >>> y = X[:, 0] * (1 + rng.normal(size=200))
    >>> display = ConditionalDensityDisplay.from_estimator(Normal(), X, y)
    >>> display.density.shape, display.quantiles.shape
    ((200, 200), (3, 200))
    """

    def __init__(
        self,
        *,
        feature_values: NDArray[np.float64],
        target_values: NDArray[np.float64],
        density: NDArray[np.float64],
        levels: NDArray[np.float64] | None = None,
        quantiles: NDArray[np.float64] | None = None,
        points: ArrayLike | None = None,
        xlabel: str | None = None,
        ylabel: str | None = None,
    ) -> None:
        self.feature_values = feature_values
        self.target_values = target_values
        self.density = density
        self.levels = levels
        self.quantiles = quantiles
        self.points = points
        self.xlabel = xlabel
        self.ylabel = ylabel

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        feature: int | str = 0,
        levels: Sequence[float] | None = (0.05, 0.5, 0.95),
        grid_resolution: int = 200,
        n_points: int = 500,
        random_state: Any = None,
        ax: Any = None,
        scatter_kw: dict[str, Any] | None = None,
        line_kw: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the density that a regressor gives a target along one feature.

        Parameters
        ----------
        estimator : regressor
            Fitted, with a method ``score_samples(X, y)`` that gives log p(y | x), and
            ``predict_quantiles(X, q)`` unless `levels` is None; or a search for one, or a Pipeline
            that ends in one.
        X : array-like of shape (n_samples, n_features)
            Rows, whose range of the feature is shown.
        y : array-like of shape (n_samples,) or (n_samples, 1)
            Their targets, whose range is shown and a tenth more on both sides.
        feature : int or str, default=0
            The feature, by position or by name.
        levels : array-like of shape (n_levels,) or None, default=(0.05, 0.5, 0.95)
            The quantiles to draw; None draws none.
        grid_resolution : int, default=200
            The number of points of the grid along each axis.
        n_points : int, default=500
            How many rows, chosen at random, to draw over the density at most.
        random_state : int, RandomState instance or None, default=None
            Determines the rows.
        ax : Axes or None, default=None
            Where to draw; None makes a new figure.
        scatter_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.scatter` for the rows.
        line_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.plot` for the quantiles.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.pcolormesh`.

        Returns
        -------
        display : ConditionalDensityDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator lacks one of the methods.
        ValueError
            If there are several targets, or the feature is none or holds no numbers.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        check_scalar(grid_resolution, "grid_resolution", Integral, min_val=2)
        check_scalar(n_points, "n_points", Integral, min_val=0)
        checked_levels = None if levels is None else check_levels(levels)
        target = one_target(y, X).reshape(-1)
        names = feature_names(X, estimator)
        (column,) = chosen_columns([feature], names, "feature")
        of_rows, feature_values, rows = profile(X, column, grid_resolution)
        target_values = centres(target, grid_resolution)
        # In the shape that y has: one column of it may have been given as (n_samples, 1).
        strips = np.tile(target_values, grid_resolution).reshape(-1, *np.shape(y)[1:])
        repeated = take_rows(rows, np.repeat(np.arange(grid_resolution), grid_resolution))
        log_density = ask(estimator, "score_samples", repeated, strips)
        log_density = like_targets(log_density, strips, "score_samples")
        quantiles = None
        if checked_levels is not None:
            predicted = ask(estimator, "predict_quantiles", rows, checked_levels)
            quantiles = like_targets(
                predicted, target_values, "predict_quantiles", len(checked_levels)
            ).T
        chosen = check_random_state(random_state).permutation(len(target))[:n_points]
        display = cls(
            feature_values=feature_values,
            target_values=target_values,
            density=np.exp(log_density).reshape(grid_resolution, grid_resolution).T,
            levels=checked_levels,
            quantiles=quantiles,
            points=np.column_stack([of_rows, target])[chosen],
            xlabel=names[column],
            ylabel=str(getattr(y, "name", None) or "y"),
        )
        return display.plot(ax, scatter_kw=scatter_kw, line_kw=line_kw, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        scatter_kw: dict[str, Any] | None = None,
        line_kw: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the density, the quantiles, and the rows over it.

        Parameters
        ----------
        ax : Axes or None, default=None
            Where to draw; None makes a new figure.
        scatter_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.scatter` for the rows.
        line_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.plot` for the quantiles.
        **kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.pcolormesh`.

        Returns
        -------
        display : ConditionalDensityDisplay
            The display, drawn.
        """
        ax = one_panel(f"{type(self).__name__}.plot", ax)
        from matplotlib.colors import PowerNorm

        style: dict[str, Any] = {"cmap": "Blues", "shading": "nearest", "rasterized": True}
        if not {"norm", "vmin", "vmax"} & set(kwargs):
            style["norm"] = PowerNorm(0.5, vmin=0, vmax=self._darkest())
        self.surface_ = ax.pcolormesh(
            self.feature_values, self.target_values, self.density, **{**style, **kwargs}
        )
        limits = (*self.feature_values[[0, -1]], *self.target_values[[0, -1]])
        self.points_ = None
        if self.points is not None and len(np.asarray(self.points)):
            x, y = np.asarray(self.points).T
            style = {"s": 6, "color": "black", "alpha": 0.5, "linewidths": 0}
            self.points_ = ax.scatter(x, y, **{**style, **(scatter_kw or {})})
        self.lines_ = []
        if self.levels is not None and self.quantiles is not None:
            others = ", ".join(f"{level:g}" for level in self.levels if level != 0.5)
            labels = {True: "median", False: f"quantiles {others}"}
            for level, quantile in zip(self.levels, self.quantiles, strict=True):
                is_median = bool(level == 0.5)
                style = {"color": "C1", "linewidth": 1.5, "linestyle": "-" if is_median else "--"}
                style |= {"label": labels.pop(is_median, "_nolegend_"), **(line_kw or {})}
                self.lines_ += ax.plot(self.feature_values, quantile, **style)
            ax.legend(loc="best", frameon=False)
        ax.axis(limits)
        ax.set(xlabel=self.xlabel, ylabel=self.ylabel)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _darkest(self) -> float:
        """Return the density that the darkest colour stands for."""
        largest = self.density.max(axis=0)
        return float(np.quantile(largest, 0.9)) or 1.0  # which is 0 if the grid misses it all
