r"""Monotone rational-quadratic splines, and the learned elementwise bijection made of them.

A spline has K bins between K + 1 knots :math:`(x_k, y_k)`, with a slope :math:`d_k` at each, and
goes on as a straight line on either side. In a bin of width `w` and height `h`, with
:math:`\xi = (x - x_k) / w` and :math:`s = h / w`,

.. math::
    y = y_k + h\, \frac{s \xi^2 + d_k\, \xi (1 - \xi)}{s + (d_k + d_{k+1} - 2 s)\, \xi (1 - \xi)},

which increases, has a continuous derivative and inverts in closed form. Equations (4) to (8) of
C. Durkan, A. Bekasov, I. Murray and G. Papamakarios, "Neural spline flows", NeurIPS 2019, after
J. A. Gregory and R. Delbourgo, 1982.

Splines are held in tables of shape (A, 3, M, K + 1): for each of M columns the knots' `x`, `y` and
slopes. A is 1 if all rows go through the same splines, or the number of rows if each has its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skflow.flow.bijection import Bijection, Pullback, add_gradient
from skflow.flow.tracing import is_traced
from skflow.flow.weighted import quantiles

__all__ = [
    "ElementwiseSpline",
    "evaluate",
    "evaluate_and_pullback",
    "evaluate_inverse",
    "table_and_pullback",
]

# Of a margin's box, the least share that a bin takes: margins may be piled up.
_LEAST_SHARE = 1e-4
_LEAST_SLOPE = 1e-3

# An identity's box.
_HALF_BOX = 4.0

_MOST_SORTED = 2**22

# How many numbers of the parameters' precision lie within a bin of a constant column.
_LEAST_STEPS = 4

# How many rows of a sample lie beyond either end of the box that is made for it.
_ROWS_BEYOND = 10

# What softplus needs for a slope of 1.
_UNIT_SLOPE = math.log(math.expm1(1 - _LEAST_SLOPE))


class _Piece(NamedTuple):
    """A spline in the bin that each element lies in; all of the elements' shape."""

    x: Tensor
    width: Tensor
    y: Tensor
    height: Tensor
    slope: Tensor
    next_slope: Tensor


class _Terms(NamedTuple):
    """What the spline's formula is made of."""

    xi: Tensor
    mixed: Tensor  # ξ (1 - ξ)
    mean_slope: Tensor
    excess: Tensor
    denominator: Tensor
    ratio: Tensor
    steepness: Tensor


