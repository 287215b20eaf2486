"""Optimisers that step along the relative gradient of the dense layers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from skflow.flow.accumulator import Factors
from skflow.flow.linear import LinearStack
from skflow.flow.network import Flow

__all__ = ["Adam", "Optimizer", "RelativeSGD"]


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

        By the inequality of Cauchy and Schwarz, the norms of the factors bound each entry of
        their product, so that O(N·D) operations tell before anything is changed.
        """
        bound = 0.0
        for stack in self.stacks:
            delta, y, y_weight = _factors(stack)
            size = delta.norm() * (y.norm() + y_weight.norm())
            bound += float(size)
        for parameter in self.others:
            if parameter.grad is not None:
                bound += float(parameter.grad.norm())
        return math.isfinite(bound)


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
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()


def _factors(stack: LinearStack) -> Factors:
    if stack.factors is None:
        raise RuntimeError("A step needs a backward pass through the flow's relative_loss first.")
    return stack.factors


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
