"""The flow that is fitted: how large it is, and what it consists of."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Literal

import torch

from skflow.flow import (
    Activation,
    AffineCoupling,
    Bijection,
    ElementwiseSpline,
    LeakyTanh,
    LinearStack,
    SmoothLeakyReLU,
    SplineCoupling,
)

__all__ = [
    "ACTIVATIONS",
    "COUPLINGS",
    "Architecture",
    "are_few",
    "default_batch_size",
    "default_bijections",
    "default_input_noise",
    "default_max_iter",
    "default_weight_decay",
]

ACTIVATIONS: dict[str, Callable[[], Activation] | None] = {
    "spline": None,
    "leaky_tanh": LeakyTanh,
    "smooth_leaky_relu": SmoothLeakyReLU,
}
COUPLINGS = ("affine", "spline")

# Fewer rows than these are few, which learn small networks, and are worth several fits unless
# they have so many columns that one takes long...
_FEW_ROWS = 1000
_MOST_COLUMNS_OF_FEW = 1000
_VERY_FEW_ROWS = 250

# ...and more than these many, which take larger batches and finer splines.
_MANY_ROWS = 10_000
_LARGE_BATCHES_FROM = 5000

# Rows enough for as many layers as there ever are.
_VERY_MANY_ROWS = 50_000

# Of more columns than this, half as many layers do; of more than that, there are no couplings.
_MANY_COLUMNS = 32
_MOST_COUPLED_COLUMNS = 256

# More rows need less decay of weights, and so do few columns: there are as many ways for them to
# depend on each other as there are pairs.
_MOST_DECAY = 3.0
_DECAYING_COLUMNS = 10

# They need less noise, too, as do fewer columns, where fine shapes can be made out.
_MOST_NOISE = 0.05
_NOISIEST_ROWS_PER_COLUMN = 100

_MOST_EPOCHS = 100
_MOST_STEPS = 5000


def are_few(n_rows: int, n_features: int) -> bool:
    """Whether rows are too few to lose some to validation, and a fit is short.

    It is fewer than 1,000 rows, of up to 1,000 columns.
    """
    return n_rows < _FEW_ROWS and n_features <= _MOST_COLUMNS_OF_FEW


def default_batch_size(n_rows: int) -> int:
    """Return a tenth of the rows, but at least 30 and at most 100; 256 from 5,000 rows on.

    Fewer steps than ten an epoch would leave a flow of few rows close to its start.
    """
    if n_rows >= _LARGE_BATCHES_FROM:
        return 256
    return min(max(30, n_rows // 10), 100)


def default_max_iter(n_rows: int, batch_size: int) -> int:
    """Return 100 epochs, or fewer if these are more than 5,000 steps, but no fewer than one."""
    return max(1, min(_MOST_EPOCHS, round(_MOST_STEPS * batch_size / n_rows)))


def default_weight_decay(n_rows: int, n_features: int) -> float:
    """Return 3, or less from 5,000 rows on, in inverse proportion to their number.

    Below 10 columns it is less in proportion to the square of theirs, too.
    """
    by_rows = min(1.0, _LARGE_BATCHES_FROM / n_rows)
    return _MOST_DECAY * by_rows * min(1.0, n_features / _DECAYING_COLUMNS) ** 2


def default_input_noise(n_rows: int, n_features: int) -> float:
    """Return 0.05, or less in inverse proportion to the number of rows from a threshold on.

    The threshold is 100 rows for each column, or 1,000 if these are more.
    """
    few = min(_FEW_ROWS, _NOISIEST_ROWS_PER_COLUMN * n_features)
    return _MOST_NOISE * min(1.0, few / n_rows)


class Architecture:
    """What a flow for so many rows and columns consists of.

    What is "auto" is set by the numbers of rows N and of columns D:

    - the activation is a spline;
    - between splines, for 2 to 256 columns, there are couplings: affine ones for fewer than
      1,000 rows, and splines from there on;
    - there are 6 dense layers between splines; 3 for fewer than 250 rows, and for more than 32
      columns of fewer than 50,000 rows; 2 beyond 256 columns; 5 between fixed activations.

    Parameters
    ----------
    n_rows : int
        The number N of rows.
    n_features : int
        The number D of columns.
    n_layers : int or "auto", default="auto"
        The number of dense layers.
    activation : str or Activation, default="auto"
        What stands between them.
    coupling : {"auto", "affine", "spline"} or None, default="auto"
        What stands before each activation.
    """

    def __init__(
        self,
        n_rows: int,
        n_features: int,
        *,
        n_layers: int | Literal["auto"] = "auto",
        activation: str | Activation = "auto",
        coupling: str | None = "auto",
    ) -> None:
        self.n_rows = n_rows
        self.n_features = n_features
        self.activation = "spline" if activation == "auto" else activation
        learned = self.activation == "spline"
        if coupling == "auto":
            coupled = learned and 2 <= n_features <= _MOST_COUPLED_COLUMNS
            few = n_rows < _FEW_ROWS
            coupling = None if not coupled else "affine" if few else "spline"
        elif coupling is not None and n_features < 2:
            raise ValueError(
                f"coupling={coupling!r} takes two columns at least, and X has {n_features}. "
                "Set coupling='auto' or None."
            )
        self.coupling = coupling
        if n_layers == "auto":
            wide = n_features > _MANY_COLUMNS and n_rows < _VERY_MANY_ROWS
            small = n_rows < _VERY_FEW_ROWS or wide
            if not learned:
                n_layers = 5
            elif n_features > _MOST_COUPLED_COLUMNS:
                n_layers = 2
            else:
                n_layers = 3 if small else 6
        self.n_layers = n_layers

    def bijections(
        self,
        *,
        bias: bool = True,
        init: Literal["orthogonal", "whiten"] = "whiten",
        dtype: torch.dtype = torch.float32,
    ) -> list[Bijection]:
        """Return what stands between standardised rows and latents.

        Parameters
        ----------
        bias : bool, default=True
            Whether the dense layers have a bias.
        init : {"whiten", "orthogonal"}, default="whiten"
            How the first dense layer starts: as the symmetric whitening matrix of what flows
            in, or as a random orthogonal matrix, as all other layers do.
        dtype : torch.dtype, default=torch.float32
            The precision of the parameters.

        Returns
        -------
        bijections : list of Bijection
            In the order in which rows flow through them.
        """
        dense = partial(LinearStack, n_features=self.n_features, bias=bias, dtype=dtype)
        fixed = None if self.activation == "spline" else self._fixed_activation()
        if fixed is not None and self.coupling is None:
            return [dense(self.n_layers, activation=fixed, init=init)]
        bijections: list[Bijection] = []
        if fixed is None:
            bijections.append(self._spline(first=True, dtype=dtype))
        bijections.append(dense(1, init=init))
        for _ in range(self.n_layers - 1):
            if self.coupling is not None:
                bijections.append(self._coupling(dtype))
            bijections.append(
                self._spline(first=False, dtype=dtype) if fixed is None else deepcopy(fixed)
            )
            bijections.append(dense(1, init="orthogonal"))
        return bijections

    def _fixed_activation(self) -> Activation:
        if isinstance(self.activation, Activation):
            return deepcopy(self.activation)
        make = ACTIVATIONS[self.activation]
        assert make is not None
        return make()

    def _spline(self, *, first: bool, dtype: torch.dtype) -> ElementwiseSpline:
        # The first follows the margins of the data; the others bend what is nearly normal.
        n_bins = 8 if self.n_rows < _FEW_ROWS else 16
        return ElementwiseSpline(
            self.n_features,
            n_bins=n_bins if first else n_bins // 2,
            init="quantiles" if first else "identity",
            dtype=dtype,
        )

    def _coupling(self, dtype: torch.dtype) -> Bijection:
        many_columns = self.n_features > _MANY_COLUMNS
        n_hidden = 16 if self.n_rows < _FEW_ROWS else 32 if many_columns else 64
        if self.coupling == "affine":
            return AffineCoupling(self.n_features, n_hidden=n_hidden, dtype=dtype)
        n_bins = 8 if self.n_rows >= _MANY_ROWS else 4
        return SplineCoupling(self.n_features, n_hidden=n_hidden, n_bins=n_bins, dtype=dtype)


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
    >>> len(default_bijections(5000, 2))  # a spline; 6 layers with couplings and splines between
    17
    """
    architecture = Architecture(
        n_rows, n_features, n_layers=n_layers, activation=activation, coupling=coupling
    )
    return architecture.bijections(bias=bias, init=init, dtype=dtype)
