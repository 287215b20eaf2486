"""Matplotlib, imported where it is needed, and figures of several panels."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "bins",
    "legend_above",
    "legend_inside",
    "one_panel",
    "p_value_label",
    "panels",
    "pyplot",
]


_FEWEST_BINS, _MOST_BINS = 15, 40


def pyplot(caller: str) -> ModuleType:
    """Import :mod:`!matplotlib.pyplot`.

    Parameters
    ----------
    caller : str
        What needs matplotlib, for the message.

    Raises
    ------
    ImportError
        If it is not there; the message names the extra that brings it.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib. Install it, or skflow with its extra 'plot'."
        ) from error
    return plt


def one_panel(caller: str, ax: Any) -> Any:
    """Return the axes of a display of one panel: those that were passed, or new ones.

    Parameters
    ----------
    caller : str
        What needs matplotlib, for the message.
    ax : Axes or None
        What the user passed as axes; None makes a new figure.

    Raises
    ------
    TypeError
        If it is no Axes of matplotlib.
    """
    plt = pyplot(caller)
    if ax is None:
        return plt.subplots()[1]
    _check_axes(ax)
    return ax


def panels(
    caller: str, ax: Any, n_panels: int, n_columns: int, panel_size: tuple[float, float]
) -> tuple[Any, Any, NDArray[Any]]:
    """Make the axes of a display of several panels, or take those that were passed.

    Parameters
    ----------
    caller : str
        What needs matplotlib, for the message.
    ax : Axes, array-like of Axes, or None
        Axes to divide, axes to draw on, or None for a new figure.
    n_panels : int
        The number of panels.
    n_columns : int
        The number of panels beside each other.
    panel_size : (float, float)
        Width and height of a panel of a new figure, in inches.

    Returns
    -------
    figure : Figure
        The figure.
    bounding_ax : Axes or None
        Those that were divided.
    axes : ndarray of Axes of shape (n_panels,)
        One for each panel.
    """
    plt = pyplot(caller)
    n_rows = -(-n_panels // n_columns)
    bounding_ax = None
    if ax is None:
        size = (n_columns * panel_size[0], n_rows * panel_size[1])
        figure = plt.figure(figsize=size, layout="constrained")
        grid = figure.add_gridspec(n_rows, n_columns)
    elif isinstance(ax, plt.Axes):
        place = ax.get_subplotspec()
        if place is None or not ax.axison:
            raise ValueError(
                "ax cannot be divided into panels: it is no subplot, or it was divided before. "
                f"Pass ax=None or {n_panels} axes, such as the axes_ of a display."
            )
        ax.set_axis_off()
        bounding_ax, figure = ax, ax.figure
        grid = place.subgridspec(n_rows, n_columns)
    else:
        axes = np.asarray(ax, dtype=object).ravel()
        for each in axes:
            _check_axes(each)
        if len(axes) != n_panels:
            raise ValueError(f"ax must hold {n_panels} axes, one for each panel, got {len(axes)}.")
        return axes[0].figure, None, axes
    axes = np.empty(n_panels, dtype=object)
    for k in range(n_panels):
        axes[k] = figure.add_subplot(grid[k])
    return figure, bounding_ax, axes


def _check_axes(ax: Any) -> None:
    """Refuse what nothing can be drawn on."""
    if not (hasattr(ax, "plot") and hasattr(ax, "contourf")):
        raise TypeError(f"ax must be an Axes of matplotlib, or None for a new figure, got {ax!r}.")


def bins(n_values: int) -> int:
    """Return how many bins a histogram of so many values has: their root, within reason.

    Parameters
    ----------
    n_values : int
        The number of values.
    """
    return int(np.clip(np.sqrt(n_values), _FEWEST_BINS, _MOST_BINS))


def legend_above(figure: Any, ax: Any, title: str | None = None) -> None:
    """Put a legend of what `ax` shows above all panels of a figure with constrained layout.

    Parameters
    ----------
    figure : Figure
        Where to draw.
    ax : Axes
        What is drawn on.
    title : str or None, default=None
        The title of the legend.
    """
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        title=title,
        loc="outside upper center",
        ncols=len(labels),
        frameon=False,
    )


def legend_inside(ax: Any) -> None:
    """Put a legend over the histogram in `ax`, with room made for it.

    Parameters
    ----------
    ax : Axes
        What is drawn on.
    """
    ax.set_ylim(0, 1.5 * ax.get_ylim()[1])
    ax.legend(loc="upper center", fontsize="small", frameon=False)


def p_value_label(pvalue: float) -> str:
    """Return how a title shows a p-value.

    Parameters
    ----------
    pvalue : float
        The p-value.
    """
    return "p < 0.001" if pvalue < 0.001 else f"p = {pvalue:.3f}"
