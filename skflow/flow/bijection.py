"""The contract of every bijection of R^D."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["Bijection", "Pullback", "add_gradient"]

Pullback = Callable[[Tensor, Tensor], Tensor | None]


class Bijection(nn.Module, ABC):
    r"""A differentiable, invertible map of :math:`\mathbb{R}^D`, applied to each row.

    A subclass states :meth:`forward_and_log_det` and :meth:`inverse_and_log_det`. Both
    compute in the precision of their input, whatever that of the parameters.
    """

    @abstractmethod
    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Map `x` and return :math:`\log|\det \partial y / \partial x|` beside it.

        Parameters
        ----------
        x : Tensor of shape (N, D)

        Returns
        -------
        y : Tensor of shape (N, D)
        log_det : Tensor of shape (N,)
            In nats.
        """

    @abstractmethod
    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Map `y` back and return :math:`\log|\det \partial x / \partial y|` beside it.

        Parameters
        ----------
        y : Tensor of shape (N, D)

        Returns
        -------
        x : Tensor of shape (N, D)
        log_det : Tensor of shape (N,)
            In nats: the negative of what :meth:`forward_and_log_det` gives at `x`.

        Raises
        ------
        InversionError
            If the inverse could not be found to working precision.
        """

    def forward(self, x: Tensor) -> Tensor:
        """Map `x`, of shape (N, D)."""
        return self.forward_and_log_det(x)[0]

    def inverse(self, y: Tensor) -> Tensor:
        """Map `y`, of shape (N, D), back."""
        return self.inverse_and_log_det(y)[0]

    def forward_and_pullback(
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]:
        r"""Do what :meth:`forward_and_log_det` does, for a step of training.

        A bijection trained by the relative gradient leaves its :math:`\log|\det W|` out, and
        its pullback keeps the factors of the update. All others train by ordinary automatic
        differentiation, which this method does by default.

        Parameters
        ----------
        x : Tensor of shape (N, D)
        input_gradient : bool, default=True
            Whether the gradient with respect to `x` will be wanted.

        Returns
        -------
        y : Tensor of shape (N, D)
        log_det : Tensor of shape (N,)
            In nats.
        pullback : callable
            Takes the gradients of a loss with respect to `y`, of shape (N, D), and to
            `log_det`, of shape (N,). Adds to the gradients of the parameters and returns the
            one with respect to `x`, or None if that is not wanted. To be called once.
        """
        x = x.detach().requires_grad_(input_gradient)
        with torch.enable_grad():
            y, log_det = self.forward_and_log_det(x)

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            pairs = ((y, grad_y), (log_det, grad_log_det))
            outputs = [output for output, _ in pairs if output.requires_grad]
            gradients = [gradient for output, gradient in pairs if output.requires_grad]
            if outputs:
                torch.autograd.backward(outputs, gradients)
            return x.grad

        return y.detach(), log_det.detach(), pullback

    @torch.no_grad()
    def initialize(
        self, x: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        """Set the parameters from a sample of what will flow in.

        By default, the parameters stay what the constructor made them.

        Parameters
        ----------
        x : Tensor of shape (N, D)
        generator : torch.Generator
            Where the randomness comes from.
        weights : Tensor of shape (N,) or None, default=None
            How many rows each row stands for; by default one.
        """


def add_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to the gradient of a parameter, as automatic differentiation does."""
    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
