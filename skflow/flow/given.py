r"""Flows on rows :math:`(c, y)` that keep `c`: conditional densities :math:`p(y \mid c)`.

The first columns of such a row are its context. Every bijection leaves the context as it is, so
that the log-determinant of a flow is that of :math:`y \mapsto z` given the context, and the base
distribution counts the other columns alone. What a flow then says of a row is
:math:`\log p(y \mid c)`, and everything that trains flows trains this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from skflow.flow.base import BaseDistribution
from skflow.flow.bijection import Bijection, Pullback

if TYPE_CHECKING:
    from skflow.flow.network import Flow

__all__ = ["Bound", "Given", "GivenBase", "GivenLinear", "Leading"]


class _OfSome(Bijection):
    """A bijection of some columns, one beside the other. All before and behind them stay.

    Parameters
    ----------
    bijection : Bijection
        The map.
    first : int
        The first of the columns.
    end : int or None
        The first one behind them; None if they are the last.
    """

    def __init__(self, bijection: Bijection, first: int, end: int | None) -> None:
        super().__init__()
        self.bijection = bijection
        self._first, self._end = first, end

    @property
    def can_be_neutral(self) -> bool:
        """Whether the bijection can."""
        return self.bijection.can_be_neutral

    def start_neutral(self) -> None:
        self.bijection.start_neutral()

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_det = self.bijection.forward_and_log_det(self._own(x))
        return self._among(x, y), log_det

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = self.bijection.inverse_and_log_det(self._own(y))
        return self._among(y, x), log_det

    def forward_and_pullback(
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]:
        y, log_det, inner = self.bijection.forward_and_pullback(
            self._own(x).contiguous(), input_gradient=input_gradient
        )

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            by_own = inner(self._own(grad_y).contiguous(), grad_log_det)
            return None if by_own is None else self._among(grad_y, by_own)

        return self._among(x, y), log_det, pullback

    @torch.no_grad()
    def initialize(
        self, x: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        self.bijection.initialize(self._own(x).contiguous(), generator, weights)

    def _own(self, x: Tensor) -> Tensor:
        return x[:, self._first : self._end]

    def _among(self, x: Tensor, own: Tensor) -> Tensor:
        """Put columns in the place of those of `x`."""
        parts = [x[:, : self._first].to(own.dtype), own]
        if self._end is not None:
            parts.append(x[:, self._end :].to(own.dtype))
        return torch.cat(parts, 1)


class Given(_OfSome):
    r"""A bijection of the last columns, :math:`(c, y) \mapsto (c, f(y))`.

    Parameters
    ----------
    bijection : Bijection
        The map :math:`f`. A dense layer in it trains by the relative gradient.
    n_context : int
        The number of columns of the context `c`, which come first.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import Given, Standardize
    >>> halve = Standardize(torch.zeros(1), torch.full((1,), 2.0))
    >>> Given(halve, 2)(torch.tensor([[8.0, 8.0, 8.0]]))
    tensor([[8., 8., 4.]])
    """

    def __init__(self, bijection: Bijection, n_context: int) -> None:
        super().__init__(bijection, n_context, None)
        self.n_context = n_context
        inner = bijection.n_features
        self.n_features = None if inner is None else n_context + inner


class Leading(_OfSome):
    r"""A bijection of the first columns, :math:`(c, y) \mapsto (f(c), y)`.

    With it, a flow models one target after the other: that of the first target takes the context,
    and that of each further target takes the targets before it as well.

    Parameters
    ----------
    bijection : Bijection
        The map :math:`f`, which knows its number of columns.
    n_features : int
        The number of all columns.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import Leading, Standardize
    >>> halve = Standardize(torch.zeros(1), torch.full((1,), 2.0))
    >>> Leading(halve, 3)(torch.tensor([[8.0, 8.0, 8.0]]))
    tensor([[4., 8., 8.]])
    """

    def __init__(self, bijection: Bijection, n_features: int) -> None:
        super().__init__(bijection, 0, bijection.n_features)
        self.n_features = n_features


class GivenLinear(Bijection):
    r"""A linear regression on the context, :math:`(c, y) \mapsto (c, W (y - B c - a))`.

    Normal errors of the same covariance everywhere, :math:`(W^\top W)^{-1}`, become standard
    normal. It does not train.

    Parameters
    ----------
    coefficients : Tensor of shape (K, C)
        The matrix `B`.
    intercepts : Tensor of shape (K,)
        The vector `a`.
    whitening : Tensor of shape (K, K)
        The matrix `W`, lower triangular with a positive diagonal. For one target, the map is
        increasing.

    Notes
    -----
    Cost: O(N·K·(C + K)).

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import GivenLinear
    >>> line = GivenLinear(torch.tensor([[2.0]]), torch.zeros(1), torch.tensor([[10.0]]))
    >>> line.forward_and_log_det(torch.tensor([[3.0, 6.1]]).double())
    (tensor([[3.0000, 1.0000]], dtype=torch.float64), tensor([2.3026], dtype=torch.float64))
    """

    coefficients: Tensor
    intercepts: Tensor
    whitening: Tensor

    def __init__(self, coefficients: Tensor, intercepts: Tensor, whitening: Tensor) -> None:
        super().__init__()
        self.n_context = coefficients.shape[1]
        self.n_features = sum(coefficients.shape)
        self.register_buffer("coefficients", coefficients.double())
        self.register_buffer("intercepts", intercepts.double())
        self.register_buffer("whitening", whitening.double())

    def arguments(self) -> dict[str, Any]:  # noqa: D102
        raise TypeError(f"A {type(self).__name__} is made of arrays, which are no plain data.")

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        c, y = self._parts(x)
        residuals = y.double() - self._means(c)
        z = (residuals @ self.whitening.T).to(x.dtype)
        return torch.cat([c, z], 1), self._log_det(x)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        c, z = self._parts(y)
        residuals = torch.linalg.solve_triangular(self.whitening, z.double().T, upper=False).T
        return torch.cat([c, (residuals + self._means(c)).to(y.dtype)], 1), -self._log_det(y)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, : self.n_context], x[:, self.n_context :]

    def _means(self, c: Tensor) -> Tensor:
        return c.double() @ self.coefficients.T + self.intercepts

    def _log_det(self, x: Tensor) -> Tensor:
        return self.whitening.diagonal().log().sum().to(x.dtype).expand(len(x))


class GivenBase(BaseDistribution):
    """A base distribution of the last columns, whatever the context before them is.

    Parameters
    ----------
    base : BaseDistribution
        The distribution of the latents.
    n_context : int
        The number of columns of the context.
    """

    def __init__(self, base: BaseDistribution, n_context: int) -> None:
        super().__init__()
        self.base = base
        self.n_context = n_context
        self.has_unit_sharpness = base.has_unit_sharpness  # type: ignore[misc]

    def allocate(self, n_features: int) -> None:  # noqa: D102
        self.base.allocate(n_features - self.n_context)

    def log_prob(self, z: Tensor) -> Tensor:  # noqa: D102
        return self.base.log_prob(z[:, self.n_context :])

    def log_prob_and_pullback(  # noqa: D102
        self, z: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        log_prob, inner = self.base.log_prob_and_pullback(z[:, self.n_context :].contiguous())

        def pullback(grad: Tensor) -> Tensor:
            by_z = torch.zeros_like(z)
            by_z[:, self.n_context :] = inner(grad)
            return by_z

        return log_prob, pullback

    def sample(
        self,
        shape: tuple[int, int],
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """Refuse: a context has no distribution.

        Parameters
        ----------
        shape : (int, int)
            Not used.
        generator : torch.Generator
            Not used.
        dtype : torch.dtype, default=torch.float64
            Not used.

        Raises
        ------
        TypeError
            Always. :meth:`Flow.given` binds the context.
        """
        raise TypeError(
            "A conditional flow cannot draw rows by itself, as their context has no distribution. "
            "Bind the context first: flow.given(context).sample()."
        )


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
