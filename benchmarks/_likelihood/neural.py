"""Flows of zuko and nflows, at the settings that their authors recommend, for a given time.

- zuko: three transformations, AdamW at 0.001 with a weight decay of 0.0001 that falls linearly to
  zero, and batches of 256, as in its own benchmark of density estimation. That has two hidden
  layers of 512 units, its README has two of 128; both are measured.
- nflows: ten steps, each a random permutation, a linear layer in LU form and a coupling with a
  residual network of two blocks, as in "Neural spline flows" (Durkan et al., 2019), whose authors
  wrote it: Adam on a cosine, and gradients clipped at a norm of 5. For up to 100,000 rows the
  settings of its smallest set, MINIBOONE; for more, those of POWER. Affine couplings make it
  the Glow of that paper, rational-quadratic ones its RQ-NSF (C).

Rows are standardised. The learning rate falls over the seconds that are given, not over a number
of epochs, and the weights with the highest validation score are kept.
"""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.nn.nets import ResidualNet
from nflows.transforms import (
    AffineCouplingTransform,
    CompositeTransform,
    LULinear,
    PiecewiseRationalQuadraticCouplingTransform,
    RandomPermutation,
)
from nflows.utils.torchutils import create_alternating_binary_mask
from torch import nn
from zuko.flows import GF, MAF, NSF

from .task import Unattainable

__all__ = ["GLOW", "RQ_NSF", "ZUKO_GF", "ZUKO_MAF", "ZUKO_NSF", "NeuralFlow", "Recipe"]

_MOST_WIDTH = 2048
_NEAR = 1.25  # as which ratio two numbers of parameters are called equal
_BLOCK_ROWS = 1000
_SPACING = 0.01  # between two validations at least, as a share of the time
_PATIENCE = 5  # and in times of what a validation takes


def linear(progress):
    return 1 - progress


def cosine(progress):
    return 0.5 + 0.5 * math.cos(math.pi * progress)


@dataclass(frozen=True)
class Recipe:
    """A family of networks, and how they are trained."""

    build: Callable  # takes the number of features and the width
    log_prob: Callable  # takes the network and rows
    width: int
    rate: float
    batch_size: int
    schedule: Callable
    weight_decay: float = 0.0
    clip: float = math.inf

    def with_parameters(self, n_features, n_parameters):
        """Return the recipe at the width that comes nearest to so many parameters.

        Raises
        ------
        Unattainable
            If that is not near, as where the narrowest network is larger.
        """
        low, high = 1, _MOST_WIDTH
        while low < high:
            middle = (low + high) // 2
            if self._count(n_features, middle) < n_parameters:
                low = middle + 1
            else:
                high = middle
        counts = {width: self._count(n_features, width) for width in {max(1, low - 1), low}}
        width = min(counts, key=lambda width: abs(counts[width] - n_parameters))
        if not 1 / _NEAR < counts[width] / n_parameters < _NEAR:
            raise Unattainable(f"{counts[width]} parameters come nearest to {n_parameters}")
        return replace(self, width=width)

    def _count(self, n_features, width):
        return sum(p.numel() for p in self.build(n_features, width).parameters())


