"""The network: which bijections its settings make, and the flow that they are part of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, Literal

import torch

from skflow.flow import (
    Activation,
    AffineCoupling,
    BaseDistribution,
    Bijection,
    ElementwiseSpline,
    Flow,
    HyperbolicSecant,
    LatentTails,
    LeakyTanh,
    LinearStack,
    Logistic,
    Normal,
    NormalMixture,
    SmoothLeakyReLU,
    SplineCoupling,
    StudentT,
)
from skflow.training.defaults import NetworkSettings, network_settings

__all__ = ["ACTIVATIONS", "BASES", "COUPLINGS", "DTYPES", "build_flow", "default_bijections"]

ACTIVATIONS: dict[str, Callable[[], Activation] | None] = {
    "spline": None,
    "leaky_tanh": LeakyTanh,
    "smooth_leaky_relu": SmoothLeakyReLU,
}
COUPLINGS = ("affine", "spline")
BASES: dict[str, Callable[[], BaseDistribution]] = {
    "normal": Normal,
    "hyperbolic_secant": HyperbolicSecant,
    "logistic": Logistic,
    "student_t": StudentT,
    "mixture": NormalMixture,
}
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def default_bijections(
    n_rows: int,
    n_features: int,
    *,
    n_layers: int | Literal["auto"] = "auto",
    activation: str | Activation = "auto",
    coupling: Literal["auto", "affine", "spline"] | None = "auto",
    bias: bool = True,
    init: Literal["orthogonal", "whiten"] = "whiten",
    dtype: torch.dtype = torch.float32,
) -> list[Bijection]:
    """Return the bijections that a flow for so many rows and columns consists of by default.

    They map standardised rows to latents. Pass a function that changes some of them, or other
    arguments, as `bijections` of :class:`~skflow.RelativeGradientFlow`.

    Parameters
    ----------
    n_rows : int
        The number N of rows that will be fitted.
    n_features : int
        The number D of columns.
    n_layers : int or "auto", default="auto"
        The number of dense layers.
    activation : str or Activation, default="auto"
        What stands between them, as for :class:`~skflow.RelativeGradientFlow`.
    coupling : {"auto", "affine", "spline"} or None, default="auto"
        What stands before each activation, as for :class:`~skflow.RelativeGradientFlow`.
    bias : bool, default=True
        Whether the dense layers have a bias.
    init : {"whiten", "orthogonal"}, default="whiten"
        How the first dense layer starts: as the symmetric whitening matrix of the rows, or as a
        random orthogonal matrix, as all other layers do.
    dtype : torch.dtype, default=torch.float32
        The precision of the parameters.

    Returns
    -------
    bijections : list of Bijection
        In the order in which rows flow through them. New at each call.

    Examples
    --------
    >>> from skflow import default_bijections
    >>> len(default_bijections(5000, 2))  # one spline, 6 layers, couplings and splines between
    18
    """
    settings = network_settings(
        n_rows, n_features, n_layers=n_layers, activation=activation, coupling=coupling
    )
    dense = partial(LinearStack, n_features=n_features, bias=bias, dtype=dtype)
    spline = partial(ElementwiseSpline, n_features, dtype=dtype)
    fixed = _fixed_activation(settings)
    if fixed is not None and settings.coupling is None:
        return [dense(settings.n_layers, activation=fixed, init=init)]
    bijections: list[Bijection] = []
    if fixed is None:
        bijections.append(spline(n_bins=settings.n_bins, init="quantiles"))
    bijections.append(dense(1, init=init))
    for _ in range(settings.n_layers - 1):
        if settings.coupling is not None:
            bijections.append(_coupling(settings, n_features, dtype))
        bijections.append(
            spline(n_bins=settings.n_inner_bins) if fixed is None else deepcopy(fixed)
        )
        bijections.append(dense(1, init="orthogonal"))
    if fixed is None:
        bijections.append(LatentTails(n_features))
    return bijections


def build_flow(parameters: Mapping[str, Any], n_rows: int, n_features: int) -> Flow:
    """Return the flow behind standardised rows, with weights that say nothing yet.

    Parameters
    ----------
    parameters : mapping
        With those of the network, of the base distribution and of the precision, as for
        :class:`Plan`.
    n_rows : int
        The number of rows, which sets what is "auto".
    n_features : int
        The number of columns.

    Returns
    -------
    flow : Flow
        New at each call.

    Raises
    ------
    TypeError
        If `bijections` returns something else than bijections.
    """
    dtype = DTYPES[parameters["dtype"]]
    make = parameters["bijections"] or default_bijections
    asked = {name: parameters[name] for name in ("n_layers", "activation", "coupling")}
    made: Any = make(n_rows, n_features, **asked, dtype=dtype)
    made = list(made) if isinstance(made, Iterable) else [made]
    for bijection in made:
        if not isinstance(bijection, Bijection):
            raise TypeError(
                f"bijections must return instances of skflow.flow.Bijection, got {bijection!r}."
            )
    base = parameters["base_distribution"]
    flow = Flow(
        made, BASES[base]() if isinstance(base, str) else deepcopy(base), n_features=n_features
    )
    flow.base.to(dtype)
    return flow


def _fixed_activation(settings: NetworkSettings) -> Activation | None:
    if isinstance(settings.activation, Activation):
        return deepcopy(settings.activation)
    make = ACTIVATIONS[settings.activation]
    return None if make is None else make()


def _coupling(settings: NetworkSettings, n_features: int, dtype: torch.dtype) -> Bijection:
    n_hidden, n_bins = settings.n_hidden, settings.n_coupling_bins
    if settings.coupling == "affine":
        return AffineCoupling(n_features, n_hidden=n_hidden, dtype=dtype)
    return SplineCoupling(n_features, n_hidden=n_hidden, n_bins=n_bins, dtype=dtype)
