"""Conditional flows whose context is bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from skflow.flow.given import GivenBase

if TYPE_CHECKING:
    from skflow.flow.network import Flow

__all__ = ["Bound"]


class Bound:
    r"""The densities :math:`p(y \mid c_i)` of rows of a context.

    :meth:`Flow.given` makes it.

    Parameters
    ----------
    flow : Flow
        Whose base is a :class:`GivenBase`.
    context : Tensor of shape (N, C)
        A row for each density.

    Raises
    ------
    ValueError
        If the flow has no context, or one of another number of columns.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import Flow, GivenBase, GivenLinear, Normal
    >>> line = GivenLinear(torch.tensor([[2.0]]), torch.zeros(1), torch.tensor([[10.0]]))
    >>> flow = Flow([line], GivenBase(Normal(), 1), n_features=2)
    >>> flow.given(torch.tensor([[3.0]])).inverse(torch.tensor([[0.0]]))
    tensor([[6.]])
    """

    def __init__(self, flow: Flow, context: Tensor) -> None:
        n_context = flow.base.n_context if isinstance(flow.base, GivenBase) else 0
        if context.ndim != 2 or context.shape[1] != n_context or not n_context:
            raise ValueError(
                f"context must have the {n_context} column(s) that the flow takes as given, got "
                f"shape {tuple(context.shape)}."
            )
        self.flow = flow
        self.context = context
        self.n_features = flow.n_features - n_context

    def log_prob(self, y: Tensor) -> Tensor:
        """Return the log-density of each row given its context.

        Parameters
        ----------
        y : Tensor of shape (N, K)
            The rows.

        Returns
        -------
        log_prob : Tensor of shape (N,)
            In nats, in the units of `y`.
        """
        return self.flow.log_prob(self._rows(y))

    def forward(self, y: Tensor) -> Tensor:
        """Map rows to latents.

        Parameters
        ----------
        y : Tensor of shape (N, K)
            The rows.

        Returns
        -------
        z : Tensor of shape (N, K)
            They follow the base distribution, whatever the context.
        """
        return self.flow(self._rows(y))[:, -self.n_features :]

    def inverse(self, z: Tensor) -> Tensor:
        """Map latents to rows.

        Parameters
        ----------
        z : Tensor of shape (N, K)
            Latents.

        Returns
        -------
        y : Tensor of shape (N, K)
            The rows.
        """
        return self.flow.inverse(self._rows(z))[:, -self.n_features :]

    def sample(self, *, generator: torch.Generator) -> Tensor:
        """Draw a row given each row of the context.

        Parameters
        ----------
        generator : torch.Generator
            Where the randomness comes from; on the device of the flow.

        Returns
        -------
        y : Tensor of shape (N, K)
            In the precision of the context.
        """
        assert isinstance(self.flow.base, GivenBase)
        shape = (len(self.context), self.n_features)
        dtype = self.context.dtype
        return self.inverse(self.flow.base.base.sample(shape, generator=generator, dtype=dtype))

    def _rows(self, y: Tensor) -> Tensor:
        if y.shape != (len(self.context), self.n_features):
            raise ValueError(
                f"Rows must have shape {(len(self.context), self.n_features)}, one for each row "
                f"of the context, got {tuple(y.shape)}."
            )
        return torch.cat([self.context.to(y.dtype), y], 1)
