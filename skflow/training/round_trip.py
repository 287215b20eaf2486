"""Whether rows that go to their latents and back are the same."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from skflow.exceptions import InversionError
from skflow.flow.conditioning import MOST_FACTORISED, extreme_singular_values
from skflow.flow.network import Flow
from skflow.training.rows import Rows

__all__ = ["round_trip_error", "singular_values_of", "warn_of_round_trip"]

_MOST_ROWS = 64
_MOST_ERROR = 1e-6


@torch.no_grad()
def round_trip_error(flow: Flow, rows: Rows) -> float | None:
    """Return the largest error of some rows that are mapped to latents and back, in float64.

    Parameters
    ----------
    flow : Flow
        The whole flow.
    rows : Rows
        As they came. The first 64 are mapped.

    Returns
    -------
    error : float or None
        Relative to the size of the entry, or to the standard deviation of its column among these
        rows if that is larger. Infinite if no inverse was found. None if the inverse would take
        factorisations of more than 2,048 columns, or if there is none.
    """
    layers = flow.relative_layers
    if any(layer.weight.shape[-1] > MOST_FACTORISED for layer in layers):
        return None
    which = torch.arange(min(len(rows), _MOST_ROWS))
    x = rows.data[which if rows.which is None else rows.which[which]]
    x = x.to(next(flow.buffers()).device).double()
    deviation = x.std(0, correction=0)
    scale = torch.maximum(x.abs(), torch.where(deviation > 0, deviation, 1))
    try:
        back = flow.inverse(flow(x))
    except InversionError:
        return math.inf
    except NotImplementedError:
        return None
    return float(((back - x).abs() / scale).nan_to_num(math.inf).max())


def singular_values_of(flow: Flow) -> Tensor:
    """Return the extreme singular values of the matrices of all dense layers.

    Parameters
    ----------
    flow : Flow
        The whole flow.

    Returns
    -------
    values : Tensor of shape (L, 2)
        Float64: the largest and the smallest of each.
    """
    layers = [layer for layer in flow.relative_layers if layer.has_whole_matrices]
    values = [extreme_singular_values(layer).cpu() for layer in layers]
    return torch.cat(values) if values else torch.empty(0, 2, dtype=torch.float64)


def warn_of_round_trip(error: float | None, singular_values: Tensor, *, stacklevel: int) -> None:
    """Warn if rows do not come back.

    Parameters
    ----------
    error : float or None
        What :func:`round_trip_error` returned.
    singular_values : Tensor of shape (L, 2)
        Those of the dense layers.
    stacklevel : int
        How many calls lie between this one and the user's.
    """
    if error is None or error <= _MOST_ERROR:
        return
    said = ""
    if len(singular_values):
        condition = float((singular_values[:, 0] / singular_values[:, 1]).max())
        said = f" The condition number of a dense layer is {condition:.1e}."
    warnings.warn(
        f"Rows that are mapped to latents and back, in float64, differ by {error:.1e} of their "
        f"size: samples are as wrong.{said} If that is above 1e9, lower learning_rate or n_layers "
        "and look for columns that nearly follow from others. If not, look at the inverses of "
        "bijections of your own.",
        RuntimeWarning,
        stacklevel=stacklevel + 1,
    )
