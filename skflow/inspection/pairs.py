"""Data beside samples, feature by feature."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_scalar

from skflow.inspection.features import (
    check_same_columns,
    chosen_columns,
    feature_names,
    limits,
    numbers,
)
from skflow.inspection.figures import bins, legend_above, legend_inside, panels, pyplot
from skflow.preprocessing.samples import sample_in_original_units

__all__ = ["PairDisplay"]

_MOST_FEATURES = 5
_PANEL = (1.8, 1.8)
_LABEL_WIDTH = 20


class PairDisplay:
    """Data beside samples of a density: a matrix of panels, one for each pair of features.

    Histograms of both are on the diagonal. Below it are the rows of the data, above it the
    samples: where a fit is good, one triangle is the other's mirror image.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters are
    stored as attributes.

    Read more in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    data : ndarray of shape (n_points, n_features)
        Rows of the data, with the features that are shown.
    samples : ndarray of shape (n_points, n_features)
        As many samples, with the same features.
    names : list of str
        Of these features.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (n_features, n_features)
    bounding_ax_ : Axes or None
        The axes that were divided into panels, if one was passed.
    figure_ : Figure

    See Also
    --------
    DensityDisplay : The density of two features.

    Notes
    -----
    An axis spans the range of the data and that of the central 99 % of the samples. A few
    samples may thus lie beyond the panels.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skflow import RelativeGradientFlow
    >>> from skflow.inspection import PairDisplay
    >>> X = load_breast_cancer(as_frame=True).data.iloc[:, :4]
    >>> flow = RelativeGradientFlow(max_iter=10, random_state=0).fit(X)
    >>> display = PairDisplay.from_estimator(flow, X, random_state=0)
    >>> display.axes_.shape
    (4, 4)
    """

    def __init__(self, *, data: NDArray[Any], samples: NDArray[Any], names: Sequence[str]) -> None:
        self.data = data
        self.samples = samples
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        features: Sequence[int | str] | None = None,
        n_points: int = 1000,
        random_state: Any = None,
        ax: Any = None,
        hist_kw: dict[str, Any] | None = None,
        scatter_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw data beside samples of an estimator.

        Parameters
        ----------
        estimator : density estimator
            Fitted; anything with ``sample``, or a Pipeline that ends in it and goes back.
        X : array-like of shape (n_samples, n_features)
            The rows.
        features : sequence of int or str, or None, default=None
            The features to show, by position or by name. None is the first five.
        n_points : int, default=1000
            How many rows of `X`, chosen at random, to show at most, and as many samples.
        random_state : int, RandomState instance or None, default=None
            Determines the rows and the samples. An estimator whose ``sample`` takes none, as
            that of a GaussianMixture, has its own.
        ax : Axes, array-like of Axes, or None, default=None
            Axes to divide, one for each panel to draw on, or None for a new figure.
        hist_kw, scatter_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.hist` and to
            :meth:`matplotlib.axes.Axes.scatter`, for data and samples alike.

        Returns
        -------
        display : PairDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator cannot sample.
        ValueError
            If there are no such features.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        check_scalar(n_points, "n_points", Integral, min_val=1)
        rows = numbers(X)
        names = feature_names(X, estimator)
        n_features = rows.shape[1]
        if features is None:
            features = range(min(_MOST_FEATURES, n_features))
        columns = chosen_columns(features, names)
        n_points = min(n_points, len(rows))
        samples = sample_in_original_units(estimator, n_points, random_state)
        check_same_columns(rows, samples)
        chosen = check_random_state(random_state).permutation(len(rows))[:n_points]
        display = cls(
            data=rows[np.ix_(chosen, columns)],
            samples=samples[:, columns],
            names=[names[column] for column in columns],
        )
        return display.plot(ax, hist_kw=hist_kw, scatter_kw=scatter_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        hist_kw: dict[str, Any] | None = None,
        scatter_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the matrix of panels.

        Parameters
        ----------
        ax : Axes, array-like of Axes, or None, default=None
            Axes to divide, one for each panel to draw on, or None for a new figure.
        hist_kw, scatter_kw : dict or None, default=None
            Passed to :meth:`matplotlib.axes.Axes.hist` and to
            :meth:`matplotlib.axes.Axes.scatter`, for data and samples alike.

        Returns
        -------
        display : PairDisplay
            The display, drawn.
        """
        n = len(self.names)
        self.figure_, self.bounding_ax_, axes = panels(
            f"{type(self).__name__}.plot", ax, n * n, n, _PANEL
        )
        self.axes_ = axes.reshape(n, n)
        ranges = [_range(*values) for values in zip(self.data.T, self.samples.T, strict=True)]
        filled = {"label": "data", "color": "C0", "alpha": 0.5}
        outline = {"label": "samples", "color": "C1", "histtype": "step", "linewidth": 1.5}
        histogram = {"bins": bins(len(self.data)), "density": True, **(hist_kw or {})}
        dots = {"s": 4, "alpha": 0.5, "linewidths": 0}
        for (i, j), axis in np.ndenumerate(self.axes_):
            if i == j:
                axis.hist(self.data[:, i], **{**filled, "range": ranges[i], **histogram})
                axis.hist(self.samples[:, i], **{**outline, "range": ranges[i], **histogram})
                axis.set_yticks([])
            else:
                values, color = (self.data, "C0") if i > j else (self.samples, "C1")
                style = {"color": color, **dots, **(scatter_kw or {})}
                axis.scatter(values[:, j], values[:, i], **style)
                axis.set_ylim(ranges[i])
            axis.set_xlim(ranges[j])
            self._label(axis, i, j)
        self.figure_.align_labels(axes)
        if ax is None:
            legend_above(self.figure_, self.axes_[0, 0])
        else:
            legend_inside(self.axes_[0, 0])
        return self

    def _label(self, axis: Any, i: int, j: int) -> None:
        last = len(self.names) - 1
        axis.locator_params(axis="x", nbins=3)
        if i != j:
            axis.locator_params(axis="y", nbins=3)
        if i == last:
            axis.set_xlabel(textwrap.fill(self.names[j], _LABEL_WIDTH))
        else:
            axis.tick_params(axis="x", labelbottom=False)
        if j == 0:
            axis.set_ylabel(textwrap.fill(self.names[i], _LABEL_WIDTH))
        else:
            axis.tick_params(axis="y", labelleft=False)


def _range(data: NDArray[Any], samples: NDArray[Any]) -> tuple[float, float]:
    """Return the range of an axis, which a few samples far out do not stretch."""
    central = np.quantile(samples, [0.005, 0.995])
    return limits(np.concatenate([data, central]), margin=0.05)