class NeuralFlow:
    """A network, trained for a given time.

    Parameters
    ----------
    recipe : Recipe
    max_time : float
        Seconds of `fit`, validation included.
    random_state : int
        Of the start and of the batches.

    Attributes
    ----------
    scores_ : list of (float, float)
        Seconds, and the mean log-density of the validation rows then, in nats.
    """

    def __init__(self, recipe, *, max_time, random_state):
        self.recipe, self.max_time, self.random_state = recipe, max_time, random_state

    def fit(self, train, validation):
        started = time.perf_counter()
        train = np.asarray(train, np.float32)
        self.mean_, self.scale_ = train.mean(0, dtype=float), train.std(0, dtype=float)
        with torch.random.fork_rng(devices=[]):  # both packages draw from the global generator
            torch.manual_seed(self.random_state)
            self._train(self._standardize(train), validation, started)
        if not math.isfinite(self.best_validation_score_):
            raise RuntimeError("no validation score was finite")
        return self

    def score_samples(self, X):
        with torch.no_grad():
            blocks = self._standardize(X).split(_BLOCK_ROWS)
            log_prob = [self.recipe.log_prob(self.network_, block) for block in blocks]
        return torch.cat(log_prob).double().numpy() - np.log(self.scale_).sum()

    def _standardize(self, X):
        mean, scale = (x.astype(np.float32) for x in (self.mean_, self.scale_))
        return torch.from_numpy((np.asarray(X, np.float32) - mean) / scale)

    def _train(self, train, validation, started):
        recipe = self.recipe
        self.network_ = network = recipe.build(train.shape[1], recipe.width)
        self.n_parameters_ = sum(p.numel() for p in network.parameters())
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay
        )
        self.scores_, self.n_epochs_ = [], -1
        self.best_validation_score_, best = -math.inf, None
        batches, progress, due = iter(()), 0.0, 0.0
        while progress < 1:
            rows = next(batches, None)
            if rows is None:
                batches = iter(torch.randperm(len(train)).split(recipe.batch_size))
                self.n_epochs_ += 1
                continue
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate * recipe.schedule(progress)
            self._step(optimizer, train[rows])
            progress = min((time.perf_counter() - started) / self.max_time, 1.0)
            if progress >= min(due, 1.0):
                network.eval()
                score = self.score_samples(validation).mean()
                network.train()
                seconds = time.perf_counter() - started
                self.scores_.append((seconds, score))
                after = seconds / self.max_time
                due = after + max(_SPACING, _PATIENCE * (after - progress))
                if score > self.best_validation_score_:
                    self.best_validation_score_, best = score, deepcopy(network.state_dict())
        if best is not None:
            network.load_state_dict(best)
        network.eval()

    def _step(self, optimizer, rows):
        loss = -self.recipe.log_prob(self.network_, rows).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network_.parameters(), self.recipe.clip)
        if norm.isfinite():
            optimizer.step()


def zuko(kind, n_features, width):
    return kind(n_features, transforms=3, hidden_features=(width, width))


def zuko_gaussianization(n_features, width):
    return GF(n_features, transforms=3, components=width)


def glow(n_features, width, *, splines, dropout):
    """Return a flow of couplings between linear layers in LU form, which mix all columns."""

    def conditioner(n_in, n_out):
        return ResidualNet(n_in, n_out, width, num_blocks=2, dropout_probability=dropout)

    layers = []
    for step in range(10):
        mask = create_alternating_binary_mask(n_features, even=step % 2 == 0)
        if splines:
            coupling = PiecewiseRationalQuadraticCouplingTransform(
                mask,
                conditioner,
                num_bins=8,
                tails="linear",
                tail_bound=3.0,
                apply_unconditional_transform=True,
            )
        else:
            coupling = AffineCouplingTransform(mask, conditioner)
        layers += [RandomPermutation(n_features), LULinear(n_features), coupling]
    layers += [RandomPermutation(n_features), LULinear(n_features)]
    return Flow(CompositeTransform(layers), StandardNormal([n_features]))


on_zuko = partial(
    Recipe,
    log_prob=lambda network, x: network().log_prob(x),
    rate=1e-3,
    weight_decay=1e-4,
    batch_size=256,
    schedule=linear,
)
ZUKO_MAF = on_zuko(partial(zuko, MAF), width=128)
ZUKO_NSF = on_zuko(partial(zuko, NSF), width=128)
ZUKO_GF = on_zuko(zuko_gaussianization, width=8)


def nflows_recipe(n_rows, *, splines):
    few = n_rows <= 100_000
    return Recipe(
        partial(glow, splines=splines, dropout=0.2 if few else 0.0),
        log_prob=lambda network, x: network.log_prob(x),
        width=32 if few else 256,
        rate=3e-4 if few else 5e-4,
        batch_size=128 if few else 512,
        schedule=cosine,
        clip=5.0,
    )


GLOW = partial(nflows_recipe, splines=False)
RQ_NSF = partial(nflows_recipe, splines=True)
