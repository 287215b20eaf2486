"""A flow's density as a module, for PyTorch's exporters."""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn

from skflow.flow.base import BaseDistribution
from skflow.flow.network import Flow
from skflow.flow.relative import RelativeLayer

__all__ = ["LogDensity"]


class LogDensity(nn.Module):
    """The log-density of a fitted flow as a module of its own, to be exported.

    Calling it does what :meth:`Flow.log_prob` does. It has a copy of the flow that does not
    train: the log-determinants of the dense layers are computed once, and are constants of what
    is exported. Neither factorisations nor gamma functions are left, which ONNX does not have.
    The latents need no such module: a flow is one, and calling it maps rows to latents.

    Parameters
    ----------
    flow : Flow
        Copied. If its base distribution is one of :mod:`torch.distributions`, that must have
        been made with ``validate_args=False``: its checks depend on values.

    Notes
    -----
    Cost: that of the log-determinants, O(L·D³) for each stack of dense layers unless they are
    known, and a copy of the flow.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import Flow, LinearStack, LogDensity, Normal
    >>> flow = Flow([LinearStack(1, 2)], Normal(), n_features=2)
    >>> rows = torch.export.Dim("rows")
    >>> program = torch.export.export(
    ...     LogDensity(flow), (torch.zeros(3, 2),), dynamic_shapes=({0: rows},)
    ... )
    >>> program.module()(torch.zeros(5, 2)).shape
    torch.Size([5])
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = deepcopy(flow).requires_grad_(False)
        for parent in list(self.flow.modules()):
            for name, child in parent.named_children():
                if isinstance(child, RelativeLayer | BaseDistribution):
                    setattr(parent, name, child.fixed())
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-density of each row, in nats.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.

        Returns
        -------
        log_prob : Tensor of shape (N,)
            In nats, in the units of `x`.
        """
        return self.flow.log_prob(x)
