"""Parameters as one vector."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["ParameterVector", "alike", "parameter_vectors"]

T = TypeVar("T", bound=Tensor)


class ParameterVector:
    """Parameters that lie behind one another in a vector, and their gradients in another.

    An optimiser's step is then a few operations, however many parameters there are. The
    parameters stay what they are, and become views: what writes to them writes to the vector.

    Parameters
    ----------
    parameters : iterable of Parameter
        Of one precision, on one device. Their data, and gradients if there are any, are moved.

    Attributes
    ----------
    vector : Parameter
        All entries. Its gradient is that of all parameters.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self.vector = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in self._parameters]))
        self.gradient = torch.zeros_like(self.vector)
        self.vector.grad = self.gradient
        sizes = [p.numel() for p in self._parameters]
        parts = zip(self._parameters, self.vector.detach().split(sizes), strict=True)
        for parameter, part in parts:
            parameter.data = part.view_as(parameter)
        self._views = [
            part.view_as(parameter)
            for parameter, part in zip(self._parameters, self.gradient.split(sizes), strict=True)
        ]
        self.collect()

    def collect(self) -> None:
        """Take in those gradients that were put elsewhere."""
        for parameter, view in zip(self._parameters, self._views, strict=True):
            if parameter.grad is not view:
                if parameter.grad is None:
                    view.zero_()
                else:
                    view.copy_(parameter.grad)
                parameter.grad = view

    def n_entries_of(self, parameters: Container[int]) -> int:
        """Return how many entries some of the parameters have.

        Parameters
        ----------
        parameters : container of int
            Their identities.
        """
        return sum(one.numel() for one in self._parameters if id(one) in parameters)

    def zero_gradients(self) -> None:
        """Make all gradients zero, in place."""
        self.gradient.zero_()


def parameter_vectors(parameters: Iterable[nn.Parameter]) -> list[ParameterVector]:
    """Return vectors of parameters: one for each device and precision.

    Parameters
    ----------
    parameters : iterable of Parameter
        To be moved.
    """
    return [ParameterVector(group) for group in alike(parameters)]


def alike(parameters: Iterable[T]) -> list[list[T]]:
    """Divide parameters by where they are and what their precision is.

    Parameters
    ----------
    parameters : iterable of Tensor
        In any order, which they keep within a group.
    """
    groups: dict[tuple[torch.device, torch.dtype], list[T]] = {}
    for parameter in parameters:
        groups.setdefault((parameter.device, parameter.dtype), []).append(parameter)
    return list(groups.values())
