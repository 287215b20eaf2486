"""Runs of neighbours in a flow that compiled kernels map in one pass."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from skflow.flow.bijection import Bijection, Pullback
from skflow.flow.compiled import Program, are_compiled
from skflow.flow.operations import Operation
from skflow.flow.products import product
from skflow.flow.relative import Factors, RelativeLayer

__all__ = ["Run", "in_runs"]

# Products of larger matrices are left to libraries that use all cores for one.
_MOST_FEATURES = 256


def in_runs(bijections: Sequence[Bijection], n_features: int) -> list[Bijection | Run]:
    """Group those neighbours among bijections that are operations of compiled kernels.

    Parameters
    ----------
    bijections : sequence of Bijection
        Those of a flow.
    n_features : int
        The number D of columns.

    Returns
    -------
    parts : list of Bijection or Run
        In the same order.
    """
    parts: list[Bijection | Run] = []
    for is_operation, group in itertools.groupby(bijections, lambda one: _is_operation(one)):
        neighbours = list(group)
        if is_operation and len(neighbours) > 1 and n_features <= _MOST_FEATURES:
            parts.append(Run(neighbours, n_features))
        else:
            parts.extend(neighbours)
    return parts


def _is_operation(bijection: Bijection) -> bool:
    return bijection.operation() is not None


class Run:
    """Bijections that follow one another in a flow, as one.

    Parameters
    ----------
    bijections : sequence of Bijection
        All of them are operations of kernels.
    n_features : int
        The number D of columns.
    """

    def __init__(self, bijections: Sequence[Bijection], n_features: int) -> None:
        self.bijections = tuple(bijections)
        self.n_features = n_features
        self._layers = [one for one in self.bijections if isinstance(one, RelativeLayer)]
        self._program: Program | None = None
        self._parameters: list[nn.Parameter] = []

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map rows, as a bijection does.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        """
        program = self._program_for(x)
        if program is not None:
            y, log_det = program.forward(x)
            for layer in self._layers:
                log_det += layer.log_abs_det().sum().to(log_det)
            return y, log_det
        log_det = x.new_zeros(x.shape[0])
        for bijection in self.bijections:
            x, term = bijection.forward_and_log_det(x)
            log_det = log_det + term
        return x, log_det

    def forward(self, x: Tensor) -> Tensor:
        """Map rows.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        """
        program = self._program_for(x)
        if program is not None:
            return program.forward(x)[0]
        for bijection in self.bijections:
            x = bijection(x)
        return x

    def forward_and_pullback(
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]:
        """Map rows for a step of training, as a bijection does.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        input_gradient : bool, default=True
            Whether the gradient with respect to `x` will be wanted.
        """
        program = self._own_program() if are_compiled(x) else None
        if program is None:
            return self._one_by_one(x, input_gradient=input_gradient)
        y, log_det, program_pullback = program.forward_and_pullback(x.to(program.dtype))

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            pulled = program_pullback(grad_y, grad_log_det, input_gradient)
            for k, layer in enumerate(self._layers):
                delta, layer_y = pulled.deltas[k : k + 1].mT, pulled.ys[k : k + 1].mT
                few = len(x) < self.n_features
                y_weight = product(layer_y, layer.weight) if few else None
                layer.keep_factors(Factors(delta, layer_y, y_weight))
            return pulled.by_x

        return y, log_det, pullback

    def _one_by_one(self, x: Tensor, *, input_gradient: bool) -> tuple[Tensor, Tensor, Pullback]:
        log_dets, pullbacks = [], []
        for k, bijection in enumerate(self.bijections):
            x, log_det, pullback = bijection.forward_and_pullback(
                x, input_gradient=input_gradient or k > 0
            )
            log_dets.append(log_det)
            pullbacks.append(pullback)

        def pull_back(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            gradient: Tensor | None = grad_y
            for pullback in reversed(pullbacks):
                assert gradient is not None
                gradient = pullback(gradient, grad_log_det)
            return gradient

        return x, sum(log_dets[1:], log_dets[0]), pull_back

    def _program_for(self, x: Tensor) -> Program | None:
        """Return the program that maps rows in their precision, where there are kernels."""
        program = self._own_program() if are_compiled(x) else None
        if program is None or not are_compiled(x, *self._parameters):
            return None
        if program.dtype == x.dtype:
            return program
        return Program([one.to(x.dtype) for one in program.operations], self.n_features)

    def _own_program(self) -> Program | None:
        """Return the program of the parameters, which is kept while they stay where they are."""
        for layer in self._layers:
            layer.settle()
        if self._program is None or not self._program.is_valid:
            operations = [one.operation() for one in self.bijections]
            self._program = _program(operations, self.n_features)
            self._parameters = [p for one in self.bijections for p in one.parameters()]
        return self._program


def _program(operations: Sequence[Operation | None], n_features: int) -> Program | None:
    """Return the program of operations whose tensors are read where they are, if they can be."""
    known = [one for one in operations if one is not None]
    tensors = [tensor for one in known for tensor in one.tensors]
    alike = all(
        tensor.is_contiguous() and tensor.device.type == "cpu" and tensor.dtype == tensors[0].dtype
        for tensor in tensors
    )
    if len(known) < len(operations) or not alike or not are_compiled(tensors[0]):
        return None
    return Program(known, n_features)
