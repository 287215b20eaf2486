"""Bijections that compiled kernels carry out, where there are kernels."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from skflow.flow.bijection import Bijection, Pullback
from skflow.flow.compiled import Program, are_compiled

__all__ = ["Compilable"]


class Compilable(Bijection):
    """A bijection that is an :class:`Operation`.

    Beside :meth:`operation`, a subclass states the methods of a bijection in PyTorch, under names
    that begin with ``plain_``. They are what other devices use, what PyTorch differentiates and
    records, and what the kernels are tested against.
    """

    @abstractmethod
    def plain_forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Do what :meth:`forward_and_log_det` does.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        """

    @abstractmethod
    def plain_inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Do what :meth:`inverse_and_log_det` does.

        Parameters
        ----------
        y : Tensor of shape (N, D)
            The rows to map back.
        """

    @abstractmethod
    def plain_forward_and_pullback(
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]:
        """Do what :meth:`forward_and_pullback` does.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        input_gradient : bool, default=True
            Whether the gradient with respect to `x` will be wanted.
        """

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        program = self._program(x)
        return self.plain_forward_and_log_det(x) if program is None else program.forward(x)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        program = self._program(y)
        if program is None:
            return self.plain_inverse_and_log_det(y)
        return program.forward(y, back=True)

    def forward_and_pullback(  # noqa: D102
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]:
        x = x.to(next(self.parameters()).dtype)
        program = self._program(x)
        if program is None:
            return self.plain_forward_and_pullback(x, input_gradient=input_gradient)
        y, log_det, program_pullback = program.forward_and_pullback(x)

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            return program_pullback(grad_y, grad_log_det, input_gradient).by_x

        return y, log_det, pullback

    def _program(self, x: Tensor) -> Program | None:
        operation = self.operation()
        if operation is None or not are_compiled(x, *operation.tensors):
            return None
        return Program([operation.to(x.dtype)], x.shape[1])
