"""A flow's density as a module, for PyTorch's exporters."""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn

from skflow.flow.base import StudentT
from skflow.flow.linear import LinearStack
from skflow.flow.network import Flow

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
                if isinstance(child, LinearStack):
                    setattr(parent, name, _FixedStack(child))
                elif isinstance(child, StudentT):
                    setattr(parent, name, _FixedStudentT(child))
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


class _FixedStack(LinearStack):
    """Dense layers that do not change, so that their log-determinants are a buffer."""

    fixed_log_abs_det: Tensor

    def __init__(self, stack: LinearStack) -> None:
        n_layers, n_features, _ = stack.weight.shape
        super().__init__(
            n_layers,
            n_features,
            activation=stack.activation,
            bias=stack.bias is not None,
            dtype=stack.weight.dtype,
        )
        known = stack.log_abs_det()  # carries out a gain as well
        self.load_state_dict(stack.state_dict())
        self.to(stack.weight.device).requires_grad_(False)
        self.register_buffer("fixed_log_abs_det", known.detach().clone())

    def log_abs_det(self) -> Tensor:
        return self.fixed_log_abs_det


class _FixedStudentT(StudentT):
    """A Student's t that does not change, so that its gamma functions are in a buffer."""

    fixed_log_norm: Tensor

    def __init__(self, base: StudentT) -> None:
        super().__init__()
        self.log_inverse = base.log_inverse
        self.register_buffer("fixed_log_norm", base.log_norm())

    def log_norm(self) -> Tensor:
        return self.fixed_log_norm
