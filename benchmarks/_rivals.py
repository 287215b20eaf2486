"""One training step of other ways to train dense layers, as plain PyTorch scripts.

All take the same network: dense layers with biases, the smooth leaky ReLU of slope 0.3 between
them, and a standard normal; and all step with Adam at its defaults, as the paper does.
"""

import math

import torch
import torch.nn.functional as F

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


class Published(Plain):
    """The relative gradient as published: δ by autograd, then W (Wᵀ zᵀ) δ, and torch's Adam."""

    def step(self, x):
        z, log_det, inputs, ys = self.forward(x)
        deltas = torch.autograd.grad(self.loss(z, log_det), ys)
        with torch.no_grad():
            layers = zip(self.weights, self.biases, inputs, deltas, strict=True)
            for weight, bias, layer_input, delta in layers:
                # Equations (20), (32) and (33) of the appendix, transposed to rows as samples.
                signal = delta.T @ ((layer_input @ weight.T) @ weight)
                delta_sum = delta.sum(0)
                weight.grad = signal + torch.outer(delta_sum, bias @ weight) - weight
                bias.grad = delta.T @ (layer_input @ (weight.T @ bias)) + delta_sum * (
                    1 + bias @ bias
                )
        self.adam.step()


class Determinant(Plain):
    """The ordinary gradient, with `slogdet` of each weight in the loss."""

    def step(self, x):
        z, log_det, _, _ = self.forward(x)
        volume = sum(torch.linalg.slogdet(weight).logabsdet for weight in self.weights)
        self.adam.zero_grad()
        (self.loss(z, log_det) - volume).backward()
        self.adam.step()


class NaiveAutodiff(Plain):
    """The log-determinant of the Jacobian of each row, by automatic differentiation."""

    def step(self, x):
        def latents(row):
            z, _, _, _ = self.forward(row[None])
            return z[0], z[0]

        jacobians, z = torch.func.vmap(torch.func.jacrev(latents, has_aux=True))(x)
        self.adam.zero_grad()
        self.loss(z, torch.linalg.slogdet(jacobians).logabsdet).backward()
        self.adam.step()
