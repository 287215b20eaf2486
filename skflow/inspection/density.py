"""A density in the plane of two features."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_scalar

from skflow.inspection.features import (
    centres,
    check_same_columns,
    chosen_columns,
    feature_names,
    like_frame,
    numbers,
)
from skflow.inspection.figures import one_panel, pyplot
from skflow.inspection.smoothing import kernel_density_on_grid
from skflow.preprocessing import score_samples_in_original_units
from skflow.preprocessing.samples import sample_in_original_units

__all__ = ["DensityDisplay"]

_PLOT_METHODS = ("contourf", "contour", "pcolormesh")


class DensityDisplay:
    r"""The density of two features, with rows of data over it.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters are
    stored as attributes.

    Read more in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    xx0, xx1 : ndarray of shape (grid_resolution, grid_resolution)
        The grid, as :func:`numpy.meshgrid` returns it.
    density : ndarray of shape (grid_resolution, grid_resolution)
        The density there, per unit of the one feature and unit of the other.
    points : array-like of shape (n_points, 2) or None, default=None
        Rows to draw over it.
    bandwidth : ndarray of shape (2,) or None, default=None
        The standard deviations of the kernel that `density` was estimated with, in the units of
        the features; None if it is exact.
    xlabel, ylabel : str or None, default=None
        The names of the features.

    Attributes
    ----------
    surface_ : QuadContourSet or QuadMesh
        What was drawn of the density.
    points_ : PathCollection or None
        The rows over it.
    ax_ : Axes
    figure_ : Figure

    See Also
    --------
    PairDisplay : Several features, data beside samples.
    sklearn.inspection.DecisionBoundaryDisplay : What a classifier makes of two features.

    Notes
    -----
    Of an estimator of two features, the density is ``exp(score_samples)`` and exact.

    Of more, the others have to be integrated out, which no flow can do in closed form. The
    density is estimated from `n_samples` draws of the estimator, with a Gaussian kernel. Its
    bandwidths h are those with the least integrated squared error, estimated by
    cross-validation between two halves of the draws; see `bandwidth` for what came of it. Where
    the density is p, the relative standard error by chance is about
    :math:`1 / \sqrt{4\pi\, h_0 h_1\, n p}`, and what is narrower than the bandwidths is
    flattened: p is off by about
    :math:`\frac12 (h_0^2\, \partial_0^2 p + h_1^2\, \partial_1^2 p)` [1]_. Four times as many
    draws bring both errors down to some 60 %.

    Cost: that of scoring grid_resolution² rows, or of drawing `n_samples`.

    References
    ----------
    .. [1] B. W. Silverman, "Density Estimation for Statistics and Data Analysis", 1986,
       section 4.3.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skflow import RelativeGradientFlow
    >>> from skflow.inspection import DensityDisplay
    >>> X = load_breast_cancer(as_frame=True).data.iloc[:, :4]
    >>> flow = RelativeGradientFlow(max_iter=10, random_state=0).fit(X)
    >>> display = DensityDisplay.from_estimator(
    ...     flow, X, features=["mean radius", "mean texture"], random_state=0
    ... )
    >>> display.density.shape
    (100, 100)
    """

    def __init__(
        self,
        *,
        xx0: NDArray[np.float64],
        xx1: NDArray[np.float64],
        density: NDArray[np.float64],
        points: ArrayLike | None = None,
        bandwidth: NDArray[np.float64] | None = None,
        xlabel: str | None = None,
        ylabel: str | None = None,
    ) -> None:
        self.xx0 = xx0
        self.xx1 = xx1
        self.density = density
        self.points = points
        self.bandwidth = bandwidth
        self.xlabel = xlabel
        self.ylabel = ylabel

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        features: Sequence[int | str] = (0, 1),
        grid_resolution: int = 100,
        n_samples: int = 20_000,
        n_points: int = 500,
        random_state: Any = None,
        plot_method: str = "contourf",
        ax: Any = None,
        scatter_kw: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the density that an estimator gives two features.

        Parameters
        ----------
        estimator : density estimator
            Fitted; anything with ``score_samples``, and with ``sample`` if there are more than
            two features. A Pipeline is drawn in the units of `X`.
        X : array-like of shape (n_samples, n_features)
            Rows, whose range the grid spans and a tenth more on every side.
        features : pair of int or str, default=(0, 1)
            The two features, by position or by name.
        grid_resolution : int, default=100
            The number of points of the grid along each axis.
        n_samples : int, default=20,000
            How many rows to draw from the estimator if there are more than two features.
        n_points : int, default=500
            How many rows of `X`, chosen at random, to draw over the density at most.
        random_state : int, RandomState instance or None, default=None
            Determines the rows and the samples. An estimator whose ``sample`` takes none, as
            that of a GaussianMixture, has its own.
        plot_method : {"contourf", "contour", "pcolormesh"}, default="contourf"
            The method of :class:`matplotlib.axes.Axes` that draws the density.
        ax : Axes or None, default=None
            Where to draw; None makes a new figure.
        scatter_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.scatter` for the rows.
        **kwargs : dict
            Passed to the method that draws the density.

        Returns
        -------
        display : DensityDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no log-densities, or no samples where they are needed.
        ValueError
            If there is no pair of such features.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        check_scalar(grid_resolution, "grid_resolution", Integral, min_val=2)
        check_scalar(n_samples, "n_samples", Integral, min_val=2)
        check_scalar(n_points, "n_points", Integral, min_val=0)
        rows = numbers(X)
        if rows.shape[1] < 2:
            raise ValueError("X has one column, and a density of two features needs two.")
        names = feature_names(X, estimator)
        pair = chosen_columns(features, names)
        if len(pair) != 2:
            raise ValueError(f"features must be two columns, got {features!r}.")
        x0, x1 = (centres(rows[:, column], grid_resolution) for column in pair)
        xx0, xx1 = np.meshgrid(x0, x1)
        bandwidth = None
        if rows.shape[1] == 2:
            grid = np.empty((xx0.size, 2))
            grid[:, pair] = np.column_stack([xx0.ravel(), xx1.ravel()])
            # As a frame if X is one: an estimator may look its columns up by their names.
            log_density = score_samples_in_original_units(estimator, like_frame(X, grid))
            density = np.exp(log_density).reshape(xx0.shape)
        else:
            samples = sample_in_original_units(estimator, n_samples, random_state)
            check_same_columns(rows, samples)
            density, bandwidth = kernel_density_on_grid(samples[:, pair], x0, x1)
        chosen = check_random_state(random_state).permutation(len(rows))[:n_points]
        display = cls(
            xx0=xx0,
            xx1=xx1,
            density=density,
            points=rows[np.ix_(chosen, pair)],
            bandwidth=bandwidth,
            xlabel=names[pair[0]],
            ylabel=names[pair[1]],
        )
        return display.plot(ax=ax, plot_method=plot_method, scatter_kw=scatter_kw, **kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        plot_method: str = "contourf",
        scatter_kw: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the density, and the rows over it.

        Parameters
        ----------
        ax : Axes or None, default=None
            Where to draw; None makes a new figure.
        plot_method : {"contourf", "contour", "pcolormesh"}, default="contourf"
            The method of :class:`matplotlib.axes.Axes` that draws the density.
        scatter_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.scatter` for the rows.
        **kwargs : dict
            Passed to the method that draws the density.

        Returns
        -------
        display : DensityDisplay
            The display, drawn.
        """
        if plot_method not in _PLOT_METHODS:
            raise ValueError(f"plot_method must be one of {_PLOT_METHODS}, got {plot_method!r}.")
        ax = one_panel(f"{type(self).__name__}.plot", ax)
        style: dict[str, Any] = {} if "colors" in kwargs else {"cmap": "Blues"}
        if plot_method != "pcolormesh":
            style["levels"] = 10
        draw_surface = getattr(ax, plot_method)
        self.surface_ = draw_surface(self.xx0, self.xx1, self.density, **{**style, **kwargs})
        self.points_ = None
        if self.points is not None and len(np.asarray(self.points)):
            x, y = np.asarray(self.points).T
            style = {"s": 6, "color": "black", "alpha": 0.6, "linewidths": 0}
            self.points_ = ax.scatter(x, y, **{**style, **(scatter_kw or {})})
        ax.set(xlabel=self.xlabel, ylabel=self.ylabel)
        self.ax_, self.figure_ = ax, ax.figure
        return self