def evaluate(table: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the splines' values and the logarithms of their slopes.

    Parameters
    ----------
    table : Tensor of shape (A, 3, M, K + 1)
        With A equal to 1 or N; K is a power of two.
    x : Tensor of shape (N, M)
        The rows.

    Returns
    -------
    y, log_slope : Tensor of shape (N, M)
        The mapped rows.

    Notes
    -----
    Cost: O(log K) for each element.
    """
    piece = _piece(table, _positions(table, x, plane=0))
    inner = torch.minimum(torch.maximum(x, piece.x), piece.x + piece.width)
    terms = _terms(piece, (inner - piece.x) / piece.width)
    log_slope = _log_slope(terms)
    y = piece.y + piece.height * terms.ratio
    # Outside, the slope is that of the knot at the end.
    return y + (x - inner) * log_slope.exp(), log_slope


def evaluate_inverse(table: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverse of :func:`evaluate`, and minus the log-slope there.

    Parameters and cost are those of :func:`evaluate`.

    Parameters
    ----------
    table : Tensor of shape (A, 3, M, K + 1)
        The splines.
    y : Tensor of shape (N, M)
        The values to map back.
    """
    piece = _piece(table, _positions(table, y, plane=1))
    inner = torch.minimum(torch.maximum(y, piece.y), piece.y + piece.height)
    rise = inner - piece.y
    mean_slope = piece.height / piece.width
    pull = rise * (piece.slope + piece.next_slope - 2 * mean_slope)
    a = piece.height * (mean_slope - piece.slope) + pull
    b = piece.height * piece.slope - pull
    c = mean_slope * rise
    # The form of the root in which nothing cancels.
    xi = 2 * c / (b + (b.square() + 4 * a * c).clamp_min(0).sqrt())
    for _ in range(2):  # steps of Newton's method make up for the rounding of the root
        terms = _terms(piece, xi.clamp(0, 1))
        residual = piece.height * terms.ratio - rise
        xi = terms.xi - residual / (_log_slope(terms).exp() * piece.width)
    log_slope = _log_slope(_terms(piece, xi.clamp(0, 1)))
    x = piece.x + xi * piece.width
    return x + (y - inner) * (-log_slope).exp(), -log_slope


def evaluate_and_pullback(
    table: Tensor, x: Tensor
) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    """Do what :func:`evaluate` does, with the derivatives written out.

    Parameters
    ----------
    table : Tensor of shape (A, 3, M, K + 1)
        The splines.
    x : Tensor of shape (N, M)
        The values to map.

    Returns
    -------
    y, log_slope : Tensor of shape (N, M)
        The mapped rows.
    pullback : callable
        Takes the gradients with respect to `y`, of shape (N, M), and to `log_slope`, which
        broadcasts with it; returns those with respect to `x`, of shape (N, M), and to `table`,
        as long as the box that the knots lie in stays as it is.
    """
    left = _positions(table, x, plane=0)
    piece = _piece(table, left)
    inner = torch.minimum(torch.maximum(x, piece.x), piece.x + piece.width)
    terms = _terms(piece, (inner - piece.x).div_(piece.width))
    log_slope = _log_slope(terms)
    outer = x - inner
    slope = log_slope.exp()
    y = torch.addcmul(piece.y, piece.height, terms.ratio).addcmul_(outer, slope)

    def pullback(grad_y: Tensor, grad_log_slope: Tensor) -> tuple[Tensor, Tensor]:
        # The slope of the line outside is that in the last bin's end.
        grad_outer = grad_y * outer
        grad_log = torch.addcmul(grad_log_slope.expand_as(y), grad_outer, slope)
        xi, mixed, s, excess, denominator, ratio, steepness = terms
        rest = 1 - xi
        balance = rest - xi
        square, rest_square = xi * xi, rest * rest
        by_numerator = grad_y * piece.height
        over_denominator = denominator.reciprocal()
        by_numerator.mul_(over_denominator)
        # By the product h r, and by the log of the slope, 2 log s + log ν - 2 log β.
        by_denominator = torch.addcmul(by_numerator * ratio, grad_log, over_denominator, value=2)
        by_denominator.neg_()
        by_steepness = grad_log / steepness
        by_mean = (
            torch.addcmul(by_denominator, by_denominator, mixed, value=-2)
            .addcmul_(by_numerator, square)
            .addcmul_(by_steepness, mixed, value=2)
            .addcdiv_(grad_log, s, value=2)
        )
        bend = (s * balance).addcmul_(piece.next_slope, xi).addcmul_(piece.slope, rest, value=-1)
        by_xi = (
            (by_denominator * excess)
            .mul_(balance)
            .addcmul_(by_numerator, (piece.slope * balance).addcmul_(s, xi, value=2))
            .addcmul_(by_steepness, bend, value=2)
        )
        # Outside, ξ stays 0 or 1.
        by_xi.mul_(outer == 0)
        over_width = piece.width.reciprocal()
        by_x = by_xi * over_width
        gradients = x.new_empty((6, *x.shape))
        by_left, by_right, by_low, by_high, by_slope, by_next_slope = gradients.unbind()
        torch.addcmul(by_xi * xi, by_mean, s, out=by_left).mul_(over_width)
        torch.neg(by_left, out=by_right)
        by_left.sub_(by_x)
        torch.mul(by_mean, over_width, out=by_high).addcmul_(grad_y, ratio)
        torch.sub(grad_y, by_high, out=by_low)
        torch.add(by_denominator, by_numerator, out=by_slope).mul_(mixed)
        by_slope.addcmul_(by_steepness, rest_square)
        torch.mul(by_denominator, mixed, out=by_next_slope).addcmul_(by_steepness, square)
        grad_table = torch.zeros_like(table)
        grad_table.view(-1).index_add_(0, _six(table, left).view(-1), gradients.view(-1))
        return by_x.addcmul_(grad_y * (outer != 0), slope), grad_table

    return y, log_slope, pullback


def table_and_pullback(
    spacings: Tensor,
    slopes: Tensor,
    low: Tensor | float,
    size: Tensor | float,
    *,
    least_share: float = 1e-3,
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Make a table of splines out of unconstrained numbers; zeros make the identity.

    Parameters
    ----------
    spacings : Tensor of shape (A, 2, M, K)
        A softmax makes the widths and the heights of the bins of it.
    slopes : Tensor of shape (A, M, K + 1) or (A, M, K - 1)
        A softplus makes the slopes of it. With fewer than there are knots, those at the ends
        are 1.
    low, size : Tensor that broadcasts with (A, 2, M, 1), or float
        The lower ends, and the sizes, of the box that the knots lie in.
    least_share : float, default=1e-3
        The share of the box that a bin takes at least, so that no slope is extreme.

    Returns
    -------
    table : Tensor of shape (A, 3, M, K + 1)
        The splines.
    pullback : callable
        Takes the gradient with respect to `table` to those of `spacings` and `slopes`.
    """
    n_bins = spacings.shape[-1]
    free_share = 1 - n_bins * least_share
    # PyTorch's own softmax is some ten times slower over so few entries.
    weights = (spacings - spacings.detach().amax(-1, keepdim=True)).exp()
    shares = weights / weights.sum(-1, keepdim=True)
    ends = F.pad((free_share * shares + least_share).cumsum(-1), (1, 0))
    shifted = slopes + _UNIT_SLOPE
    n_fixed = (n_bins + 1 - slopes.shape[-1]) // 2
    slope = F.pad(F.softplus(shifted) + _LEAST_SLOPE, (n_fixed, n_fixed), value=1.0)
    table = torch.cat([low + size * ends, slope.unsqueeze(1)], 1)

    def pullback(grad: Tensor) -> tuple[Tensor, Tensor]:
        by_ends = grad[:, :2, :, 1:] * size
        # A share moves all knots to its right.
        by_share = (by_ends.sum(-1, keepdim=True) - by_ends.cumsum(-1)).add_(by_ends)
        weighted = by_share.mul_(shares).mul_(free_share)
        by_spacing = torch.addcmul(weighted, shares, weighted.sum(-1, keepdim=True), value=-1)
        by_slope = grad[:, 2, :, n_fixed : n_bins + 1 - n_fixed] * torch.sigmoid(shifted)
        return by_spacing, by_slope

    return table, pullback


def _positions(table: Tensor, values: Tensor, *, plane: int) -> Tensor:
    """Return where in the flattened table the knot is that stands left of each value."""
    n_tables, n_planes, n_columns, n_knots = table.shape
    size = n_planes * n_columns * n_knots
    position = torch.arange(0, n_columns * n_knots, n_knots, dtype=torch.int32)
    if n_tables > 1:
        position = position + torch.arange(0, n_tables * size, size, dtype=torch.int32)[:, None]
    position = position.to(table.device)
    position = position.expand(values.shape).contiguous()
    flat, values = table.detach().reshape(-1), values.detach()
    in_place = not is_traced(flat, values)
    beyond = torch.empty_like(position)
    step = (n_knots - 1) // 2
    while step:
        probe = torch.add(position, plane * n_columns * n_knots + step).view(-1)
        knot = flat.index_select(0, probe).view(values.shape)
        if in_place:
            position.add_(torch.ge(values, knot, out=beyond), alpha=step)
        else:
            position = torch.where(values >= knot, position + step, position)
        step //= 2
    return position


def _six(table: Tensor, left: Tensor) -> Tensor:
    """Return the positions of x, y and slope, on the left and on the right."""
    _, _, n_columns, n_knots = table.shape
    plane = n_columns * n_knots
    offsets = [0, 1, plane, plane + 1, 2 * plane, 2 * plane + 1]
    return left + torch.tensor(offsets, dtype=left.dtype, device=left.device).view(-1, 1, 1)


def _piece(table: Tensor, left: Tensor) -> _Piece:
    flat = table.reshape(-1)
    at = flat.index_select(0, _six(table, left).view(-1)).view(6, *left.shape)
    x, next_x, y, next_y, slope, next_slope = at
    return _Piece(x, next_x - x, y, next_y - y, slope, next_slope)


def _terms(piece: _Piece, xi: Tensor) -> _Terms:
    mean_slope = piece.height / piece.width
    excess = torch.add(piece.slope + piece.next_slope, mean_slope, alpha=-2)
    rest = 1 - xi
    mixed = xi * rest
    square = xi * xi
    denominator = torch.addcmul(mean_slope, excess, mixed)
    numerator = torch.addcmul(mean_slope * square, piece.slope, mixed)
    steepness = torch.addcmul(
        torch.addcmul(piece.next_slope * square, mean_slope, mixed, value=2),
        piece.slope,
        rest * rest,
    )
    ratio = numerator / denominator
    return _Terms(xi, mixed, mean_slope, excess, denominator, ratio, steepness)


def _log_slope(terms: _Terms) -> Tensor:
    """Return the log of s² ν / β²."""
    return 2 * torch.log(terms.mean_slope / terms.denominator) + torch.log(terms.steepness)


class ElementwiseSpline(Bijection):
    r"""A learned monotone spline for each column, with straight tails of learned slopes.

    Starts as the identity.

    Parameters
    ----------
    n_features : int
        The number D of columns.
    n_bins : int, default=16
        The number K of bins, a power of two.
    init : {"identity", "quantiles"}, default="identity"
        What :meth:`initialize` makes of it: the identity, or what maps each column of a sample
        to about a normal one.
    dtype : torch.dtype, default=torch.float32
        The precision of the parameters.

    Notes
    -----
    Cost: O(N·D·log K + D·K), forward, back and inverse.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import ElementwiseSpline
    >>> x = torch.linspace(0.01, 0.99, 99).log().neg().unsqueeze(1)  # exponential
    >>> spline = ElementwiseSpline(1, init="quantiles")
    >>> spline.initialize(x, torch.Generator())
    >>> z = spline(x)
    >>> bool(torch.allclose(spline.inverse(z), x, atol=1e-4))
    True
    """

    starts = ("quantiles", "identity")
    low: Tensor
    size: Tensor

    def __init__(
        self,
        n_features: int,
        *,
        n_bins: int = 16,
        init: Literal["identity", "quantiles"] = "identity",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if n_bins < 2 or n_bins & (n_bins - 1):
            raise ValueError(f"n_bins must be a power of two and at least 2, got {n_bins!r}.")
        self.init = self.start_from = init
        self.n_features = n_features
        self.spacings = nn.Parameter(torch.zeros(2, n_features, n_bins, dtype=dtype))
        self.slopes = nn.Parameter(torch.zeros(n_features, n_bins + 1, dtype=dtype))
        self.register_buffer("low", torch.full((2, n_features, 1), -_HALF_BOX, dtype=dtype))
        self.register_buffer("size", torch.full((2, n_features, 1), 2 * _HALF_BOX, dtype=dtype))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        y, log_slope = evaluate(self._table(x.dtype)[0], x)
        return y, log_slope.sum(-1)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        x, log_slope = evaluate_inverse(self._table(y.dtype)[0], y)
        return x, log_slope.sum(-1)

    def forward_and_pullback(  # noqa: D102
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]:
        table, table_pullback = self._table(self.slopes.dtype)
        y, log_slope, spline_pullback = evaluate_and_pullback(table, x.to(table.dtype))

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            grad_x, grad_table = spline_pullback(grad_y, grad_log_det.unsqueeze(-1))
            by_spacings, by_slopes = table_pullback(grad_table)
            add_gradient(self.spacings, by_spacings[0])
            add_gradient(self.slopes, by_slopes[0])
            return grad_x if input_gradient else None

        return y, log_slope.sum(-1), pullback

    @torch.no_grad()
    def initialize(
        self, x: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        """Become the identity, or map quantiles of `x` to those of the standard normal.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        generator : torch.Generator
            Not used.
        weights : Tensor of shape (N,) or None, default=None
            How many rows each row stands for; by default one.
        """
        if self.start_from == "identity":
            for parameter in self.parameters():
                parameter.zero_()
            self.low.fill_(-_HALF_BOX)
            self.size.fill_(2 * _HALF_BOX)
            return
        n_bins = self.n_bins
        # From the box's ends on, some rows lie on either side to tell the slope of the tail.
        count = len(x) if weights is None else float(weights.sum())
        end = float(torch.special.ndtri(torch.tensor(1 - _ROWS_BEYOND / count).clamp_min(0.8)))
        end = min(end, _HALF_BOX)
        y = torch.linspace(-end, end, n_bins + 1, dtype=torch.float64, device=x.device)
        levels = torch.special.ndtr(y)
        # Some columns at a time: a sort takes several times the room of what it sorts.
        parts = x.split(max(1, _MOST_SORTED // len(x)), dim=1)
        knots = torch.cat([quantiles(part.double(), levels, weights) for part in parts], 1)
        knots = knots.mT.contiguous()
        # Bins of a constant column are as wide as the parameters' precision can tell apart.
        resolution = torch.finfo(self.slopes.dtype).eps * knots[:, :1].abs()
        least = (_LEAST_STEPS * n_bins * resolution).clamp_min(1e-6)
        size = torch.maximum(knots[:, -1:] - knots[:, :1], least)
        shares = (knots.diff(dim=-1) / size).clamp_min(2 * _LEAST_SHARE)
        shares /= shares.sum(-1, keepdim=True)
        free = (shares - _LEAST_SHARE).clamp_min(1e-6).log()
        self.spacings[0] = free - free.mean(-1, keepdim=True)
        self.spacings[1] = 0
        self.low[0], self.size[0] = knots[:, :1], size
        self.low[1], self.size[1] = -end, 2 * end
        mean_slopes = (2 * end / n_bins) / (shares * size)
        # At a knot, the harmonic mean of the bins' slopes on its sides.
        sides = F.pad(mean_slopes, (1, 1), mode="replicate")
        slopes = 2 / (1 / sides[:, 1:] + 1 / sides[:, :-1])
        free = (slopes - _LEAST_SLOPE).clamp(1e-3, 1e4)
        raw = free + torch.log(-torch.expm1(-free))  # the inverse of softplus
        self.slopes.copy_(raw - _UNIT_SLOPE)

    @property
    def n_bins(self) -> int:
        """The number of bins."""
        return self.spacings.shape[-1]

    def extra_repr(self) -> str:  # noqa: D102
        n_features = len(self.slopes)
        return f"n_features={n_features}, n_bins={self.n_bins}, dtype={self.slopes.dtype}"

    def _table(
        self, dtype: torch.dtype
    ) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
        return table_and_pullback(
            self.spacings.to(dtype).unsqueeze(0),
            self.slopes.to(dtype).unsqueeze(0),
            self.low.to(dtype),
            self.size.to(dtype),
            least_share=_LEAST_SHARE,
        )
