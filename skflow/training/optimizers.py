"""Optimisers that step along the relative gradient of the dense layers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from skflow.flow.bijection import Bijection
from skflow.flow.network import Flow
from skflow.flow.products import product
from skflow.flow.relative import Factors, RelativeLayer, Sums, add_relative_, stacked_factors
from skflow.training.adam import AdamW
from skflow.training.vector import parameter_vectors

__all__ = ["Adam", "NormalizedRelativeSGD", "Optimizer", "RelativeSGD", "schatten_norms"]

# Of all parameters but the dense layers'.
OTHERS_RATE = 0.005

# How much of a running mean a batch leaves as it was.
_DECAY = 0.9

# Layers of one shape, and their factors.
Groups = list[tuple[list[RelativeLayer], Factors | Sums]]


class Optimizer(ABC):
    """Takes the steps of a fit, from the factors and gradients of a backward pass.

    The dense layers go along the relative gradient, as a subclass says. All other parameters,
    those of learned bijections and base distributions, go by Adam, whichever subclass it is.
    Weights of conditioners decay meanwhile, towards couplings that do not depend on anything.

    Parameters
    ----------
    flow : Flow
        Whose parameters to train.
    weight_decay : float, default=1.0
        How fast the weights of conditioners decay, in units of their learning rate.
    """

    def __init__(self, flow: Flow, *, weight_decay: float = 1.0) -> None:
        self.layers = flow.relative_layers
        self._groups = _alike(self.layers)
        dense = {id(p) for p in _relative_parameters(flow)}
        others = [p for p in flow.parameters() if id(p) not in dense]
        decaying = {id(p) for p in _decaying_parameters(flow)}
        decayed = parameter_vectors(p for p in others if id(p) in decaying)
        kept = parameter_vectors(p for p in others if id(p) not in decaying)
        self._vectors = [*decayed, *kept]
        early = _parameters_up_to_a_dense_layer(flow)
        self._n_early = [vector.n_entries_of(early) for vector in self._vectors]
        self._adam = AdamW(
            [
                ([one.vector for one in decayed], weight_decay),
                ([one.vector for one in kept], 0.0),
            ]
        )

    @abstractmethod
    def default_rate(self, n_rows: int, sharpness: float = 1.0) -> float:
        """Return the learning rate of the dense layers that suits most data.

        Without dense layers, it has no effect.

        Parameters
        ----------
        n_rows : int
            The number of rows in a batch.
        sharpness : float, default=1.0
            That of the base distribution, :meth:`BaseDistribution.sharpness`.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what is kept between steps, for :meth:`load_state_dict`."""
        return {"adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where :meth:`state_dict` was called, with the weight decay of this optimiser.

        Parameters
        ----------
        state : dict
            Copied, to where the parameters are.
        """
        self._adam.load_state_dict(state["adam"])

    def gradients(self) -> list[Tensor]:
        """Return the gradients of all parameters but the dense layers', each a vector of many."""
        for vector in self._vectors:
            vector.collect()
        return [vector.gradient for vector in self._vectors]

    def split_gradients(self) -> list[tuple[Tensor, Tensor]]:
        """Return :meth:`gradients`, each in two parts.

        The second part is complete as soon as the backward pass has left all dense layers.
        """
        split = zip(self.gradients(), self._n_early, strict=True)
        return [(gradient[:n], gradient[n:]) for gradient, n in split]

    def sums(self, layer: RelativeLayer, factors: Factors, penalty: float) -> Sums:
        """Return what a step takes of some rows, where these are too many to keep the factors.

        Parameters
        ----------
        layer : RelativeLayer
            The layer.
        factors : Factors
            Its factors of these rows.
        penalty : float
            As for :meth:`step`.
        """
        return factors.sums()

    @torch.no_grad()
    def step(self, rate: float, others_rate: float = OTHERS_RATE, *, penalty: float = 0.0) -> bool:
        """Change the parameters, unless the step is not finite.

        Parameters
        ----------
        rate : float
            The learning rate of the dense layers.
        others_rate : float, default=0.005
            That of all other parameters.
        penalty : float, default=0.0
            The weight of a Gaussian penalty on what leaves dense layers, which keeps them from
            scaling directions apart, where a subclass has one.

        Returns
        -------
        taken : bool
            Whether all that the step is made of is finite. If not, nothing was changed.

        Raises
        ------
        RuntimeError
            If the flow's `relative_gradient` did not pass through each dense layer.
        """
        gradients = self.gradients()
        groups = [(layers, stacked_factors(layers)) for layers in self._groups]
        size = sum(factors.size() for _, factors in groups)
        size += sum(float(torch.linalg.vector_norm(gradient)) for gradient in gradients)
        taken = math.isfinite(size)  # told before anything is changed
        if taken:
            self._apply(rate, groups, penalty)
            self._adam.step(others_rate)
        for vector in self._vectors:
            vector.zero_gradients()
        return taken

    @abstractmethod
    def _apply(self, rate: float, groups: Groups, penalty: float) -> None:
        """Change the dense layers: groups of them, and the factors of each group."""


