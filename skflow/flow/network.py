"""A flow: bijections from data to latents, and the distribution of the latents."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from skflow.exceptions import InversionError
from skflow.flow.adapted import AdaptedDistribution, DistributionLike
from skflow.flow.base import BaseDistribution
from skflow.flow.bijection import Bijection, check_rows
from skflow.flow.blocks import all_finite
from skflow.flow.chains import map_through, pull_through
from skflow.flow.distribution import FlowDistribution, as_distribution
from skflow.flow.given import Bound
from skflow.flow.pickling import StablePickle
from skflow.flow.relative import Factors, RelativeLayer, unchanged
from skflow.flow.runs import Run, in_runs
from skflow.flow.tracing import is_traced

__all__ = ["Flow", "refuse_overflown"]

# How many entries of a sample go through a bijection at a time.
_SAMPLE_ENTRIES = 2**18


def refuse_overflown(n_rows: int, dtype: torch.dtype) -> None:
    """Refuse latents whose images overflow.

    Parameters
    ----------
    n_rows : int
        The number of such rows; none is fine.
    dtype : torch.dtype
        The precision that is too small for them.

    Raises
    ------
    InversionError
        If there are any.
    """
    if n_rows:
        raise InversionError(
            f"What {n_rows} row(s) of latents stand for is not finite in {dtype}. Pass latents "
            "that are nearer to zero, or of a higher precision."
        )


class Flow(StablePickle, nn.Module):
    r"""The density of :math:`x = f^{-1}(z)`, where `z` follows a base distribution.

    .. math::
        \log p(x) = \log p_0(f(x)) + \log|\det f'(x)|, \qquad f = f_K \circ \dots \circ f_1.

    Parameters
    ----------
    bijections : iterable of Bijection
        :math:`f_1, \dots, f_K`, from data to latents.
    base : BaseDistribution or a distribution of :mod:`torch.distributions` or alike
        The distribution of the latents. One that is no `BaseDistribution` is made one by
        :class:`AdaptedDistribution`.
    n_features : int
        The number D of features.

    Raises
    ------
    ValueError
        If a bijection takes another number of features.

    Notes
    -----
    Rows are float32 or float64; all methods refuse others with a `ValueError`.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import Flow, Normal, Standardize
    >>> flow = Flow([Standardize(torch.zeros(1), torch.ones(1))], Normal(), n_features=1)
    >>> flow.log_prob(torch.zeros(1, 1))
    tensor([-0.9189])
    """

    def __init__(
        self,
        bijections: Iterable[Bijection],
        base: BaseDistribution | DistributionLike,
        *,
        n_features: int,
    ) -> None:
        super().__init__()
        self._bijections = nn.ModuleList(bijections)
        self._known_parts: tuple[tuple[Bijection, ...], list[Bijection | Run]] | None = None
        for k, bijection in enumerate(self.bijections):
            if bijection.n_features not in {None, n_features}:
                raise ValueError(
                    f"bijections[{k}], {type(bijection).__name__}, takes "
                    f"{bijection.n_features} features, and the flow has n_features={n_features}. "
                    "All must take the same number."
                )
        self.base = base if isinstance(base, BaseDistribution) else AdaptedDistribution(base)
        self.base.allocate(n_features)
        self.n_features = n_features

    @property
    def bijections(self) -> tuple[Bijection, ...]:
        """The bijections, from data to latents."""
        return tuple(cast(Bijection, bijection) for bijection in self._bijections)

    @property
    def relative_layers(self) -> tuple[RelativeLayer, ...]:
        """The layers that train by the relative gradient, from data to latents.

        They stand at the top and inside other bijections.
        """
        return tuple(m for m in self._bijections.modules() if isinstance(m, RelativeLayer))

    @property
    def can_be_neutral(self) -> bool:
        """Whether every bijection can start as one that leaves standard normal rows so."""
        return all(bijection.can_be_neutral for bijection in self.bijections)

    def split(self) -> tuple[Bijection, Flow]:
        """Return the first bijection, and the flow behind it, which share their parameters."""
        first, *rest = self.bijections
        return first, Flow(rest, self.base, n_features=self.n_features)

    def behind(self, first: Bijection) -> Flow:
        """Return this flow behind another bijection, which share their parameters.

        Parameters
        ----------
        first : Bijection
            Where rows come in.
        """
        return Flow([first, *self.bijections], self.base, n_features=self.n_features)

    def given(self, context: Tensor) -> Bound:
        """Bind the context of a conditional flow, whose base is a :class:`GivenBase`.

        Parameters
        ----------
        context : Tensor of shape (N, C)
            The first columns of rows, which the flow leaves as they are.

        Returns
        -------
        bound : Bound
            The densities of the other columns. It has this flow, not a copy.
        """
        return Bound(self, context)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Check once that what is kept belongs to the weights, and not at each call within.

        What is kept are determinants and inverses. Between the calls within, the weights must
        not be changed.

        Examples
        --------
        >>> import torch
        >>> from skflow.flow import Flow, LinearStack, Normal
        >>> flow = Flow([LinearStack(1, 2)], Normal(), n_features=2)
        >>> with torch.no_grad(), flow.unchanged():
        ...     for block in torch.zeros(4, 2).split(2):
        ...         flow.log_prob(block)
        tensor([-1.8379, -1.8379])
        tensor([-1.8379, -1.8379])
        """
        with unchanged(self.relative_layers):
            yield

    def _check(self, x: Tensor) -> None:
        check_rows(x, self.n_features, self)
        self._check_precision(x)

    def _check_precision(self, x: Tensor) -> None:
        if x.dtype not in {torch.float32, torch.float64}:
            raise ValueError(
                f"{type(self).__name__} takes rows of float32 or float64, got {x.dtype}. "
                "x.double() has the type."
            )

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Map data to latents and return :math:`\log|\det f'(x)|` beside them.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.

        Returns
        -------
        z : Tensor of shape (N, D)
            Latents: a row for each.
        log_det : Tensor of shape (N,)
            In nats.
        """
        self._check(x)
        return map_through(self._parts(), x)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.

        Returns
        -------
        log_prob : Tensor of shape (N,)
            In nats, in the units of `x`. Where a row is so far out that its latents overflow, it
            is -inf; it is NaN where the row or a parameter is.

        Notes
        -----
        While it is exported or transformed, values that overflow are left as they come, which
        may be NaN.
        """
        z, log_det = self.forward_and_log_det(x)
        log_prob = self.base.log_prob(z) + log_det
        if is_traced(log_prob) or not bool(log_prob.isnan().any()):
            return log_prob
        # Infinities of both signs met: what remains to be told is whose fault that is.
        if self._is_broken():
            return log_prob
        return log_prob.masked_fill(log_prob.isnan() & torch.isfinite(x).all(-1), -torch.inf)

    @torch.no_grad()
    def relative_gradient(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        r"""Differentiate the mean negative log-likelihood of `x`, as a training step takes it.

        Leaves the factors of the relative gradient in each dense layer, and adds to the
        gradients of all other parameters.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        weights : Tensor of shape (N,) or None, default=None
            The loss is then :math:`-\frac1N \sum_i w_i \log p(x_i)`. Whatever the weights of a
            batch add up to, its mean over batches is that of all rows.

        Returns
        -------
        loss : Tensor of shape ()
            The mean negative log-likelihood in nats, less the dense layers' log-determinants:
            :meth:`log_abs_det`, times the mean weight, is what it lacks.

        Raises
        ------
        RuntimeError
            If a dense layer is applied twice, or not to each row.
        """
        self._check(x)
        layers = self.relative_layers
        for layer in layers:
            layer.forget_factors()
        x, log_dets, pullback = pull_through(self._parts(), x, input_gradient=False)
        log_prob, base_pullback = self.base.log_prob_and_pullback(x)
        by_log_prob = x.new_full((len(x),), -1 / len(x))
        if weights is not None:
            by_log_prob *= weights.to(by_log_prob)
        pullback(base_pullback(by_log_prob), by_log_prob)
        mass = 1.0 if weights is None else float(weights.mean())
        for layer in layers:
            factors = layer.factors
            if not isinstance(factors, Factors):
                continue
            if factors.y.shape[1] != len(x):
                raise RuntimeError(
                    f"{layer} was applied to {factors.y.shape[1]} rows of {len(x)}. A dense "
                    "layer inside another bijection must be applied to each row once."
                )
            if weights is not None:
                layer.factors = factors._replace(mass=mass, weights=weights)
        return torch.dot(sum(log_dets, log_prob), by_log_prob)

    def log_abs_det(self) -> Tensor:
        r"""Return the sum of :math:`\log|\det W|` over the dense layers, float64, in nats."""
        terms = [layer.log_abs_det().sum() for layer in self.relative_layers]
        return torch.stack(terms).sum() if terms else torch.zeros((), dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """Map data `x`, of shape (N, D), to latents.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        """
        self._check(x)
        for part in self._parts():
            x = part.forward(x)
        return x

    def inverse(self, z: Tensor) -> Tensor:
        """Map latents `z`, of shape (N, D), to data.

        Parameters
        ----------
        z : Tensor of shape (N, D)
            Latents.

        Raises
        ------
        InversionError
            If a bijection could not be inverted to working precision, or if the image of finite
            latents overflows.
        """
        self._check(z)
        x = z
        for bijection in reversed(self.bijections):
            x = bijection.inverse(x)
        if not is_traced(x) and not bool(torch.isfinite(x).all()):
            overflown = (torch.isfinite(z) & ~torch.isfinite(x)).any(-1)
            refuse_overflown(int(overflown.sum()), x.dtype)
        return x

    def sample(
        self,
        n_samples: int,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """Draw from the density, in one pass.

        Parameters
        ----------
        n_samples : int
            The number of rows to draw.
        generator : torch.Generator or None, default=None
            Where the randomness comes from; on the device of the flow. None makes a new one, which
            PyTorch's global generator seeds: :func:`torch.manual_seed` reproduces it.
        dtype : torch.dtype, default=torch.float64
            The precision of the computation and of the result.

        Returns
        -------
        x : Tensor of shape (n_samples, D)
            The rows before the map.
        """
        if generator is None:
            seed = int(torch.randint(2**62, ()))
            generator = torch.Generator(self._device()).manual_seed(seed)
        shape = (n_samples, self.n_features)
        return self.inverse(self.base.sample(shape, generator=generator, dtype=dtype))

    def as_distribution(self, *, dtype: torch.dtype | None = None) -> FlowDistribution:
        """Return the flow as a distribution of :mod:`torch.distributions`.

        Parameters
        ----------
        dtype : torch.dtype or None, default=None
            The precision of its samples. None is PyTorch's default, as for other distributions.

        Returns
        -------
        distribution : FlowDistribution
            Of vectors of shape (D,). It has this flow, not a copy.
        """
        return as_distribution(self, dtype=dtype)

    def _is_broken(self) -> bool:
        """Whether a parameter is not finite, or a buffer not a number: some have no end."""
        return not all(all_finite(parameter) for parameter in self.parameters()) or any(
            bool(buffer.isnan().any()) for buffer in self.buffers()
        )

    def _parts(self) -> list[Bijection | Run]:
        """Return the bijections; those that compiled kernels map in one pass as one."""
        bijections = self.bijections
        if self._known_parts is None or self._known_parts[0] != bijections:
            self._known_parts = bijections, in_runs(bijections, self.n_features)
        return self._known_parts[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known_parts": None}  # which belong to the memory of this process

    def _device(self) -> torch.device:
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    @torch.no_grad()
    def initialize(
        self, x: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        """Set the parameters of the bijections and of the base from a sample.

        Each sees what those before it make of the sample.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        generator : torch.Generator
            Where the randomness comes from.
        weights : Tensor of shape (N,) or None, default=None
            How many rows each row stands for; by default one.
        """
        self._check(x)
        base_is_learned = any(True for _ in self.base.parameters())
        for k, bijection in enumerate(self.bijections):
            bijection.initialize(x, generator, weights)
            if base_is_learned or k < len(self.bijections) - 1:
                x = _in_blocks(bijection, x)
        if base_is_learned:
            self.base.initialize(x, generator, weights)

    @torch.no_grad()
    def sharpness(self, x: Tensor, weights: Tensor | None = None) -> float:
        """Return the base distribution's sharpness at what a sample `x`, of shape (N, D), becomes.

        See :meth:`BaseDistribution.sharpness`. For the standard normal it is 1, and nothing is
        computed.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        weights : Tensor of shape (N,) or None, default=None
            How many rows each row stands for; by default one.
        """
        if self.base.has_unit_sharpness:
            return 1.0
        return self.base.sharpness(self(x), weights)


def _in_blocks(bijection: Bijection, x: Tensor) -> Tensor:
    """Map a sample in little room, where more is taken than for the result."""
    if isinstance(bijection, RelativeLayer):
        return bijection(x)
    blocks = x.split(max(1, _SAMPLE_ENTRIES // x.shape[1]))
    return torch.cat([bijection(block) for block in blocks])
