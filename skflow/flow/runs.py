"""Runs of neighbours in a flow that compiled kernels map in one pass."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from operator import is_

from torch import Tensor

from skflow.flow.bijection import Bijection, Pullback
from skflow.flow.chains import map_through, pull_through
from skflow.flow.compiled import Program, are_compiled
from skflow.flow.products import product
from skflow.flow.relative import Factors, RelativeLayer
from skflow.flow.tracing import is_differentiated, is_traced

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
        self._find_members()

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
        return map_through(self.bijections, x)

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
            y, log_dets, pullback_of_all = pull_through(
                self.bijections, x, input_gradient=input_gradient
            )
            return y, sum(log_dets[1:], log_dets[0]), pullback_of_all
        y, log_det, program_pullback = program.forward_and_pullback(x.to(program.dtype))

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            pulled = program_pullback(grad_y, grad_log_det, input_gradient)
            for k, layer in enumerate(self._layers):
                delta, layer_y = pulled.deltas[k : k + 1].mT, pulled.ys[k : k + 1].mT
                wanted = layer.wants_product(len(x))
                y_weight = product(layer_y, layer.weight) if wanted else None
                layer.keep_factors(Factors(delta, layer_y, y_weight))
            return pulled.by_x

        return y, log_det, pullback

    def _program_for(self, x: Tensor) -> Program | None:
        """Return the program that maps rows in their precision, where there are kernels."""
        program = self._own_program() if are_compiled(x) else None
        if program is None or is_differentiated(*self._tensors):
            return None
        if program.dtype == x.dtype:
            return program
        return Program([one.to(x.dtype) for one in program.operations], self.n_features)

    def _own_program(self) -> Program | None:
        """Return the program of the parameters, if they can be read where they are.

        It is kept as long as they are the same tensors, at the same place.
        """
        for layer in self._layers:
            layer.settle()
        members = [member for named in self._named for member in named.values()]
        are_known = len(members) == len(self._members) and all(map(is_, members, self._members))
        if not are_known or self._program is None or not self._program.is_valid:
            self._find_members()
            self._program = self._new_program()
        return self._program

    def _find_members(self) -> None:
        """Note all tensors and modules within, by which it is told when one is replaced."""
        modules = [module for one in self.bijections for module in one.modules()]
        self._named = [
            named
            for module in modules
            for named in (module._parameters, module._buffers, module._modules)
        ]
        self._members = [member for named in self._named for member in named.values()]
        self._tensors = [member for member in self._members if isinstance(member, Tensor)]

    def _new_program(self) -> Program | None:
        if is_traced(*self._tensors):
            return None
        found = [one.operation() for one in self.bijections]
        operations = [one for one in found if one is not None]
        tensors = [tensor for one in operations for tensor in one.tensors]
        alike = all(
            tensor.is_contiguous()
            and tensor.device.type == "cpu"
            and tensor.dtype == tensors[0].dtype
            for tensor in tensors
        )
        if not alike or len(operations) < len(self.bijections):
            return None
        return Program(operations, self.n_features)