class RelativeSGD(Optimizer):
    r"""Stochastic gradient descent along the relative gradient, in place.

    .. math::
        W \leftarrow (1 + \eta m) W - \eta\, \delta^\top y W,

    with `m` the mean weight of the rows. No state is kept. Where a batch has fewer rows than
    columns, no D×D gradient is formed either: the memory is that of the parameters, and
    :math:`\log|\det W|` is tracked. Cost of a step: that of :meth:`RelativeLayer.relative_step`.
    """

    def default_rate(self, n_rows: int, sharpness: float = 1.0) -> float:  # noqa: D102
        # The squared norm of a batch of white rows, over their number, is 1 + D/N and a little
        # more: the rate at which a step turns the weights over falls with that.
        most = max((layer.weight.shape[-1] for layer in self.layers), default=1)
        return min(0.02, 0.2 * n_rows / most) / sharpness

    def _apply(self, rate: float, groups: Groups, penalty: float) -> None:
        for layer in self.layers:
            layer.relative_step(rate)


class NormalizedRelativeSGD(Optimizer):
    r"""Relative descent with steps of a given relative size.

    .. math::
        W \leftarrow \left(I - \eta \frac{M}{\max(1, m)}\right) W

    Where a batch has fewer rows than columns, `M` is :math:`S = \delta^\top y - I`, the step is
    taken in place and nothing is kept between steps. Else `M` is the running mean of `S` over
    some ten batches, which takes as much memory as the weights, little in that case. If the rows
    have weights, their mean is a factor of `I`.

    `m` is the largest Schatten 4-norm of `M` over the layers. It bounds the spectral norms from
    above, so that a step changes no direction by more than a share :math:`\eta`, and with
    :math:`\eta < 1` no weight ever turns singular, whatever the data. Of the minibatch noise
    that most of a late :math:`S` consists of, the 4-norm is close to the spectral norm, whatever
    D and N; the Frobenius norm exceeds it by a factor that grows with both. A short `M` is not
    lengthened, so that a noiseless descent converges. As `S` depends on what flows through the
    network alone, the step is equivariant.

    With `penalty`, :math:`\lambda`, what enters the mean of a layer that a learned bijection
    follows is :math:`S + \lambda (y^\top y / N - m I)`. That is the relative gradient of
    :math:`\lambda` times the negative log-likelihood of `y` under a standard normal.

    Cost: that of :class:`RelativeSGD` and O(L·N²·(N + D)); with a running mean, O(L·D²·(N + D)).

    Parameters
    ----------
    flow : Flow
        The flow.
    weight_decay : float, default=1.0
        How fast the weights of conditioners decay, in units of their learning rate.
    """

    def __init__(self, flow: Flow, *, weight_decay: float = 1.0) -> None:
        super().__init__(flow, weight_decay=weight_decay)
        inner = [m for b in flow.bijections for m in b.modules() if isinstance(m, Bijection)]
        self._followed = {
            layer: float(layer.depth == 1 and inner[-1] not in set(layer.modules()))
            for layer in self.layers
        }
        self._means = [
            _RunningMean(layers, torch.cat([self._penalties(layer, 1.0) for layer in layers]))
            for layers in self._groups
        ]

    def default_rate(self, n_rows: int, sharpness: float = 1.0) -> float:  # noqa: D102
        # Changes add up over the layers like independent ones do: with the root of their number.
        # A mean over batches is less noise and more signal than a single one, and as its
        # changes point the same way for longer, half the rate suits it.
        n_layers = max(1, sum(layer.depth for layer in self.layers))
        averaged = all(layer.weight.shape[-1] <= n_rows for layer in self.layers)
        return (0.2 if averaged else 0.4) / math.sqrt(n_layers) / sharpness

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return super().state_dict() | {"means": [mean.state() for mean in self._means]}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        super().load_state_dict(state)
        for mean, values in zip(self._means, state["means"], strict=True):
            mean.load(*values)

    def sums(self, layer: RelativeLayer, factors: Factors, penalty: float) -> Sums:  # noqa: D102
        return factors.sums(self._penalties(layer, penalty) if penalty > 0 else None)

    def _penalties(self, layer: RelativeLayer, penalty: float) -> Tensor:
        weight = layer.weight
        return weight.new_full((len(weight), 1), penalty * self._followed[layer])

    def _apply(self, rate: float, groups: Groups, penalty: float) -> None:
        norms = []
        for mean, (_, factors) in zip(self._means, groups, strict=True):
            if factors.y_weight is None:
                mean.update(factors, penalty)
                norms.append(_schatten_norms(mean.weight_mean))
            else:
                norms.append(schatten_norms(factors))
        if not norms:
            return
        rate /= max(1.0, float(torch.cat(norms).max()))
        for mean, (layers, factors) in zip(self._means, groups, strict=True):
            if factors.y_weight is None:
                mean.step(rate)
            else:
                for layer in layers:
                    layer.relative_step(rate)


