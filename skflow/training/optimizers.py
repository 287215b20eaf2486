"""Optimisers that step along the relative gradient of the dense layers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from skflow.flow.accumulator import Factors
from skflow.flow.linear import LinearStack
from skflow.flow.network import Flow

__all__ = ["Adam", "NormalizedRelativeSGD", "Optimizer", "RelativeSGD", "schatten_norms"]


class Optimizer(ABC):
    """Takes the steps of a fit, from the factors and gradients of a backward pass.

    Parameters
    ----------
    flow : Flow
        Whose parameters to train.
    """

    def __init__(self, flow: Flow) -> None:
        self.stacks = [b for b in flow.bijections if isinstance(b, LinearStack)]
        dense = {id(p) for stack in self.stacks for p in stack.parameters()}
        self.others = [p for p in flow.parameters() if id(p) not in dense]

    @abstractmethod
    def default_rate(self, n_rows: int) -> float:
        """Return the learning rate that suits most data, for batches of `n_rows` rows."""

    @torch.no_grad()
    def step(self, rate: float) -> bool:
        """Change the parameters by a step of learning rate `rate`, unless it is not finite.

        Returns
        -------
        taken : bool
            Whether all that the step is made of is finite. If not, nothing was changed.
        """
        size = self._size()
        if not math.isfinite(size):
            return False
        self._apply(rate, size)
        for parameter in self.others:
            parameter.grad = None
        return True

    def _size(self) -> float:
        """Return a figure that is finite if all that the step is made of is.

        No entry of a product of factors exceeds the product of their norms, so that O(N·D)
        operations tell before anything is changed.
        """
        size = 0.0
        for stack in self.stacks:
            delta, _, y_weight = _factors(stack)
            delta_norms, y_weight_norms = (
                torch.linalg.vector_norm(factor, dim=(1, 2)) for factor in (delta, y_weight)
            )
            size += float(torch.dot(delta_norms, y_weight_norms))
        for parameter in self.others:
            if parameter.grad is not None:
                size += float(torch.linalg.vector_norm(parameter.grad))
        return size

    @abstractmethod
    def _apply(self, rate: float, size: float) -> None:
        """Change the parameters; `size` is what :meth:`_size` returned."""


class RelativeSGD(Optimizer):
    r"""Stochastic gradient descent along the relative gradient, in place.

    .. math::
        W \leftarrow (1 + \eta) W - \eta\, \delta^\top (y W)

    No D×D gradient is formed and no state is kept: the memory is that of the parameters, and
    :math:`\log|\det W|` is tracked. Cost of a step: that of :meth:`LinearStack.relative_step`.
    """

    def default_rate(self, n_rows: int) -> float:  # noqa: D102
        # The squared norm of a batch of white rows, over their number, is 1 + D/N and a little
        # more: the rate at which a step turns the weights over falls with that.
        most = max(stack.weight.shape[-1] for stack in self.stacks)
        return min(0.02, 0.2 * n_rows / most)

    def _apply(self, rate: float, size: float) -> None:
        for stack in self.stacks:
            stack.relative_step(rate)
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

    def default_rate(self, n_rows: int) -> float:  # noqa: D102
        # Changes add up over the layers like independent ones do: with the root of their number.
        return 0.4 / math.sqrt(sum(stack.n_layers for stack in self.stacks))

    def _size(self) -> float:
        bound = super()._size()
        if not math.isfinite(bound):
            return bound
        return max(float(schatten_norms(_factors(stack)).max()) for stack in self.stacks)

    def _apply(self, rate: float, size: float) -> None:
        super()._apply(rate / max(1.0, size), size)


class Adam(Optimizer):
    """Adam with the relative gradient in place of the gradient, as the paper trains.

    Keeps two moments of each parameter and a gradient: four times the parameters' memory.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__(flow)
        self._adam = torch.optim.Adam(flow.parameters(), fused=True)

    def default_rate(self, n_rows: int) -> float:  # noqa: D102
        return 0.001

    def _apply(self, rate: float, size: float) -> None:
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


def schatten_norms(factors: Factors) -> Tensor:
    r"""Return the Schatten 4-norm of each layer's :math:`S = \delta^\top y - I`, or a bound.

    Parameters
    ----------
    factors : Factors

    Returns
    -------
    norms : Tensor of shape (L,)
        With fewer rows than columns, of :math:`\delta^\top y`, and 1 for the identity.
    """
    delta, y, _ = factors
    n, d = y.shape[1:]
    if d <= n:
        relative = torch.bmm(delta.mT, y)
        relative.diagonal(dim1=-2, dim2=-1).sub_(1)
        square = torch.bmm(relative, relative.mT)
        return torch.linalg.vector_norm(square, dim=(1, 2), dtype=torch.float64).sqrt_()
    # In terms of N×N matrices.
    gram = torch.bmm(torch.bmm(delta, delta.mT), torch.bmm(y, y.mT)).double()
    return (gram * gram.mT).sum((1, 2)).clamp_min_(0).pow_(0.25).add_(1)


def _factors(stack: LinearStack) -> Factors:
    if stack.factors is None:
        raise RuntimeError("A step needs the flow's relative_gradient first.")
    return stack.factors
