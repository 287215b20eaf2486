"""One training step of other ways to train a flow: plain PyTorch scripts, and other packages.

The scripts all take the same network: dense layers with biases, the smooth leaky ReLU of slope 0.3
between them, and a standard normal. Everything steps with torch's Adam at its defaults, as the
paper does. The other packages are zuko and nflows.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.transforms import CompositeTransform, LeakyReLU, LULinear, NaiveLinear, QRLinear
from zuko.flows import MAF, NSF

__all__ = ["PEERS", "Determinant", "NaiveAutodiff", "Peer", "Published", "PublishedLean"]

ALPHA = 0.3


def activation(y):
    return ALPHA * y + (1 - ALPHA) * F.softplus(y)


def log_slope(y):
    return torch.log(ALPHA + (1 - ALPHA) * torch.sigmoid(y))


class Plain:
    """The parameters, the loss without the log-determinants of the weights, and Adam."""

    def __init__(self, n_layers, n_features):
        self.weights = [
            torch.eye(n_features).add_(0.01 * torch.randn(n_features, n_features)).requires_grad_()
            for _ in range(n_layers)
        ]
        self.biases = [torch.zeros(n_features, requires_grad=True) for _ in range(n_layers)]
        self.adam = torch.optim.Adam([*self.weights, *self.biases], lr=1e-4)

    def forward(self, x):
        """Return the latents, the log-slopes' sums, and each layer's input and pre-activation."""
        inputs, ys = [], []
        log_det = x.new_zeros(len(x))
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if k > 0:
                log_det = log_det + log_slope(x).sum(1)
                x = activation(x)
            inputs.append(x)
            x = x @ weight.T + bias
            ys.append(x)
        return x, log_det, inputs, ys

    def loss(self, z, log_det):
        constant = 0.5 * math.log(2 * math.pi) * z.shape[1]
        return (0.5 * z.square().sum(1) + constant - log_det).mean()

    def step(self, x):
        self.adam.zero_grad()
        self.gradient(x)
        self.adam.step()


class Published(Plain):
    """The relative gradient as published: an ordinary backward pass, then W (Wᵀ zᵀ) δ."""

    def gradient(self, x):
        z, log_det, inputs, ys = self.forward(x)
        self.make_relative(inputs, self.deltas(self.loss(z, log_det), ys))

    def deltas(self, loss, ys):
        """Return the gradient of the loss with respect to each layer's pre-activation."""
        for y in ys:
            y.retain_grad()
        loss.backward()
        return [y.grad for y in ys]

    @torch.no_grad()
    def make_relative(self, inputs, deltas):
        layers = zip(self.weights, self.biases, inputs, deltas, strict=True)
        for weight, bias, layer_input, delta in layers:
            # Equations (20), (32) and (33) of the appendix, transposed to rows as samples.
            signal = delta.T @ ((layer_input @ weight.T) @ weight)
            delta_sum = delta.sum(0)
            weight.grad = signal + torch.outer(delta_sum, bias @ weight) - weight
            bias.grad = delta.T @ (layer_input @ (weight.T @ bias)) + delta_sum * (1 + bias @ bias)


class PublishedLean(Published):
    """The same, without the ordinary gradients of the weights, which are not needed."""

    def deltas(self, loss, ys):
        return torch.autograd.grad(loss, ys)


class Determinant(Plain):
    """The ordinary gradient, with `slogdet` of each weight in the loss."""

    def gradient(self, x):
        z, log_det, _, _ = self.forward(x)
        volume = sum(torch.linalg.slogdet(weight).logabsdet for weight in self.weights)
        (self.loss(z, log_det) - volume).backward()


class NaiveAutodiff(Plain):
    """The log-determinant of the Jacobian of each row, by automatic differentiation."""

    def gradient(self, x):
        def latents(row):
            z, _, _, _ = self.forward(row[None])
            return z[0], z[0]

        jacobians, z = torch.func.vmap(torch.func.jacrev(latents, has_aux=True))(x)
        # One by one where they are large: with several threads, PyTorch's batched factorisation
        # on CPUs fails or hangs beyond 150 columns (its issues 141358 and 142815).
        batches = jacobians.split(1 if x.shape[1] > 150 else len(x))
        log_det = torch.cat([torch.linalg.slogdet(batch).logabsdet for batch in batches])
        self.loss(z, log_det).backward()


class Peer:
    """A flow of another package, trained on its log-density."""

    def __init__(self, flow, log_prob):
        self.log_prob = log_prob
        self.adam = torch.optim.Adam(flow.parameters(), lr=1e-4)

    def step(self, x):
        self.adam.zero_grad()
        self.log_prob(x).mean().neg().backward()
        self.adam.step()


def zuko_peer(kind, n_layers, n_features):
    """Return a flow of zuko, with as many transformations and the hidden layers of its default."""
    flow = kind(n_features, transforms=n_layers)
    return Peer(flow, lambda x: flow().log_prob(x))


def nflows_peer(linear, n_layers, n_features):
    """Return linear layers of nflows with the leaky ReLU, which is not smooth, between them."""
    parts = [linear(n_features)]
    for _ in range(n_layers - 1):
        parts += [LeakyReLU(ALPHA), linear(n_features)]
    flow = Flow(CompositeTransform(parts), StandardNormal([n_features]))
    return Peer(flow, flow.log_prob)


# All take the numbers of layers and of features.
PEERS = {
    "nflows NaiveLinear": partial(
        nflows_peer, partial(NaiveLinear, orthogonal_initialization=False)
    ),
    "nflows LULinear": partial(nflows_peer, LULinear),
    "nflows QRLinear, D reflections": partial(nflows_peer, lambda d: QRLinear(d, d)),
    "nflows QRLinear, 16 reflections": partial(nflows_peer, lambda d: QRLinear(d, 16)),
    "zuko MAF": partial(zuko_peer, MAF),
    "zuko NSF": partial(zuko_peer, NSF),
}
