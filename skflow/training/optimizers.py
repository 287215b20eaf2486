"""Optimisers that step along the relative gradient of the dense layers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from skflow.flow.accumulator import Factors
from skflow.flow.linear import LinearStack
from skflow.flow.network import Flow

__all__ = ["Adam", "NormalizedRelativeSGD", "Optimizer", "RelativeSGD"]


class Optimizer(ABC):
    """Takes the steps of a fit, from the factors and gradients of a backward pass.

    Parameters
    ----------
    flow : Flow
        Whose parameters to train.
    """

    default_rate: float
    """The learning rate that suits most data."""

    def __init__(self, flow: Flow) -> None:
        self.stacks = [b for b in flow.bijections if isinstance(b, LinearStack)]
        dense = {id(p) for stack in self.stacks for p in stack.parameters()}
        self.others = [p for p in flow.parameters() if id(p) not in dense]

    @abstractmethod
    def step(self, rate: float) -> None:
        """Change the parameters by a step of learning rate `rate`."""

    def is_safe(self) -> bool:
        """Whether the step that is due has finite entries alone.

        No entry of a product of factors exceeds the product of their sums of magnitudes, so
        that O(N·D) operations tell before anything is changed.
        """
        bound = torch.zeros(())
        for stack in self.stacks:
            delta, y, y_weight = (factor.abs().sum() for factor in _factors(stack))
            bound = bound.to(delta) + delta * (y + y_weight)
        for parameter in self.others:
            if parameter.grad is not None:
                bound = bound.to(parameter) + parameter.grad.abs().sum()
        return math.isfinite(float(bound))

    def zero_grad(self) -> None:
        """Forget the gradients; the factors are replaced by those of the next backward pass."""
        for parameter in self.others:
            parameter.grad = None


class RelativeSGD(Optimizer):
    r"""Stochastic gradient descent along the relative gradient, in place.

    .. math::
        W \leftarrow (1 + \eta) W - \eta\, \delta^\top (y W)

    No D×D gradient is formed and no state is kept: the memory is that of the parameters.
    Where it is cheaper than a determinant, when a batch has fewer rows than columns,
    :math:`\log|\det W|` is tracked by the determinant lemma: with :math:`\beta = 1 + \eta` and
    :math:`\alpha = -\eta` as the float type rounds them,

    .. math::
        \log|\det W'| = \log|\det W| + D \log \beta
            + \log\left|\det\left(I_N + \tfrac{\alpha}{\beta}\, y \delta^\top\right)\right|.

    Cost of a step: O(L·N·D²), and O(L·N²·(N + D)) for tracking.
    """

    default_rate = 0.02

    @torch.no_grad()
    def step(self, rate: float) -> None:  # noqa: D102
        for stack in self.stacks:
            _relative_step(stack, _factors(stack), rate)
        for parameter in self.others:
            if parameter.grad is not None:
                parameter.add_(parameter.grad, alpha=-rate)


class NormalizedRelativeSGD(RelativeSGD):
    r"""Relative descent with steps of a given relative size, in place.

    .. math::
        W \leftarrow \left(I - \eta \frac{S}{\max(1, s)}\right) W, \qquad S = \delta^\top y - I,

    where :math:`s` is the largest Schatten 4-norm of :math:`S` over the layers. It bounds the
    spectral norms from above, so that a step changes no direction by more than a share
    :math:`\eta`, and with :math:`\eta < 1` no weight ever turns singular, whatever the data. Of
    the minibatch noise that most of a late :math:`S` consists of, the 4-norm is close to the
    spectral norm, whatever D and N; the Frobenius norm exceeds it by a factor that grows with
    both. A short :math:`S` is not lengthened, so that a noiseless descent converges. As
    :math:`S` depends on what flows through the network alone, the step is equivariant.

    Cost: that of :class:`RelativeSGD`, and O(L·N²·(N + D)), or O(L·D²·(N + D)) if D is less.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__(flow)
        # Changes add up over the layers like independent ones do: with the root of their number.
        self.default_rate = 0.4 / math.sqrt(sum(stack.n_layers for stack in self.stacks))

    @torch.no_grad()
    def step(self, rate: float) -> None:  # noqa: D102
        norms = [float(_schatten_norms(_factors(stack)).max()) for stack in self.stacks]
        super().step(rate / max(1.0, *norms))


class Adam(Optimizer):
    """Adam with the relative gradient in place of the gradient, as the paper trains.

    Keeps two moments of each parameter and a gradient: four times the parameters' memory.
    """

    default_rate = 0.001

    def __init__(self, flow: Flow) -> None:
        super().__init__(flow)
        self._adam = torch.optim.Adam(flow.parameters(), lr=self.default_rate, fused=True)

    @torch.no_grad()
    def step(self, rate: float) -> None:  # noqa: D102
        for stack in self.stacks:
            factors = _factors(stack)
            stack.weight.grad = factors.weight_gradient(stack.weight)
            if stack.bias is not None:
                stack.bias.grad = factors.bias_gradient(stack.bias)
        (group,) = self._adam.param_groups
        group["lr"] = rate
        self._adam.step()
        # The fused step does not tell autograd's version counters, by which a layer knows that
        # what it has computed of its weights is out of date.
        torch.autograd.graph.increment_version(group["params"])


def _factors(stack: LinearStack) -> Factors:
    if stack.factors is None:
        raise RuntimeError("A step needs a backward pass through the flow's relative_loss first.")
    return stack.factors


def _schatten_norms(factors: Factors) -> Tensor:
    r"""Return the Schatten 4-norm of each layer's :math:`S`, or a close upper bound."""
    delta, y, _ = factors
    n, d = y.shape[1:]
    if d <= n:
        relative = (delta.mT @ y).double()
        relative.diagonal(dim1=-2, dim2=-1).sub_(1)
        return (relative @ relative.mT).square().sum((1, 2)).pow(0.25)
    # Of δᵀy in terms of N×N matrices, and one for the identity.
    gram = (delta @ delta.mT).double() @ (y @ y.mT).double()
    return (gram * gram.mT).sum((1, 2)).clamp_min(0).pow(0.25) + 1


def _relative_step(stack: LinearStack, factors: Factors, rate: float) -> None:
    weight, bias = stack.weight, stack.bias
    delta, y, y_weight = factors
    n, d = y.shape[1:]
    beta, alpha = _rounded(1 + rate, weight.dtype), _rounded(-rate, weight.dtype)
    tracked = stack.log_abs_det() if n < d else None
    if bias is not None:
        column = bias.unsqueeze(-1)
        column.baddbmm_(delta.mT, y @ column + 1, beta=beta, alpha=alpha)
    weight.baddbmm_(delta.mT, y_weight, beta=beta, alpha=alpha)
    if tracked is not None:
        update = (y @ delta.mT).double().mul_(alpha / beta)
        update.diagonal(dim1=-2, dim2=-1).add_(1)
        change = d * math.log(beta) + torch.linalg.slogdet(update).logabsdet
        stack.keep_log_abs_det(tracked + change)


def _rounded(value: float, dtype: torch.dtype) -> float:
    return float(np.float32(value)) if dtype == torch.float32 else value