class _RunningMean:
    r"""The relative gradients of layers, averaged over batches with weights that fall off.

    Parameters
    ----------
    layers : list of RelativeLayer
        All of one shape.
    followed : Tensor of shape (L, 1)
        Which of their matrices a learned bijection follows: 1 or 0.
    """

    def __init__(self, layers: list[RelativeLayer], followed: Tensor) -> None:
        self.layers = layers
        self.followed = followed
        self.n_batches = 0
        self.weight_sum: Tensor | None = None
        self.bias_sum: Tensor | None = None

    def update(self, factors: Factors | Sums, penalty: float = 0.0) -> None:
        """Take another batch's gradient in, and so much of that of the Gaussian penalty."""
        penalties = penalty * self.followed if penalty > 0 else None
        relative, delta_sum, _ = factors.sums(penalties)
        if self.weight_sum is None or self.bias_sum is None:
            self.weight_sum = torch.zeros_like(relative)
            self.bias_sum = torch.zeros_like(delta_sum)
        self.weight_sum.lerp_(relative, 1 - _DECAY)
        self.bias_sum.lerp_(delta_sum, 1 - _DECAY)
        self.n_batches += 1

    def state(self) -> tuple[int, Tensor | None, Tensor | None]:
        """Return what :meth:`load` takes."""
        return self.n_batches, self.weight_sum, self.bias_sum

    def load(self, n_batches: int, weight_sum: Tensor | None, bias_sum: Tensor | None) -> None:
        """Go on from a copy of what :meth:`state` returned."""
        self.n_batches = n_batches
        self.weight_sum, self.bias_sum = (
            None if sums is None else sums.to(self.layers[0].weight, copy=True)
            for sums in (weight_sum, bias_sum)
        )

    @property
    def weight_mean(self) -> Tensor:
        """The mean of S, of shape (L, D, D)."""
        assert self.weight_sum is not None
        return self.weight_sum / (1 - _DECAY**self.n_batches)

    def step(self, rate: float) -> None:
        """Descend along the mean."""
        assert self.weight_sum is not None
        assert self.bias_sum is not None
        alpha = -rate / (1 - _DECAY**self.n_batches)
        add_relative_(self.layers, self.weight_sum, self.bias_sum, alpha=alpha)


