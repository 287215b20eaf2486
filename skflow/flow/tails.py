"""A map that brings values far outside the bulk of their column nearer, by a logarithm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skflow.flow.arsinh import long_arsinh, long_sinh
from skflow.flow.bijection import Bijection
from skflow.flow.weighted import quantiles

__all__ = ["LogTails"]

# From the median to these quantiles, as many standard deviations as for a normal distribution
# make the unit on either side; of the outermost quantile that differs from the median.
_LEVELS = (0.05, 0.01, 0.001, 0.0)

# So many units from the median, the bulk ends.
_BULK = 5.0

# So many units from the end of the bulk, the straight line begins.
LONGEST = 1e5

_MOST_ENTRIES = 2**22


class LogTails(Bijection):
    r"""Leaves the bulk of each column as it is, and bends the tails outside of it.

    Above the upper end `b` of the bulk, with a unit `s`,

    .. math::
        y = b + s \operatorname{arsinh}\frac{x - b}{s},

    and likewise below. Close to the bulk this is the identity. Far out it is a logarithm: a value
    of a thousand units is some eight away, so that few rows move neither the scale of a column
    nor what a flow learns of the others, and rows unlike any before have a low density that is no
    absurd one. Beyond 100,000 units it is a straight line, so that the inverse does not overflow.

    Parameters
    ----------
    n_features : int
        The number D of columns.

    Attributes
    ----------
    ends : Tensor of shape (2, D)
        Where the bulk of each column begins and ends, in float64. At first it has no end.
    units : Tensor of shape (2, D)
        The unit on either side, in float64.

    Notes
    -----
    Computed in float64. Cost: O(N·D).

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import LogTails
    >>> x = torch.linspace(-2, 2, 101, dtype=torch.float64).unsqueeze(1)
    >>> tails = LogTails.from_rows(x)
    >>> torch.equal(tails(x), x)
    True
    >>> tails(torch.tensor([[1e4]])).round(decimals=1)
    tensor([[16.2000]])
    """

    ends: Tensor
    units: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.n_features = n_features
        ends = torch.tensor([[-torch.inf], [torch.inf]], dtype=torch.float64)
        self.register_buffer("ends", ends.repeat(1, n_features))
        self.register_buffer("units", torch.ones(2, n_features, dtype=torch.float64))

    @classmethod
    @torch.no_grad()
    def from_rows(cls, x: Tensor, weights: Tensor | None = None) -> LogTails:
        """Find the bulk of the columns of a sample.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        weights : Tensor of shape (N,) or None, default=None
            How many rows each row stands for; by default one.
        """
        made = cls(x.shape[1])
        n_columns = max(1, _MOST_ENTRIES // len(x))
        parts = [_bulk(part.double(), weights) for part in x.split(n_columns, dim=1)]
        made.ends, made.units = (torch.cat(tensors, 1) for tensors in zip(*parts, strict=True))
        return made

    def leave(self, columns: Tensor) -> None:
        """Let some columns have no tails.

        Parameters
        ----------
        columns : Tensor of shape (D,), of bools
            Which ones.
        """
        self.ends[0, columns], self.ends[1, columns] = -torch.inf, torch.inf
        self.units[:, columns] = 1

    def arguments(self) -> dict[str, Any]:  # noqa: D102
        return {"n_features": self.n_features}

    def map_entries(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map `x`, and return the logarithm of the slope at each of its entries.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.

        Returns
        -------
        y, log_slopes : Tensor of shape (N, D)
            In float64. The sum of the latter over the columns is the log-determinant.
        """
        inner, unit, distance = self._distances(x)
        bent, log_slopes = long_arsinh(distance, LONGEST)
        # Where a row lies within, as nearly all do, it stays bit for bit what it was.
        return inner + unit * bent, log_slopes

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        y, log_slopes = self.map_entries(x)
        return y.to(x.dtype), log_slopes.sum(-1).to(x.dtype)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        inner, unit, bent = self._distances(y)
        distance, log_slopes = long_sinh(bent, LONGEST)
        return (inner + unit * distance).to(y.dtype), log_slopes.sum(-1).to(y.dtype)

    def _distances(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the nearest values in the bulk, the units, and how many of them lie between."""
        exact = x.double().contiguous()
        inner = exact.clamp(self.ends[0], self.ends[1])
        unit = torch.where(exact < self.ends[0], self.units[0], self.units[1])
        return inner, unit, (exact - inner) / unit


def _bulk(x: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the ends of the bulk of each column, and its units, both of shape (2, M)."""
    levels = torch.tensor([0.5, *_LEVELS, *(1 - level for level in _LEVELS)]).to(x)
    found = quantiles(x, levels, weights)
    normal = torch.special.ndtri(1 - levels[1 : 1 + len(_LEVELS)].clamp_min(1e-4)).unsqueeze(1)
    median, low, high = found[0], found[1 : 1 + len(_LEVELS)], found[1 + len(_LEVELS) :]
    unit = torch.stack([_unit((median - low) / normal), _unit((high - median) / normal)])
    # A side on which nothing lies is as wide as the other; a constant column has no tails.
    unit = torch.where(unit > 0, unit, unit.flip(0))
    unit = torch.where((unit > 0) & unit.isfinite(), unit, torch.inf)
    signs = x.new_tensor([[-1.0], [1.0]])
    ends = median + signs * _BULK * unit
    return ends, torch.where(unit.isfinite(), unit, 1)


def _unit(candidates: Tensor) -> Tensor:
    """Return the first of the rows that is positive in each column."""
    first = (candidates > 0).to(torch.int8).argmax(0)
    return candidates.gather(0, first.unsqueeze(0)).squeeze(0)
