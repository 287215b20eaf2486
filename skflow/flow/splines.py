r"""Monotone rational-quadratic splines.

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

:ref:`derivatives_of_splines` derives what :func:`evaluate_and_pullback` computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skflow.flow.tracing import is_traced

__all__ = [
    "LEAST_SLOPE",
    "UNIT_SLOPE",
    "evaluate",
    "evaluate_and_pullback",
    "evaluate_inverse",
    "table_and_pullback",
]

# No slope is less, and none that is learned is zero.
LEAST_SLOPE = 1e-3

# What softplus needs for a slope of 1.
UNIT_SLOPE = math.log(math.expm1(1 - LEAST_SLOPE))


class _Piece(NamedTuple):
    """A spline in the bin that each element lies in; all of the elements' shape."""

    x: Tensor
    width: Tensor
    y: Tensor
    height: Tensor
    slope: Tensor
    next_slope: Tensor


class _Terms(NamedTuple):
    r"""What the formula is made of, with :math:`\sigma = d_k + d_{k+1} - 2s`."""

    xi: Tensor
    mixed: Tensor
    r""":math:`\xi (1 - \xi)`"""
    s: Tensor
    excess: Tensor
    r""":math:`\sigma`"""
    beta: Tensor
    ratio: Tensor
    """The share of the bin's height that lies below, `r`."""
    nu: Tensor


class _Point(NamedTuple):
    """Splines at their arguments."""

    left: Tensor
    """Where in the flattened table the knots on the left are."""
    piece: _Piece
    terms: _Terms
    log_slope: Tensor
    outer: Tensor
    """How far the arguments lie outside the box."""


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
    _, piece, terms, log_slope, outer = _point(table, x)
    # Outside, the slope is that of the knot at the end.
    return piece.y + piece.height * terms.ratio + outer * log_slope.exp(), log_slope


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
    bent = rise * (piece.slope + piece.next_slope - 2 * mean_slope)
    a = piece.height * (mean_slope - piece.slope) + bent
    b = piece.height * piece.slope - bent
    c = mean_slope * rise
    # The form of the root in which nothing cancels.
    xi = 2 * c / (b + (b.square() + 4 * a * c).clamp_min(0).sqrt())
    for _ in range(2):  # steps of Newton's method make up for the rounding of the root
        terms = _terms(piece, xi.clamp(0, 1))
        residual = piece.height * terms.ratio - rise
        xi = terms.xi - residual / (_log_slope(terms).exp() * piece.width)
    outer = y - inner
    # Outside, the slope is that of the knot at the end, however steep it is beside that.
    xi = torch.where(outer == 0, xi, (outer > 0).to(xi))
    log_slope = _log_slope(_terms(piece, xi.clamp(0, 1)))
    x = piece.x + xi * piece.width
    return x + outer * (-log_slope).exp(), -log_slope


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
    point = _point(table, x)
    _, piece, terms, log_slope, outer = point
    slope = log_slope.exp()
    y = torch.addcmul(piece.y, piece.height, terms.ratio).addcmul_(outer, slope)

    def pullback(grad_y: Tensor, grad_log_slope: Tensor) -> tuple[Tensor, Tensor]:
        # The slope of the line outside is that in the last bin's end.
        grad_log = torch.addcmul(grad_log_slope.expand_as(y), grad_y * outer, slope)
        by_x, by_knots = _derivatives(point, grad_y, grad_log)
        grad_table = torch.zeros_like(table)
        grad_table.view(-1).index_add_(0, _six(table, point.left).view(-1), by_knots.view(-1))
        return by_x.addcmul_(grad_y * (outer != 0), slope), grad_table

    return y, log_slope, pullback


def _derivatives(point: _Point, grad_y: Tensor, grad_log: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the gradients with respect to `x`, and to the six numbers of each piece.

    With :math:`\alpha = s \xi^2 + d_k \xi (1 - \xi)`, the gradients of the loss with respect to
    :math:`\alpha`, :math:`\beta` and :math:`\nu` come first, and then, by the chain rule, those
    with respect to `s`, :math:`\xi` and the knots. The formulae stand in
    :ref:`derivatives_of_splines`.
    """
    piece, outer = point.piece, point.outer
    xi, mixed, s, excess, beta, ratio, nu = point.terms
    rest = 1 - xi
    balance = rest - xi
    square, rest_square = xi * xi, rest * rest
    by_alpha = grad_y * piece.height
    over_beta = beta.reciprocal()
    by_alpha.mul_(over_beta)
    by_beta = torch.addcmul(by_alpha * ratio, grad_log, over_beta, value=2).neg_()
    by_nu = grad_log / nu
    by_s = (
        torch.addcmul(by_beta, by_beta, mixed, value=-2)
        .addcmul_(by_alpha, square)
        .addcmul_(by_nu, mixed, value=2)
        .addcdiv_(grad_log, s, value=2)
    )
    nu_by_xi = (s * balance).addcmul_(piece.next_slope, xi).addcmul_(piece.slope, rest, value=-1)
    by_xi = (
        (by_beta * excess)
        .mul_(balance)
        .addcmul_(by_alpha, (piece.slope * balance).addcmul_(s, xi, value=2))
        .addcmul_(by_nu, nu_by_xi, value=2)
    )
    # Outside, ξ stays 0 or 1.
    by_xi.mul_(outer == 0)
    over_width = piece.width.reciprocal()
    by_x = by_xi * over_width
    by_knots = grad_y.new_empty((6, *outer.shape))
    by_left, by_right, by_low, by_high, by_slope, by_next_slope = by_knots.unbind()
    torch.addcmul(by_xi * xi, by_s, s, out=by_left).mul_(over_width)
    torch.neg(by_left, out=by_right)
    by_left.sub_(by_x)
    torch.mul(by_s, over_width, out=by_high).addcmul_(grad_y, ratio)
    torch.sub(grad_y, by_high, out=by_low)
    torch.add(by_beta, by_alpha, out=by_slope).mul_(mixed)
    by_slope.addcmul_(by_nu, rest_square)
    torch.mul(by_beta, mixed, out=by_next_slope).addcmul_(by_nu, square)
    return by_x, by_knots


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
    shifted = slopes + UNIT_SLOPE
    n_fixed = (n_bins + 1 - slopes.shape[-1]) // 2
    slope = F.pad(F.softplus(shifted) + LEAST_SLOPE, (n_fixed, n_fixed), value=1.0)
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


def _point(table: Tensor, x: Tensor) -> _Point:
    left = _positions(table, x, plane=0)
    piece = _piece(table, left)
    inner = torch.minimum(torch.maximum(x, piece.x), piece.x + piece.width)
    terms = _terms(piece, (inner - piece.x) / piece.width)
    return _Point(left, piece, terms, _log_slope(terms), x - inner)


def _terms(piece: _Piece, xi: Tensor) -> _Terms:
    s = piece.height / piece.width
    excess = torch.add(piece.slope + piece.next_slope, s, alpha=-2)
    rest = 1 - xi
    mixed = xi * rest
    square = xi * xi
    beta = torch.addcmul(s, excess, mixed)
    alpha = torch.addcmul(s * square, piece.slope, mixed)
    nu = torch.addcmul(
        torch.addcmul(piece.next_slope * square, s, mixed, value=2), piece.slope, rest * rest
    )
    return _Terms(xi, mixed, s, excess, beta, alpha / beta, nu)


def _log_slope(terms: _Terms) -> Tensor:
    """Return the log of s² ν / β²."""
    return 2 * torch.log(terms.s / terms.beta) + torch.log(terms.nu)