class Adam(Optimizer):
    """Adam with the relative gradient in place of the gradient, as the paper trains.

    Keeps two moments of each parameter and a gradient: four times the parameters' memory.

    Parameters
    ----------
    flow : Flow
        The flow.
    weight_decay : float, default=1.0
        How fast the weights of conditioners decay, in units of their learning rate.
    """

    def __init__(self, flow: Flow, *, weight_decay: float = 1.0) -> None:
        super().__init__(flow, weight_decay=weight_decay)
        self._dense_adam = AdamW([(_relative_parameters(flow), 0.0)])

    def default_rate(self, n_rows: int, sharpness: float = 1.0) -> float:  # noqa: D102
        return 0.001  # whose steps do not grow with the gradient

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return super().state_dict() | {"dense": self._dense_adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        super().load_state_dict(state)
        self._dense_adam.load_state_dict(state["dense"])

    def _apply(self, rate: float, groups: Groups, penalty: float) -> None:
        for layer in self.layers:
            layer.set_gradients()
        self._dense_adam.step(rate)


def _relative_parameters(flow: Flow) -> list[nn.Parameter]:
    found = ((layer.weight, layer.bias) for layer in flow.relative_layers)
    return [parameter for pair in found for parameter in pair if parameter is not None]


def _parameters_up_to_a_dense_layer(flow: Flow) -> set[int]:
    """Return what is first in a flow, up to the first bijection that has a dense layer."""
    found: set[int] = set()
    for bijection in flow.bijections:
        found |= {id(parameter) for parameter in bijection.parameters()}
        if any(isinstance(module, RelativeLayer) for module in bijection.modules()):
            break
    return found


def _decaying_parameters(flow: Flow) -> list[nn.Parameter]:
    bijections = (m for m in flow.modules() if isinstance(m, Bijection))
    return [p for bijection in bijections for p in bijection.decaying_parameters()]


def _alike(layers: Iterable[RelativeLayer]) -> list[list[RelativeLayer]]:
    """Divide layers by their shape, by where they are and by their precision."""
    groups: dict[tuple[Any, ...], list[RelativeLayer]] = {}
    for layer in layers:
        weight = layer.weight
        key = (weight.shape[1:], weight.device, weight.dtype, layer.bias is None)
        groups.setdefault(key, []).append(layer)
    return list(groups.values())


def schatten_norms(factors: Factors | Sums) -> Tensor:
    r"""Return the Schatten 4-norm of each layer's :math:`S = \delta^\top y - m I`, or a bound.

    Parameters
    ----------
    factors : Factors
        Those of the last step.

    Returns
    -------
    norms : Tensor of shape (L,)
        With fewer rows than columns, of :math:`\delta^\top y`, and `m` for the identity.
    """
    if isinstance(factors, Sums) or factors.y_weight is None:
        return _schatten_norms(factors.relative())
    # In terms of N×N matrices.
    if factors.grams is None:
        delta, y = factors.delta, factors.y
        gram = torch.bmm(product(delta, delta.mT), product(y, y.mT)).double()
    else:
        gram = torch.bmm(factors.grams[:, 1], factors.grams[:, 2])
    mass = factors.mass
    return (gram * gram.mT).sum((1, 2)).clamp_min_(0).pow_(0.25).add_(mass)


def _schatten_norms(matrices: Tensor) -> Tensor:
    square = product(matrices, matrices.mT)
    return torch.linalg.vector_norm(square, dim=(1, 2), dtype=torch.float64).sqrt_()
