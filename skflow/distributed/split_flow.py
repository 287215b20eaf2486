"""A flow whose columns are divided among processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from skflow.distributed.columns import Columns
from skflow.distributed.split_layer import RowSplitLinear
from skflow.exceptions import InversionError
from skflow.flow import (
    Activation,
    BaseDistribution,
    Bijection,
    ElementwiseSpline,
    Flow,
    HyperbolicSecant,
    LatentTails,
    LinearStack,
    Logistic,
    Normal,
    StudentT,
)
from skflow.flow.bijection import check_rows
from skflow.flow.chains import map_through
from skflow.flow.network import refuse_overflown
from skflow.flow.relative import RelativeLayer
from skflow.flow.runs import Run
from skflow.training.architecture import build_flow

__all__ = ["SplitFlow", "build_split_flow"]


class SplitFlow(Flow):
    """The part of a flow that one of several processes has: its columns of all signals.

    All methods are called by all processes with the same rows, either whole or each with its own
    columns, and give whole rows for whole rows. Densities are those of whole rows.

    Parameters
    ----------
    bijections : iterable of Bijection
        Of the own columns: elementwise ones, and dense layers that are split.
    base : BaseDistribution
        Of the own latents, which are independent of the others.
    columns : Columns
        Those of this process.
    """

    def __init__(
        self, bijections: Iterable[Bijection], base: BaseDistribution, *, columns: Columns
    ) -> None:
        super().__init__(bijections, base, n_features=columns.n_own)
        self.columns = columns
        self.n_features = columns.n_features

    def split(self) -> tuple[Bijection, Flow]:  # noqa: D102
        first, *rest = self.bijections
        return first, SplitFlow(rest, self.base, columns=self.columns)

    def behind(self, first: Bijection) -> Flow:  # noqa: D102
        return SplitFlow([first, *self.bijections], self.base, columns=self.columns)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        z, log_det = map_through(self.bijections, self._own(x))
        return self._like(x, z), self.columns.sum(log_det)

    @torch.no_grad()
    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of whole rows; see :meth:`Flow.log_prob`.

        Parameters
        ----------
        x : Tensor of shape (N, D) or (N, C)
            The rows, or the own columns of them.
        """
        own = self._own(x)
        z, log_det = map_through(self.bijections, own)
        log_prob = self.columns.sum(self.base.log_prob(z) + log_det)
        if not bool(log_prob.isnan().any()):
            return log_prob
        faults = (~torch.isfinite(own).all(-1)).to(own) + float(self._is_broken())
        fine = self.columns.sum(faults) == 0
        return log_prob.masked_fill(log_prob.isnan() & fine, -torch.inf)

    @torch.no_grad()
    def relative_gradient(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Differentiate the loss of whole rows; see :meth:`Flow.relative_gradient`.

        If a gradient is not finite on one process, factors are not on any.

        Parameters
        ----------
        x : Tensor of shape (N, D) or (N, C)
            The rows, or the own columns of them.
        weights : Tensor of shape (N,) or None, default=None
            Of the rows.
        """
        loss = super().relative_gradient(self._own(x), weights)
        dense = {id(p) for layer in self.relative_layers for p in layer.parameters()}
        gradients = [p.grad for p in self.parameters() if id(p) not in dense]
        norms = [torch.linalg.vector_norm(one).double() for one in gradients if one is not None]
        told = torch.stack([loss.double(), sum(norms, loss.new_zeros((), dtype=torch.float64))])
        total, norm = self.columns.sum(told)
        if not math.isfinite(float(norm)):
            for layer in self.relative_layers:
                layer.factors.grams.fill_(math.nan)  # type: ignore[union-attr]
        return total.to(loss)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        z = self._own(x)
        for bijection in self.bijections:
            z = bijection.forward(z)
        return self._like(x, z)

    @torch.no_grad()
    def inverse(self, z: Tensor) -> Tensor:
        """Map latents to data; see :meth:`Flow.inverse`.

        Parameters
        ----------
        z : Tensor of shape (N, D) or (N, C)
            Latents, or the own columns of them.
        """
        x = self._own(z)
        for bijection in reversed(self.bijections):
            # What is split raises on all processes or on none.
            alone = not isinstance(bijection, RelativeLayer)
            x = self._agreed(bijection.inverse, x) if alone else bijection.inverse(x)
        overflown = (torch.isfinite(self._own(z)) & ~torch.isfinite(x)).any(-1)
        refuse_overflown(int((self.columns.sum(overflown.to(x)) > 0).sum()), x.dtype)
        return self._like(z, x)

    def sample(
        self,
        n_samples: int,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """Draw whole rows, the same on all processes; see :meth:`Flow.sample`.

        Parameters
        ----------
        n_samples : int
            The number of rows to draw.
        generator : torch.Generator or None, default=None
            Where the randomness comes from: that of the first process.
        dtype : torch.dtype, default=torch.float64
            The precision of the computation and of the result.
        """
        device = self._device() if generator is None else generator.device
        drawn = torch.randint(2**62, (), generator=generator, device=device)
        seed = int(self.columns.group.broadcast(drawn))
        own = torch.Generator(device).manual_seed(seed + self.columns.rank)
        shape = (n_samples, self.columns.n_own)
        z = self.base.sample(shape, generator=own, dtype=dtype)
        return self.columns.gather(self.inverse(z))

    @torch.no_grad()
    def sharpness(self, x: Tensor, weights: Tensor | None = None) -> float:  # noqa: D102
        if self.base.has_unit_sharpness:
            return 1.0
        own = self.base.sharpness(self.forward(self._own(x)), weights)
        share = own * self.columns.n_own / self.columns.n_features
        return float(self.columns.sum(x.new_tensor(share, dtype=torch.float64)))

    def _check(self, x: Tensor) -> None:
        is_own = tuple(getattr(x, "shape", ()))[1:] == (self.columns.n_own,)
        check_rows(x, self.columns.n_own if is_own else self.n_features, self)
        self._check_precision(x)

    def _own(self, x: Tensor) -> Tensor:
        self._check(x)
        if x.shape[1] == self.columns.n_own:
            return x
        return x[:, self.columns.own].contiguous()

    def _like(self, x: Tensor, own: Tensor) -> Tensor:
        """Return whole rows if `x` is of whole rows."""
        return own if x.shape[1] == self.columns.n_own else self.columns.gather(own)

    def _agreed(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Return what a function of own columns gives, unless it fails on some process."""
        failure, result = None, x
        try:
            result = function(x)
        except InversionError as error:
            failure = error
        if float(self.columns.sum(x.new_tensor(float(failure is not None)))) > 0:
            raise failure or InversionError("Another process could not invert its columns.")
        return result

    def _parts(self) -> list[Bijection | Run]:
        return list(self.bijections)


def build_split_flow(
    parameters: Mapping[str, Any], n_rows: int, n_features: int, columns: Columns
) -> SplitFlow:
    """Return a process's part of the flow that :func:`build_flow` makes, in the room of the part.

    Parameters
    ----------
    parameters : mapping
        As for :func:`build_flow`.
    n_rows, n_features : int
        The numbers of rows and of columns.
    columns : Columns
        Those of this process.

    Raises
    ------
    ValueError
        If the flow has parts that take several columns and are no dense layers.
    """
    with torch.device("meta"):
        whole = build_flow(parameters, n_rows, n_features)
    bijections = [own for part in whole.bijections for own in _own_parts(part, columns)]
    if type(whole.base) not in _FACTORISED:
        _refuse(whole.base)
    base = type(whole.base).from_arguments(**whole.base.arguments())
    flow = SplitFlow(bijections, base, columns=columns)
    flow.base.to(next(whole.relative_layers[0].parameters()).dtype)
    return flow


def _own_stack(stack: Any, columns: Columns) -> list[Bijection]:
    n_layers, parts = stack.n_layers, []
    for k in range(n_layers):
        if k > 0 and stack.activation is not None:
            parts.append(deepcopy(stack.activation))
        parts.append(
            RowSplitLinear(
                columns,
                bias=stack.bias is not None,
                init=stack.init if k == 0 else "orthogonal",
                output_scale=1.0 if k == n_layers - 1 else 1 / math.sqrt(n_layers),
                dtype=stack.weight.dtype,
            )
        )
    return parts


def _own_spline(spline: Any, columns: Columns) -> list[Bijection]:
    dtype = spline.slopes.dtype
    own = ElementwiseSpline(columns.n_own, n_bins=spline.n_bins, init=spline.init, dtype=dtype)
    return [own]


# How parts of a flow are divided by columns; activations are what they are.
_DIVIDED: dict[type, Callable[[Any, Columns], list[Bijection]]] = {
    LinearStack: _own_stack,
    ElementwiseSpline: _own_spline,
    LatentTails: lambda tails, columns: [LatentTails(columns.n_own)],
}
_FACTORISED = (Normal, HyperbolicSecant, Logistic, StudentT)


def _own_parts(part: Bijection, columns: Columns) -> list[Bijection]:
    if isinstance(part, Activation):
        return [part]
    if type(part) not in _DIVIDED:
        _refuse(part)
    return _DIVIDED[type(part)](part, columns)


def _refuse(part: Bijection | BaseDistribution) -> None:
    raise ValueError(
        f"row_split divides a flow by its columns, and cannot divide {type(part).__name__}. It "
        "takes coupling=None, an activation of any kind, and as base_distribution 'normal', "
        "'hyperbolic_secant', 'logistic' or 'student_t'. data_parallel takes all others."
    )
