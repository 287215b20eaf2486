"""A flow as a distribution of PyTorch's."""

from __future__ import annotations

import math
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution, constraints

if TYPE_CHECKING:
    from skflow.flow.network import Flow

__all__ = ["FlowDistribution", "as_distribution"]


class FlowDistribution(Distribution):
    r"""A flow as a distribution of :mod:`torch.distributions`, of vectors of shape (D,).

    It goes wherever such a distribution goes. Pyro takes it as it is if
    ``pyro.distributions`` was imported before :meth:`Flow.as_distribution` was called: it then
    has what Pyro's own distributions have, and ``pyro.sample("x", flow_.as_distribution())``
    works.

    Parameters
    ----------
    flow : Flow
        Not copied: it can be trained by way of the distribution.
    dtype : torch.dtype or None, default=None
        The precision of samples. None is PyTorch's default when this is made.
    batch_shape : tuple of int, default=()
        The shape of a batch of independent copies.
    validate_args : bool or None, default=None
        Whether to check arguments, as for other distributions.

    Notes
    -----
    Samples are drawn from PyTorch's global generator, by way of a seed.

    :meth:`rsample` carries gradients from samples to the parameters of the bijections. The inverse
    is found by iteration, so that they are those of the implicit function: with
    :math:`f(x) = z`, they take the Jacobian of `f` at each row, and D backward passes, if they are
    asked for. They cannot be differentiated again. Where the base distribution itself has
    parameters that are trained, samples would need another way back, and there is no `rsample`.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import Flow, LinearStack, Normal
    >>> flow = Flow([LinearStack(1, 2)], Normal(), n_features=2)
    >>> distribution = flow.as_distribution()
    >>> distribution.sample((4, 3)).shape
    torch.Size([4, 3, 2])
    >>> distribution.log_prob(torch.zeros(5, 1, 2)).shape
    torch.Size([5, 1])
    """

    arg_constraints = {}  # noqa: RUF012
    support = constraints.real_vector

    def __init__(
        self,
        flow: Flow,
        *,
        dtype: torch.dtype | None = None,
        batch_shape: tuple[int, ...] = (),
        validate_args: bool | None = None,
    ) -> None:
        self.flow = flow
        self.dtype = torch.get_default_dtype() if dtype is None else dtype
        event_shape = torch.Size((flow.n_features,))
        super().__init__(torch.Size(batch_shape), event_shape, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether samples carry gradients: the base distribution has nothing to train."""
        return not any(parameter.requires_grad for parameter in self.flow.base.parameters())

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """Return a batch of independent copies, which share the flow.

        Parameters
        ----------
        batch_shape : tuple of int
            The shape of the batch, to which this one's broadcasts.
        _instance : object
            Not used: a convention of PyTorch.

        Returns
        -------
        distribution : FlowDistribution
            The new distribution.
        """
        shape, old = torch.Size(batch_shape), self.batch_shape
        padded = (1,) * (len(shape) - len(old)) + tuple(old)
        if len(padded) > len(shape) or any(
            a not in (1, b) for a, b in zip(padded, shape, strict=True)
        ):
            raise ValueError(
                f"A distribution with batch_shape={tuple(self.batch_shape)} cannot be expanded to "
                f"{tuple(batch_shape)}: pass a shape that it broadcasts to."
            )
        checked = self._validate_args
        return type(self)(self.flow, dtype=self.dtype, batch_shape=shape, validate_args=checked)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density.

        Parameters
        ----------
        value : Tensor of shape (..., D)
            The vectors.

        Returns
        -------
        log_prob : Tensor of shape (...)
            In nats; of the shape that this one's batch broadcasts to.
        """
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        rows = value.reshape(-1, self.flow.n_features)
        return self.flow.log_prob(rows).reshape(value.shape[:-1]).expand(shape)

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        r"""Draw vectors.

        Parameters
        ----------
        sample_shape : tuple of int, default=()
            How many to draw for each member of the batch.

        Returns
        -------
        x : Tensor of shape (\*sample_shape, \*batch_shape, D)
            The rows before the map.
        """
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.flow.sample(math.prod(shape[:-1]), dtype=self.dtype).reshape(shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        r"""Draw vectors that carry gradients to the parameters of the bijections.

        Parameters
        ----------
        sample_shape : tuple of int, default=()
            How many to draw for each member of the batch.

        Returns
        -------
        x : Tensor of shape (\*sample_shape, \*batch_shape, D)
            The rows before the map.

        Raises
        ------
        NotImplementedError
            If the base distribution has parameters that are trained.
        """
        if not self.has_rsample:
            raise NotImplementedError(
                f"Samples of {type(self.flow.base).__name__}() carry no gradients to its own "
                "parameters. Call flow.base.requires_grad_(False) to hold them, or use sample()."
            )
        x = self.sample(sample_shape)
        if not torch.is_grad_enabled():
            return x
        rows = x.reshape(-1, x.shape[-1])
        z = self.flow(rows)
        if not z.requires_grad:
            return x
        differentiable: Tensor = _Implicit.apply(z, rows, self.flow)  # type: ignore[no-untyped-call]
        return differentiable.reshape(x.shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.flow!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (self.flow, self.dtype, tuple(self.batch_shape), self._validate_args)


def as_distribution(flow: Flow, *, dtype: torch.dtype | None = None) -> FlowDistribution:
    """Return a :class:`FlowDistribution`, with what Pyro needs if that is in use.

    Parameters
    ----------
    flow : Flow
        The flow.
    dtype : torch.dtype or None, default=None
        The precision of samples. None is PyTorch's default.
    """
    return _kind()(flow, dtype=dtype)


def _kind() -> type[FlowDistribution]:
    pyro = sys.modules.get("pyro.distributions.torch_distribution")
    return FlowDistribution if pyro is None else _kind_for_pyro(pyro.TorchDistributionMixin)


@cache
def _kind_for_pyro(mixin: type) -> type[FlowDistribution]:
    return cast(
        type[FlowDistribution], type(mixin)("FlowDistribution", (FlowDistribution, mixin), {})
    )


def _remade(
    flow: Flow, dtype: torch.dtype, batch_shape: tuple[int, ...], checked: bool
) -> FlowDistribution:
    return _kind()(flow, dtype=dtype, batch_shape=batch_shape, validate_args=checked)


class _Implicit(torch.autograd.Function):
    """Rows `x`, as a function of the parameters of the flow that maps them to fixed latents."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, x: Tensor, flow: Flow) -> Tensor:
        ctx.save_for_backward(x)
        ctx.flow = flow
        return x.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # J dx + dz = 0, where J is the Jacobian and dz what the parameters do to z at x.
        (x,) = ctx.saved_tensors
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            totals = ctx.flow(x).sum(0).unbind()
        rows = [torch.autograd.grad(total, x, retain_graph=True)[0] for total in totals]
        jacobian = torch.stack(rows, dim=1)
        by_z = torch.linalg.solve(jacobian.mT, grad.unsqueeze(-1)).squeeze(-1)
        return -by_z, None, None
