"""Couplings: one half of the columns says how the other is mapped."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from skflow.flow.bijection import Pullback, add_gradient
from skflow.flow.compilable import Compilable
from skflow.flow.operations import Operation
from skflow.flow.products import affine, product
from skflow.flow.splines import (
    evaluate,
    evaluate_and_pullback,
    evaluate_inverse,
    table_and_pullback,
)

__all__ = ["AffineCoupling", "Conditioner", "Coupling", "SplineCoupling"]

HALF_BOX = 5.0

# A bin takes at least one of so many equal shares of the box, so that no slope is extreme.
N_SHARES = 1000

CouplePullback = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Conditioner(nn.Module):
    """Two hidden layers of rectifiers; what comes out is zero at the start.

    Parameters
    ----------
    n_inputs : int
        The number of columns that come in.
    n_outputs : int
        The number of columns that come out.
    n_hidden : int
        The width H of each hidden layer.
    dtype : torch.dtype, default=torch.float32
        The precision of the parameters.

    Notes
    -----
    Cost: O(N·H·(`n_inputs` + H + `n_outputs`)).
    """

    def __init__(
        self, n_inputs: int, n_outputs: int, n_hidden: int, *, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.sizes = (n_inputs, n_hidden, n_hidden, n_outputs)
        for k, (m, n) in enumerate(itertools.pairwise(self.sizes)):
            self.register_parameter(f"weight_{k}", nn.Parameter(torch.zeros(n, m, dtype=dtype)))
            self.register_parameter(f"bias_{k}", nn.Parameter(torch.zeros(n, dtype=dtype)))

    @property
    def weights(self) -> tuple[nn.Parameter, ...]:
        """Those of the layers, each of shape (outputs, inputs)."""
        return tuple(getattr(self, f"weight_{k}") for k in range(3))

    @property
    def biases(self) -> tuple[nn.Parameter, ...]:
        """Those of the layers."""
        return tuple(getattr(self, f"bias_{k}") for k in range(3))

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        """Draw the hidden layers' parameters, as PyTorch draws them.

        Parameters
        ----------
        generator : torch.Generator
            Where the randomness comes from.
        """
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            bound = 1 / math.sqrt(weight.shape[1])
            for parameter in (weight, bias):
                uniform = torch.rand(parameter.shape, generator=generator, device=generator.device)
                parameter.copy_((2 * uniform - 1) * bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x`, of shape (N, `n_inputs`), to shape (N, `n_outputs`), in its precision.

        Parameters
        ----------
        x : Tensor of shape (N, `n_inputs`)
            The inputs.
        """
        return self._layers(x)[-1]

    def forward_and_pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Do what :meth:`forward` does, with the derivatives written out.

        Parameters
        ----------
        x : Tensor of shape (N, `n_inputs`)
            The inputs.

        Returns
        -------
        y : Tensor of shape (N, `n_outputs`)
            The mapped rows.
        pullback : callable
            Takes the gradient with respect to `y`, of shape (N, `n_outputs`); adds to the
            gradients of the parameters, and returns that with respect to `x`.
        """
        weights, biases = self.weights, self.biases
        *inputs, y = self._layers(x)

        def pullback(grad: Tensor) -> Tensor:
            for k in (2, 1, 0):
                add_gradient(weights[k], product(grad.T, inputs[k]))
                add_gradient(biases[k], grad.sum(0))
                grad = product(grad, weights[k])
                if k > 0:
                    grad.mul_(inputs[k] > 0)
            return grad

        return y, pullback

    def extra_repr(self) -> str:  # noqa: D102
        return ", ".join(map(str, self.sizes))

    def _layers(self, x: Tensor) -> list[Tensor]:
        """Return what enters each layer, and what leaves the last, in the precision of `x`."""
        values = [x]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            y = affine(values[-1], weight.to(x.dtype), bias.to(x.dtype))
            values.append(y if len(values) == 3 else y.relu_())
        return values


class Coupling(Compilable):
    r"""A bijection :math:`(a, b) \mapsto (a, g(b; \theta(a)))` of two parts of the columns.

    The conditioner :math:`\theta` is a small network of any kind: neither direction
    differentiates it. Dense layers on either side mix the columns, so that the halves need not
    take turns. A subclass states `g`, elementwise, and how many numbers it takes for a column.
    Starts as the identity. After L. Dinh, J. Sohl-Dickstein and S. Bengio, "Density estimation
    using Real NVP", ICLR 2017.

    Parameters
    ----------
    n_features : int
        The number D of columns, at least two.
    n_outputs : int
        How many numbers `g` takes for each column.
    n_hidden : int
        The width of the two hidden layers of the conditioner.
    dtype : torch.dtype
        The precision of the parameters.
    n_given : int or None, default=None
        How many columns :math:`a` has, which come first; by default half of them.
    """

    n_features: int

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        n_hidden: int,
        *,
        dtype: torch.dtype,
        n_given: int | None = None,
    ) -> None:
        super().__init__()
        if n_features < 2:
            raise ValueError(f"n_features must be 2 or more for a coupling, got {n_features}.")
        self.n_features = n_features
        self.n_given = n_features // 2 if n_given is None else n_given
        if not 1 <= self.n_given < n_features:
            raise ValueError(
                f"n_given must be from 1 to {n_features - 1} for n_features={n_features}, got "
                f"{n_given}."
            )
        self.conditioner = Conditioner(
            self.n_given, (n_features - self.n_given) * n_outputs, n_hidden, dtype=dtype
        )

    @property
    def can_be_neutral(self) -> bool:
        """True: it starts as the identity in any case."""
        return True

    @abstractmethod
    def couple(self, b: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return `g(b)` and the logarithms of its slopes.

        Parameters
        ----------
        b : Tensor of shape (N, M)
            The half of the columns that is mapped.
        theta : Tensor of shape (N, M · `n_outputs`)
            What the conditioner says.
        """

    @abstractmethod
    def uncouple(self, b: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inverse of `g`, and minus the log-slopes there.

        Parameters
        ----------
        b : Tensor of shape (N, M)
            The half of the columns that is mapped.
        theta : Tensor of shape (N, M · `n_outputs`)
            What the conditioner says.
        """

    @abstractmethod
    def couple_and_pullback(
        self, b: Tensor, theta: Tensor
    ) -> tuple[Tensor, Tensor, CouplePullback]:
        """Do what :meth:`couple` does, with the derivatives written out.

        The pullback takes the gradients of both results, of which the second broadcasts, to
        those of `b` and `theta`.

        Parameters
        ----------
        b : Tensor of shape (N, M)
            The half of the columns that is mapped.
        theta : Tensor of shape (N, M · `n_outputs`)
            What the conditioner says.
        """

    def plain_forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        a, b = self._halves(x)
        b, log_slope = self.couple(b, self.conditioner(a))
        return torch.cat([a, b], 1), log_slope.sum(-1)

    def plain_inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        a, b = self._halves(y)
        b, log_slope = self.uncouple(b, self.conditioner(a))
        return torch.cat([a, b], 1), log_slope.sum(-1)

    def plain_forward_and_pullback(  # noqa: D102
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]:
        a, b = self._halves(x.to(self.conditioner.biases[0].dtype))
        theta, conditioner_pullback = self.conditioner.forward_and_pullback(a)
        b, log_slope, couple_pullback = self.couple_and_pullback(b, theta)

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            grad_a, grad_b = self._halves(grad_y)
            by_b, by_theta = couple_pullback(grad_b, grad_log_det.unsqueeze(-1))
            by_a = conditioner_pullback(by_theta).add_(grad_a)
            return torch.cat([by_a, by_b], 1) if input_gradient else None

        return torch.cat([a, b], 1), log_slope.sum(-1), pullback

    @torch.no_grad()
    def initialize(
        self, x: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        """Draw the hidden layers of the conditioner; the coupling stays the identity.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            Not used.
        generator : torch.Generator
            Where the randomness comes from.
        weights : Tensor of shape (N,) or None, default=None
            Not used.
        """
        self.conditioner.initialize(generator)

    def decaying_parameters(self) -> tuple[nn.Parameter, ...]:
        """Return the weights of the conditioner, without which nothing depends on anything."""
        return self.conditioner.weights

    def arguments(self) -> dict[str, Any]:  # noqa: D102
        return super().arguments() | {"n_hidden": self.conditioner.sizes[1]}

    def _affine_operation(self, **spline: Any) -> Operation:
        """Return an operation by affine maps, and by splines after them, as the conditioner says.

        Parameters
        ----------
        **spline : object
            What an :class:`Operation` takes for splines.
        """
        return Operation(
            self.n_features - self.n_given,
            n_given=self.n_given,
            conditioner=tuple(self.conditioner.parameters()),
            has_affine=True,
            **spline,
        )

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, : self.n_given], x[:, self.n_given :]


class AffineCoupling(Coupling):
    r"""Coupling by :math:`b \mapsto e^{s(a)} b + t(a)`, with :math:`|s| < 2`.

    Parameters
    ----------
    n_features : int
        The number D of columns, at least two.
    n_hidden : int, default=64
        The width of the two hidden layers of the conditioner.
    dtype : torch.dtype, default=torch.float32
        The precision of the parameters.
    n_given : int or None, default=None
        How many columns, the first ones, stay as they are and are what the others depend on. By
        default half of them.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import AffineCoupling
    >>> coupling = AffineCoupling(2)
    >>> coupling(torch.ones(1, 2))[0, 0].item()  # before training
    1.0
    """

    noun = "affine couplings"

    def __init__(
        self,
        n_features: int,
        *,
        n_hidden: int = 64,
        dtype: torch.dtype = torch.float32,
        n_given: int | None = None,
    ) -> None:
        super().__init__(n_features, 2, n_hidden, dtype=dtype, n_given=n_given)

    def couple(self, b: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        y, log_scale, _ = _affine(b, theta)
        return y, log_scale

    def uncouple(self, b: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        log_scale, shift = _log_scale_and_shift(theta)
        return (b - shift) * (-log_scale).exp(), -log_scale

    def operation(self) -> Operation | None:  # noqa: D102
        return self._affine_operation() if type(self) is AffineCoupling else None

    def couple_and_pullback(  # noqa: D102
        self, b: Tensor, theta: Tensor
    ) -> tuple[Tensor, Tensor, CouplePullback]:
        y, log_scale, scale = _affine(b, theta)

        def pullback(grad_y: Tensor, grad_log_slope: Tensor) -> tuple[Tensor, Tensor]:
            return _affine_derivatives(b, log_scale, scale, grad_y, grad_log_slope)

        return y, log_scale, pullback


def _log_scale_and_shift(theta: Tensor) -> tuple[Tensor, Tensor]:
    raw, shift = theta.chunk(2, 1)
    return 2 * torch.tanh(0.5 * raw), shift


def _affine(b: Tensor, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the values, the log-scale and the scale."""
    log_scale, shift = _log_scale_and_shift(theta)
    scale = log_scale.exp()
    return torch.addcmul(shift, b, scale), log_scale, scale


def _affine_derivatives(
    b: Tensor, log_scale: Tensor, scale: Tensor, grad_y: Tensor, grad_log_slope: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Return the gradients with respect to `b` and `theta`.

    With :math:`\lambda = 2 \tanh(\theta / 2)`, :math:`\lambda' = 1 - \lambda^2 / 4`.
    """
    by_b = grad_y * scale
    by_log_scale = torch.addcmul(grad_log_slope, by_b, b)
    by_raw = torch.addcmul(by_log_scale, by_log_scale, log_scale.square(), value=-0.25)
    return by_b, torch.cat([by_raw, grad_y], 1)


class SplineCoupling(Coupling):
    """Coupling by an affine map and a monotone rational-quadratic spline after it.

    The spline is the identity outside [-5, 5].

    After C. Durkan, A. Bekasov, I. Murray and G. Papamakarios, "Neural spline flows", NeurIPS
    2019. What flows in should have about zero mean and unit variance.

    Parameters
    ----------
    n_features : int
        The number D of columns, at least two.
    n_hidden : int, default=64
        The width of the two hidden layers of the conditioner.
    n_bins : int, default=8
        The number K of bins of a spline, a power of two.
    dtype : torch.dtype, default=torch.float32
        The precision of the parameters.
    n_given : int or None, default=None
        How many columns, the first ones, stay as they are and are what the others depend on. By
        default half of them.

    Notes
    -----
    Cost: O(N·D·K·`n_hidden`).

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import SplineCoupling
    >>> coupling = SplineCoupling(4)
    >>> coupling.initialize(torch.zeros(1, 4), torch.Generator())
    >>> x = torch.randn(3, 4)
    >>> bool(torch.allclose(coupling(x), x, atol=1e-5))  # before training
    True
    """

    noun = "spline couplings"

    def __init__(
        self,
        n_features: int,
        *,
        n_hidden: int = 64,
        n_bins: int = 8,
        dtype: torch.dtype = torch.float32,
        n_given: int | None = None,
    ) -> None:
        if n_bins < 2 or n_bins & (n_bins - 1):
            raise ValueError(f"n_bins must be a power of two and at least 2, got {n_bins!r}.")
        super().__init__(n_features, 3 * n_bins + 1, n_hidden, dtype=dtype, n_given=n_given)
        self.n_bins = n_bins

    def couple(self, b: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        affine, table, _ = self._affine_and_table(theta)
        moved, log_scale, _ = _affine(b, affine)
        y, log_slope = evaluate(table, moved)
        return y, log_slope + log_scale

    def uncouple(self, b: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        affine, table, _ = self._affine_and_table(theta)
        log_scale, shift = _log_scale_and_shift(affine)
        x, log_slope = evaluate_inverse(table, b)
        return (x - shift) * (-log_scale).exp(), log_slope - log_scale

    def couple_and_pullback(  # noqa: D102
        self, b: Tensor, theta: Tensor
    ) -> tuple[Tensor, Tensor, CouplePullback]:
        affine, table, table_pullback = self._affine_and_table(theta)
        moved, log_scale, scale = _affine(b, affine)
        y, log_slope, spline_pullback = evaluate_and_pullback(table, moved)

        def pullback(grad_y: Tensor, grad_log_slope: Tensor) -> tuple[Tensor, Tensor]:
            by_moved, grad_table = spline_pullback(grad_y, grad_log_slope)
            by_b, by_affine = _affine_derivatives(b, log_scale, scale, by_moved, grad_log_slope)
            by_splines = (gradient.flatten(1) for gradient in table_pullback(grad_table))
            return by_b, torch.cat([by_affine, *by_splines], 1)

        return y, log_slope.add_(log_scale), pullback

    def operation(self) -> Operation | None:  # noqa: D102
        if type(self) is not SplineCoupling:
            return None
        low = torch.full((2, self.n_features), -HALF_BOX, dtype=self.conditioner.biases[0].dtype)
        spline = {"n_bins": self.n_bins, "low": low, "size": -2 * low, "n_shares": N_SHARES}
        return self._affine_operation(**spline)

    def extra_repr(self) -> str:  # noqa: D102
        return f"n_features={self.n_features}, n_bins={self.n_bins}"

    def _affine_and_table(
        self, theta: Tensor
    ) -> tuple[Tensor, Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
        n_columns, n_bins = self.n_features - self.n_given, self.n_bins
        affine, spacings, slopes = theta.split(
            [2 * n_columns, 2 * n_columns * n_bins, n_columns * (n_bins - 1)], dim=1
        )
        table, table_pullback = table_and_pullback(
            spacings.view(-1, 2, n_columns, n_bins),
            slopes.view(-1, n_columns, n_bins - 1),
            -HALF_BOX,
            2 * HALF_BOX,
            least_share=1 / N_SHARES,
        )
        return affine, table, table_pullback
