r"""The accumulator: how a dense layer gets its relative gradient out of a backward pass.

A step needs :math:`\delta`, the gradient of the loss with respect to a layer's
pre-activation :math:`y`, and not the weight gradient that automatic differentiation would
build from it. Appendix D of Gresele et al. (2020) adds a dummy :math:`\lambda = 0` to
:math:`y`, whose gradient is :math:`\delta`. Two forms are here, with equal results:

- :func:`literal_accumulator` does just that, with any automatic differentiation. It is the
  oracle that the other is tested against.
- :func:`fused_accumulator` is one autograd function for a whole stack of layers, with its
  backward pass written out. It is what training uses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from skflow.flow.activations import Activation

__all__ = ["Factors", "fused_accumulator", "literal_accumulator"]


class Factors(NamedTuple):
    r"""The low-rank factors of the relative gradient of L dense layers.

    With rows as samples and :math:`y = x W^\top + b`, the relative gradient of the negative
    log-likelihood, :math:`\log|\det W|` included, is

    .. math::
        \Delta W = \delta^\top (y W) - W, \qquad \Delta b = \delta^\top (y b + 1) - b.

    No product or inverse of a D×D matrix is in it. Equations (20), (32) and (33) of the
    appendix of Gresele et al. (2020), with the :math:`-b` that (33) lacks.

    Parameters
    ----------
    delta : Tensor of shape (L, N, D)
        Gradient of the loss, less its log-determinants, with respect to `y`.
    y : Tensor of shape (L, N, D)
        Pre-activations, bias included.
    y_weight : Tensor of shape (L, N, D)
        The product :math:`y W` of each layer.
    """

    delta: Tensor
    y: Tensor
    y_weight: Tensor

    def weight_gradient(self, weight: Tensor) -> Tensor:
        r"""Return :math:`\Delta W`, of shape (L, D, D). Cost: O(L·N·D²)."""
        return torch.baddbmm(weight, self.delta.mT, self.y_weight, beta=-1)

    def bias_gradient(self, bias: Tensor) -> Tensor:
        r"""Return :math:`\Delta b`, of shape (L, D). Cost: O(L·N·D)."""
        column = bias.unsqueeze(-1)
        return torch.baddbmm(column, self.delta.mT, self.y @ column + 1, beta=-1).squeeze(-1)


Deposit = Callable[[Factors], None]


def literal_accumulator(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: Activation | None,
    deposit: Deposit,
) -> tuple[Tensor, Tensor]:
    r"""Apply a stack of dense layers, each followed by :math:`a(y; \lambda) = y + \lambda`.

    Appendix D of Gresele et al. (2020) to the letter, for reading and for testing. The
    parameters and the result are those of :func:`fused_accumulator`.
    """
    weight = weight.detach()
    log_det = x.new_zeros(len(x))
    accumulators: list[Tensor] = []
    ys: list[Tensor] = []

    def collect(_: Tensor) -> None:
        # The first layer's δ is the last one that the backward pass reaches.
        delta, y = torch.stack([a.grad for a in accumulators]), torch.stack(ys)  # type: ignore[misc]
        deposit(Factors(delta, y, y @ weight))

    for k in range(len(weight)):
        if k > 0 and activation is not None:
            x, layer_log_det = activation.forward_and_log_det(x)
            log_det = log_det + layer_log_det
        accumulator = torch.zeros_like(x, requires_grad=True)
        y = x @ weight[k].T
        if bias is not None:
            y = y + bias[k].detach()
        ys.append(y.detach())
        accumulators.append(accumulator)
        x = y + accumulator
    accumulators[0].register_post_accumulate_grad_hook(collect)
    return x, log_det


def fused_accumulator(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: Activation | None,
    deposit: Deposit,
) -> tuple[Tensor, Tensor]:
    r"""Apply a stack of dense layers, and keep the factors of its relative gradient.

    Layer by layer, the forward pass is one product, :math:`x W^\top`, and the backward pass
    is one more, :math:`[\delta; y] W`, which carries the signal on and makes :math:`y W` in
    a single reading of :math:`W`.

    Parameters
    ----------
    x : Tensor of shape (N, D)
    weight : Tensor of shape (L, D, D)
        Must require a gradient for the backward pass to come here; it receives none.
    bias : Tensor of shape (L, D) or None
    activation : Activation or None
        Stands between the layers; not after the last.
    deposit : callable
        Is given the :class:`Factors` when the backward pass comes through.

    Returns
    -------
    y : Tensor of shape (N, D)
    log_det : Tensor of shape (N,)
        Of the activations alone, in nats: :math:`\log|\det W|` is left out.
    """
    out: tuple[Tensor, Tensor] = _FusedAccumulator.apply(x, weight, bias, activation, deposit)  # type: ignore[no-untyped-call]
    return out


class _FusedAccumulator(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        activation: Activation | None,
        deposit: Deposit,
    ) -> tuple[Tensor, Tensor]:
        n_layers, (n, d) = len(weight), x.shape
        # δ above y for each layer, so that the backward pass multiplies both at once.
        stacked = x.new_empty((n_layers, 2, n, d))
        ys = stacked[:, 1]
        for k, (y, w) in enumerate(zip(ys.unbind(), weight.mT.unbind(), strict=True)):
            if k > 0:
                x = x if activation is None else activation.value(x)
            if bias is None:
                torch.mm(x, w, out=y)
            else:
                torch.addmm(bias[k], x, w, out=y)
            x = y
        if activation is None:
            ctx.slope = ctx.log_slope_derivative = None
            log_det = x.new_zeros(n)
        else:
            ctx.slope, log_slope, ctx.log_slope_derivative = activation.slope_terms(ys[:-1])
            log_det = log_slope.sum((0, 2))
        ctx.weight, ctx.stacked, ctx.deposit = weight, stacked, deposit
        return x.clone(), log_det

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_y: Tensor, grad_log_det: Tensor
    ) -> tuple[Tensor | None, None, None, None, None]:
        weight, stacked = ctx.weight, ctx.stacked
        n_layers, _, n, d = stacked.shape
        products = torch.empty_like(stacked)
        if ctx.slope is not None:
            from_log_det = ctx.log_slope_derivative.mul_(grad_log_det.unsqueeze(-1))
        stacked[-1, 0] = grad_y
        for k in range(n_layers - 1, -1, -1):
            if k == 0 and not ctx.needs_input_grad[0]:
                torch.mm(stacked[0, 1], weight[0], out=products[0, 1])
                break
            torch.mm(stacked[k].view(2 * n, d), weight[k], out=products[k].view(2 * n, d))
            if k > 0:
                signal, delta = products[k, 0], stacked[k - 1, 0]
                if ctx.slope is None:
                    delta.copy_(signal)
                else:
                    torch.addcmul(from_log_det[k - 1], signal, ctx.slope[k - 1], out=delta)
        ctx.deposit(Factors(stacked[:, 0], stacked[:, 1], products[:, 1]))
        return (products[0, 0] if ctx.needs_input_grad[0] else None), None, None, None, None
