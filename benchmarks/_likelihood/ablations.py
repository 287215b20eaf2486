"""Our estimator with one thing changed at a time.

All but two changes go through its public parameters. The gradients of the two are not what it
offers: the ordinary gradient, and the relative one with the bias rule as published, both by Adam.
All have the default's budget of epochs and its stopping rule.
"""

from functools import partial
from unittest import mock

import torch

from skflow import LeakyTanh, SmoothLeakyReLU, default_bijections
from skflow.training import plan
from skflow.training.optimizers import Adam

from .contenders import fit_flow, skflow_contender
from .task import Contender

__all__ = ["DEFAULT", "contenders"]

DEFAULT = "default"

# name: what is not the default
VARIANTS = {
    DEFAULT: {},
    "start: orthogonal": {"bijections": partial(default_bijections, init="orthogonal")},
    "optimiser: Adam": {"optimizer": "adam"},
    "optimiser: plain descent": {"optimizer": "sgd"},
    "activation: leaky tanh, 0.1": {"activation": LeakyTanh(alpha=1.0, beta=0.1)},
    "activation: smooth leaky ReLU, 0.3": {"activation": SmoothLeakyReLU(alpha=0.3)},
    "coupling: none": {"coupling": None},
    "coupling: affine": {"coupling": "affine"},
    "coupling: spline": {"coupling": "spline"},
    "base: mixture": {"base_distribution": "mixture"},
    "base: Student's t": {"base_distribution": "student_t"},
    "base: hyperbolic secant": {"base_distribution": "hyperbolic_secant"},
    "bias: none": {"bijections": partial(default_bijections, bias=False)},
    "layers: 2": {"n_layers": 2},
    "layers: 10": {"n_layers": 10},
}


class OrdinaryAdam(Adam):
    """Adam with the ordinary gradient, which takes a solution with each W."""

    def _apply(self, rate, groups, penalty):
        for stack in self.layers:
            factors = stack.factors
            if stack.bias is not None:
                stack.bias.grad = factors.delta.sum(1)
                factors = factors._replace(y=factors.y - stack.bias.unsqueeze(1))
            relative = factors.relative()
            stack.weight.grad = torch.linalg.solve(stack.weight, relative.mT).mT.contiguous()
        self._dense_adam.step(rate)


class PublishedBiasAdam(Adam):
    """Adam with the relative gradient, where that of a bias lacks its last term."""

    def _apply(self, rate, groups, penalty):
        for stack in self.layers:
            stack.weight.grad = stack.factors.weight_gradient(stack.weight)
            if stack.bias is not None:
                gradient = stack.factors.bias_gradient(stack.bias)
                stack.bias.grad = gradient.add_(stack.bias, alpha=stack.factors.mass)
        self._dense_adam.step(rate)


GRADIENTS = {
    "optimiser: Adam, ordinary gradient": OrdinaryAdam,
    "optimiser: Adam, published bias rule": PublishedBiasAdam,
}


def fit_with(task, adam):
    with mock.patch.dict(plan.OPTIMIZERS, adam=adam):
        return fit_flow(task, optimizer="adam")


def contenders():
    return {name: skflow_contender(**parameters) for name, parameters in VARIANTS.items()} | {
        name: Contender(partial(fit_with, adam=adam), "skflow") for name, adam in GRADIENTS.items()
    }
