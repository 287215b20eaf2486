"""Latents against the distribution that they should follow."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, check_scalar

from skflow.inspection.figures import (
    bins,
    legend_above,
    legend_inside,
    p_value_label,
    panels,
    pyplot,
)
from skflow.inspection.marginals import kolmogorov_smirnov, marginals

__all__ = ["LatentDisplay"]

_N_COLUMNS = 4
_PANEL = (2.4, 2.2)
_N_GRID = 200

# What a panel spans, of the base distribution and of the latents.
_CONFIDENCE = 0.998


class LatentDisplay:
    """Latents against the base distribution: a histogram for each, with the density over it.

    Above each is the statistic of a Kolmogorov-Smirnov test, the largest difference between the
    two distribution functions, and its p-value.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters are
    stored as attributes.

    Read more in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    latents : ndarray of shape (n_samples, n_panels)
        The latents that are shown.
    indices : ndarray of shape (n_panels,)
        Which these are, among all.
    grid : ndarray of shape (n_panels, n_grid)
        Where the density of the base distribution is drawn.
    base_density : ndarray of shape (n_panels, n_grid)
        That density.
    statistic, pvalue : ndarray of shape (n_features,)
        Of the Kolmogorov-Smirnov tests of all latents, shown or not.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (n_panels,)
    bounding_ax_ : Axes or None
        The axes that were divided into panels, if one was passed.
    figure_ : Figure

    See Also
    --------
    scipy.stats.kstest : The test.

    Notes
    -----
    Pass rows that the flow was not fitted to. Those that it was fitted to follow the base
    distribution more closely than new ones do, and their p-values are too high. Of many latents
    that follow it, one in twenty has a p-value below 0.05; and of enough rows, hardly any
    model passes: the statistic says how large the difference is.

    Each latent is tested by itself. That they are independent of each other, as most base
    distributions have it, is not tested.

    The distribution of each latent is known exactly for the base distributions that come with
    skflow. Of any other, 20,000 rows are drawn: the density is a kernel estimate from them, and
    the test is one of two samples, which accounts for the chance in the draws. They
    contribute less than 0.01 to the statistic in 19 of 20 cases.

    Cost: that of :meth:`!transform`, and O(N log N) for each latent.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import train_test_split
    >>> from skflow import RelativeGradientFlow
    >>> from skflow.inspection import LatentDisplay
    >>> X = load_breast_cancer().data[:, :4]
    >>> X_train, X_test = train_test_split(X, random_state=0)
    >>> flow = RelativeGradientFlow(max_iter=10, random_state=0).fit(X_train)
    >>> display = LatentDisplay.from_estimator(flow, X_test)
    >>> display.statistic.shape
    (4,)
    """

    def __init__(
        self,
        *,
        latents: NDArray[Any],
        indices: NDArray[np.intp],
        grid: NDArray[np.float64],
        base_density: NDArray[np.float64],
        statistic: NDArray[np.float64],
        pvalue: NDArray[np.float64],
    ) -> None:
        self.latents = latents
        self.indices = indices
        self.grid = grid
        self.base_density = base_density
        self.statistic = statistic
        self.pvalue = pvalue

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        max_latents: int = 12,
        random_state: Any = None,
        ax: Any = None,
        hist_kw: dict[str, Any] | None = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw what a flow makes of rows against what it should make of them.

        Parameters
        ----------
        estimator : RelativeGradientFlow
            Fitted.
        X : array-like of shape (n_samples, n_features)
            Rows, best those that it was not fitted to.
        max_latents : int, default=12
            How many latents to show at most. If there are more, those with the highest
            statistics are shown, the worst first.
        random_state : int, RandomState instance or None, default=None
            Determines the draws from a base distribution that does not come with skflow.
        ax : Axes, array-like of Axes, or None, default=None
            Axes to divide, one for each panel to draw on, or None for a new figure.
        hist_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.hist`.
        line_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.plot` for the density.

        Returns
        -------
        display : LatentDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator is no flow.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        check_scalar(max_latents, "max_latents", Integral, min_val=1)
        check_is_fitted(estimator)
        if not hasattr(estimator, "flow_"):
            raise TypeError(
                f"{cls.__name__} draws the latents of a RelativeGradientFlow, got {estimator!r}. "
                "Pass the flow itself: of a Pipeline the last step, with rows that the others "
                "have transformed, of a search best_estimator_."
            )
        latents = np.asarray(estimator.transform(X), dtype=np.float64)
        n_features = latents.shape[1]
        base = marginals(estimator.flow_.base, n_features, random_state)
        tests = [kolmogorov_smirnov(z, each) for z, each in zip(latents.T, base, strict=True)]
        statistic, pvalue = np.array(tests).T
        indices = np.arange(n_features)
        if n_features > max_latents:
            indices = np.argsort(-statistic, kind="stable")[:max_latents]
        grid = np.array([_grid(latents[:, i], base[i]) for i in indices])
        display = cls(
            latents=latents[:, indices],
            indices=indices,
            grid=grid,
            base_density=np.array([base[i].pdf(z) for i, z in zip(indices, grid, strict=True)]),
            statistic=statistic,
            pvalue=pvalue,
        )
        return display.plot(ax, hist_kw=hist_kw, line_kw=line_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        hist_kw: dict[str, Any] | None = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : Axes, array-like of Axes, or None, default=None
            Axes to divide, one for each panel to draw on, or None for a new figure.
        hist_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.hist`.
        line_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.plot` for the density.

        Returns
        -------
        display : LatentDisplay
            The display, drawn.
        """
        n_panels = len(self.indices)
        self.figure_, self.bounding_ax_, self.axes_ = panels(
            f"{type(self).__name__}.plot", ax, n_panels, min(n_panels, _N_COLUMNS), _PANEL
        )
        line = {"color": "C1", "label": "base distribution", **(line_kw or {})}
        for axis, i, latents, grid, density in zip(
            self.axes_, self.indices, self.latents.T, self.grid, self.base_density, strict=True
        ):
            style = {"bins": bins(len(latents)), "density": True, "color": "C0", "alpha": 0.5}
            style |= {"range": (grid[0], grid[-1]), "label": "latents", **(hist_kw or {})}
            axis.hist(latents, **style)
            axis.plot(grid, density, **line)
            axis.set_title(
                f"latent {i}\nKS {self.statistic[i]:.3f}, {p_value_label(self.pvalue[i])}",
                fontsize="medium",
            )
            axis.set(yticks=[], xlim=(grid[0], grid[-1]))
            axis.locator_params(axis="x", nbins=5)
        if ax is None:
            n_latents = len(self.statistic)
            shown = f"the worst {n_panels} of {n_latents} latents"
            title = shown if n_panels < n_latents else None
            legend_above(self.figure_, self.axes_[0], title=title)
        else:
            legend_inside(self.axes_[0])
        return self


def _grid(latents: NDArray[Any], base: Any) -> NDArray[np.float64]:
    """Return points over all but the outermost of the base distribution and of the latents."""
    tail = 0.5 * (1 - _CONFIDENCE)
    base_low, base_high = base.interval(_CONFIDENCE)
    low, high = np.quantile(latents, [tail, 1 - tail])
    return np.linspace(min(low, base_low), max(high, base_high), _N_GRID)
