r"""The accumulator: how a dense layer gets its relative gradient out of a backward pass.

A step needs :math:`\delta`, the gradient of the loss with respect to a layer's
pre-activation :math:`y`, and not the weight gradient that automatic differentiation would
build from it. Appendix D of Gresele et al. (2020) adds a dummy :math:`\lambda = 0` to
:math:`y`, whose gradient is :math:`\delta`. Two forms are here, with equal results:

- :func:`literal_accumulator` does just that, with automatic differentiation. It is the
  oracle that the other is tested against.
- :func:`fused_accumulator` takes a whole stack of layers forward and back with the derivatives
  written out. It is what training uses.

Both return the outputs and a *pullback*: a function that takes the gradients of the loss with
respect to the outputs to that with respect to the input, and the factors on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from skflow.flow.blocks import BLOCK_ENTRIES
from skflow.flow.products import addmm, matmul, mm, takes_onednn
from skflow.flow.relative import Factors

if TYPE_CHECKING:
    from skflow.flow.activations import Activation

__all__ = ["Workspace", "fused_accumulator", "literal_accumulator"]


Pullback = Callable[[Tensor, Tensor, bool], tuple[Tensor | None, Factors]]


class Workspace:
    """Room for a step of L dense layers on N rows, and views of each layer's part of it.

    Parameters
    ----------
    weight : Tensor of shape (L, D, D)
        The weights of the layers.
    bias : Tensor of shape (L, D) or None
        Their biases, if they have any.
    n_rows : int
        The number N of rows.
    is_low_rank : bool or None, default=None
        Whether :math:`y W` is made on the way back. By default, it is where N is less than D.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, n_rows: int, *, is_low_rank: bool | None = None
    ) -> None:
        n_layers, d, _ = weight.shape
        self.weight, self.bias, self.n_rows = weight, bias, n_rows
        self.is_low_rank = n_rows < d if is_low_rank is None else is_low_rank
        self.onednn = takes_onednn(n_rows, weight)
        self.mm: Callable[..., Tensor] = mm if self.onednn else torch.mm
        self.addmm: Callable[..., Tensor] = addmm if self.onednn else torch.addmm
        self.weights = weight.detach().unbind()
        self.weights_transposed = weight.detach().mT.unbind()
        self.biases = None if bias is None else bias.detach().unbind()
        # Of small layers, the derivatives of many activations are made at once.
        n_at_once = max(1, BLOCK_ENTRIES // (n_rows * d))
        if self.is_low_rank:
            # δ above y for each layer, so that the way back multiplies both at once.
            stacked = weight.new_empty((n_layers, 2, n_rows, d))
            # The results of oneDNN are arrays of their own, so that signals need no room.
            products = weight.new_empty((n_layers, 1 if self.onednn else 2, n_rows, d))
            delta, y, signals, y_weight = *stacked.unbind(1), products[:, 0], products[:, -1]
            slopes = weight.new_empty((n_layers - 1, n_rows, d))
            self.layers = stacked.flatten(1, 2).unbind()
            self.layer_products = products.flatten(1, 2).unbind()
            self.signals = signals.unbind()
            self.y_weights = y_weight.unbind()
            rooms = signals[1:].split(n_at_once)
        else:
            # From layer to layer, entries of a column lie side by side: rows may be too short for
            # a processor to take several entries at once.
            n_parts = max(1, min(n_at_once, n_layers - 1))
            delta, y, slopes, room = (
                weight.new_empty((n, d, n_rows)).mT
                if n_layers > 1
                else weight.new_empty((n, n_rows, d))
                for n in (n_layers, n_layers, n_layers - 1, n_parts)
            )
            y_weight = None
            self.layers = delta.unbind()
            self.layer_products = self.signals = (room[0],) * n_layers
            self.y_weights = ()
            rooms = tuple(room[: len(part)] for part in slopes.split(n_at_once))
        self.factors = Factors(delta, y, y_weight)
        self.deltas, self.ys = delta.unbind(), y.unbind()
        self.slopes = slopes.unbind()
        # What is kept of an activation until the way back is where δ will be; room for the slopes'
        # logarithms, and for the values, is where the signals will be.
        parts = (delta[:-1].split(n_at_once), slopes.split(n_at_once), rooms)
        self.blocks = list(zip(*parts, strict=True))

    def carry_back(self, k: int) -> Tensor:
        r"""Return :math:`\delta W` of a layer, and put :math:`y W` where it belongs.

        Parameters
        ----------
        k : int
            The number of the layer, from 0.
        """
        if not self.onednn:
            torch.mm(self.layers[k], self.weights[k], out=self.layer_products[k])
            return self.signals[k]
        result = matmul(self.layers[k], self.weights[k])
        if self.y_weights:  # which lie below
            self.y_weights[k].copy_(result[self.n_rows :])
        return result[: self.n_rows]

    def fits(self, weight: Tensor, bias: Tensor | None, n_rows: int, is_low_rank: bool) -> bool:
        """Whether this is the room that the same arguments would make.

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights.
        bias : Tensor of shape (L, D) or None
            The biases.
        n_rows : int
            The number N of rows.
        is_low_rank : bool
            Whether :math:`y W` is made.
        """
        return (
            self.n_rows == n_rows
            and self.is_low_rank == is_low_rank
            and self.weight is weight
            and self.bias is bias
            and self.weights[0].data_ptr() == weight.data_ptr()
        )


def literal_accumulator(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation | None
) -> tuple[Tensor, Tensor, Pullback]:
    r"""Apply a stack of dense layers, each followed by :math:`a(y; \lambda) = y + \lambda`.

    Appendix D of Gresele et al. (2020) to the letter, for reading and for testing. The
    parameters and the results are those of :func:`fused_accumulator`.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows.
    weight : Tensor of shape (L, D, D)
        The weights.
    bias : Tensor of shape (L, D) or None
        The biases.
    activation : Activation or None
        What stands between the layers.
    """
    x = start = x.detach().requires_grad_()
    log_det = x.new_zeros(len(x))
    accumulators: list[Tensor] = []
    ys: list[Tensor] = []
    with torch.enable_grad():
        for k in range(len(weight)):
            if k > 0 and activation is not None:
                x, layer_log_det = activation.forward_and_log_det(x)
                log_det = log_det + layer_log_det
            y = x @ weight[k].detach().T
            if bias is not None:
                y = y + bias[k].detach()
            ys.append(y.detach())
            accumulators.append(torch.zeros_like(y, requires_grad=True))
            x = y + accumulators[-1]

    def pullback(
        grad_y: Tensor, grad_log_det: Tensor, input_gradient: bool
    ) -> tuple[Tensor | None, Factors]:
        outputs, gradients = [x], [grad_y]
        if log_det.requires_grad:
            outputs.append(log_det)
            gradients.append(grad_log_det)
        grad_x, *deltas = torch.autograd.grad(outputs, [start, *accumulators], gradients)
        y = torch.stack(ys)
        factors = Factors(torch.stack(deltas), y, y @ weight.detach())
        return (grad_x if input_gradient else None), factors

    return x.detach(), log_det.detach(), pullback


def fused_accumulator(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: Activation | None,
    *,
    gain: float = 1.0,
    workspace: Workspace | None = None,
) -> tuple[Tensor, Tensor, Pullback]:
    r"""Apply a stack of dense layers, and keep what its relative gradient takes.

    Layer by layer, the way forward is one product, :math:`x W^\top`, and the way back is one
    more, :math:`\delta W`. Where a batch has fewer rows than columns it is
    :math:`[\delta; y] W`, which carries the signal on and makes :math:`y W` in a single
    reading of :math:`W`.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        The rows.
    weight : Tensor of shape (L, D, D)
        The weights of the layers.
    bias : Tensor of shape (L, D) or None
        Their biases, if they have any.
    activation : Activation or None
        Stands between the layers; not after the last.
    gain : float, default=1.0
        A factor of all weights: the layers apply `gain` · `weight`. In the factors, the
        product of `y` and the weights goes without it.
    workspace : Workspace or None, default=None
        Where the results are put; by default, in a new one. They hold until its next use.

    Returns
    -------
    y : Tensor of shape (N, D)
        The mapped rows.
    log_det : Tensor of shape (N,)
        Of the activations alone, in nats: :math:`\log|\det W|` is left out.
    pullback : callable
        Takes the gradients with respect to `y`, of shape (N, D), and to `log_det`, of shape
        (N,), and whether the one with respect to `x` is wanted; returns that, or None, and the
        :class:`Factors`. To be called once.
    """
    space = Workspace(weight, bias, len(x)) if workspace is None else workspace
    for k, y in enumerate(space.ys):
        if k > 0 and activation is not None:
            squashed = activation.squash(x, out=space.deltas[k - 1])
            x = activation.value(x, squashed, out=space.signals[k])
        if space.biases is None:
            space.mm(x, space.weights_transposed[k], out=y)
            if gain != 1:
                y.mul_(gain)
        else:
            space.addmm(space.biases[k], x, space.weights_transposed[k], alpha=gain, out=y)
        x = y
    log_det = x.new_zeros(len(x))
    if activation is not None:
        for squashed, slope, room in space.blocks:
            activation.slope(squashed, out=slope)
            log_det += torch.log(slope, out=room).sum((0, 2))

    def pullback(
        grad_y: Tensor, grad_log_det: Tensor, input_gradient: bool
    ) -> tuple[Tensor | None, Factors]:
        space.deltas[-1].copy_(grad_y)
        if activation is not None:
            column = grad_log_det.unsqueeze(-1)
            for squashed, slope, _ in space.blocks:
                activation.log_slope_derivative(squashed, slope, out=squashed).mul_(column)
        for k in range(len(weight) - 1, 0, -1):
            delta = space.deltas[k - 1]
            if activation is None:
                torch.mul(space.carry_back(k), gain, out=delta)
            else:
                delta.addcmul_(space.carry_back(k), space.slopes[k - 1], value=gain)
        if input_gradient:
            return space.carry_back(0).mul_(gain), space.factors
        if space.y_weights:
            space.mm(space.ys[0], space.weights[0], out=space.y_weights[0])
        return None, space.factors

    return x, log_det, pullback
