"""All that is "auto", in one place: what the numbers of rows and columns make of it.

The tables below hold the numbers and the reason for each. ``benchmarks/likelihood.py tables`` and
``benchmarks/held_out.py`` measure what the network, the batches and the noise come to.
``benchmarks/optimizers.py`` measures the learning rates, which each optimiser states itself, in
:meth:`Optimizer.default_rate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

from skflow.flow import Activation

__all__ = [
    "NetworkSettings",
    "Settings",
    "TrainingSettings",
    "between",
    "held_out_and_few",
    "network_settings",
    "power_of_two",
    "resolve",
    "training_settings",
    "weight_decay",
]

# Fewer rows than these are few: a tenth of them is worth a second fit, to all rows, unless they
# have so many columns that it takes long.
_FEW_ROWS = 2000
_MOST_COLUMNS_OF_FEW = 1000

# No machine holds the weights of more columns. More rows than it holds are read block by block.
_LARGEST_SIZE = 2**24
_MOST_ROWS = 2**48

# With so few columns, mixtures of normal distributions are hard to beat, whatever the number of
# rows; with few rows, they are so with up to some more columns. With many rows of these, it takes
# a fit to tell whether a flow learns more.
_MIXED_COLUMNS = 3
_MIXED_COLUMNS_OF_FEW, _MIXED_COLUMNS_OF_MANY = 40, 32

# How many times the noise of the default still fewer rows are fitted with as well: held-out rows
# choose.
_NOISE_FACTORS_OF_FEW = (1.0, 4.0)
_ROWS_OF_SEVERAL_NOISES = 1000


@dataclass(frozen=True)
class NetworkSettings:
    """What a flow consists of."""

    n_layers: int
    """The number of dense layers."""

    activation: str | Activation
    """What stands between them; "spline" is learned."""

    coupling: str | None
    """What stands before each activation."""

    n_bins: int
    """The bins of the first spline, which follows the margins of the data."""

    n_inner_bins: int
    """The bins of the others, which bend what is nearly normal."""

    n_coupling_bins: int
    """The bins of a coupling's splines."""

    n_hidden: int
    """The width of a coupling's conditioner."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a flow is trained on so many rows."""

    batch_size: int
    """The number of rows in a step."""

    max_iter: int
    """The number of epochs."""

    weight_decay: float
    """How fast the weights of conditioners decay, in units of their learning rate."""

    input_noise: float
    """The noise that is added to the rows, as a share of the standard deviation of the data."""


@dataclass(frozen=True)
class Settings:
    """What a fit does with so many rows and columns."""

    network: NetworkSettings
    """The flow."""

    training: TrainingSettings
    """Its training, on the rows that are not held out."""

    n_validation: int
    """The number of rows that are held out."""

    input_noises: tuple[float, ...]
    """The noises to fit with. Held-out rows choose one of them."""

    refits: bool
    """Whether all rows are fitted in the end, as the best of these fits was."""

    starts_simple: bool
    """Whether a mixture of normal distributions may be what the flow starts from, if it can."""

    has_plain_candidate: bool
    """Whether few rows are also fitted by a flow that does not start from such a mixture, in any
    case. They are where splines stand before the mixture."""

    has_rival: bool
    """Whether such a mixture is compared with the end of a flow that did not start from it."""


def resolve(parameters: Mapping[str, Any], n_rows: int, n_features: int) -> Settings:
    """Say what the parameters of an estimator come to, with so many rows and columns.

    Parameters
    ----------
    parameters : mapping
        Those of :class:`~skflow.RelativeGradientFlow`, as ``get_params`` returns them.
    n_rows : int
        The number N of rows.
    n_features : int
        The number D of columns.

    Returns
    -------
    settings : Settings
        Nothing in it is "auto".

    Raises
    ------
    ValueError
        If there is to be a coupling, and there is one column only.

    Examples
    --------
    >>> from skflow import RelativeGradientFlow
    >>> from skflow.training.defaults import resolve
    >>> settings = resolve(RelativeGradientFlow().get_params(), 1500, 10)
    >>> settings.network.n_layers, settings.training.batch_size, settings.n_validation
    (6, 64, 150)
    """
    n_validation, few = held_out_and_few(parameters, n_rows, n_features)
    training = training_settings(parameters, n_rows - n_validation, n_features)
    # Held-out rows tell how many components a mixture may have.
    held_out = n_validation > 0 and parameters["base_distribution"] == "normal"
    mixed = held_out and n_features <= (_MIXED_COLUMNS_OF_FEW if few else _MIXED_COLUMNS_OF_MANY)
    starts_simple = mixed and (few or n_features <= _MIXED_COLUMNS)
    several = few and n_rows < _ROWS_OF_SEVERAL_NOISES and parameters["input_noise"] == "auto"
    factors = _NOISE_FACTORS_OF_FEW if several else (1.0,)
    return Settings(
        network=network_settings(
            n_rows,
            n_features,
            n_layers=parameters["n_layers"],
            activation=parameters["activation"],
            coupling=parameters["coupling"],
        ),
        training=training,
        n_validation=n_validation,
        input_noises=tuple(factor * training.input_noise for factor in factors),
        refits=few,
        starts_simple=starts_simple,
        has_plain_candidate=starts_simple and n_features > _MIXED_COLUMNS,
        has_rival=mixed and not few,
    )


def held_out_and_few(
    parameters: Mapping[str, Any], n_rows: int, n_features: int
) -> tuple[int, bool]:
    """Return how many rows are held out, and whether all are so few that they are fitted again.

    Parameters
    ----------
    parameters : mapping
        With `early_stopping` and `validation_fraction`.
    n_rows : int
        The number of all rows, of which one at least is left to learn from.
    n_features : int
        The number of columns.
    """
    if not parameters["early_stopping"]:
        return 0, False
    n_held_out = max(1, round(parameters["validation_fraction"] * n_rows))
    few = n_rows < _FEW_ROWS and n_features <= _MOST_COLUMNS_OF_FEW
    return min(n_held_out, n_rows - 1), few


# ---------------------------------------------------------------------------------------------
# The network
# ---------------------------------------------------------------------------------------------

# All sizes grow as powers of the number of rows N, fall as powers of the number of columns D, and
# stay within bounds.
#
# Layers: 6 for 500 rows of up to 16 columns. A quarter of the rows do not tell more than 3
# apart. More columns need fewer, as many more parameters are in each; but more rows bring them
# back. With couplings there are 3 at least: on 166 columns, 2 were 14 nats below. Between fixed
# activations there are 5, as in the paper.
_LEAST_LAYERS, _LEAST_COUPLED_LAYERS, _MOST_LAYERS, _FIXED_LAYERS = 2, 3, 6, 5
_ROWS_OF_MOST_LAYERS, _COLUMNS_OF_MOST_LAYERS, _ROWS_OF_MORE_LAYERS = 500, 16, 10_000

# Bins of the first spline: the cube root of the rows, as of a histogram's. All splines have the
# power of two that comes next.
_LEAST_BINS, _MOST_BINS = 8, 16

# Bins of a coupling: 4 up to 5,000 rows, and more with the square root of the rows. Few columns
# have room for more of them.
_LEAST_COUPLING_BINS, _MOST_COUPLING_BINS, _COUPLING_BINS_TIMES_COLUMNS = 4, 8, 32
_ROWS_OF_LEAST_COUPLING_BINS = 5000

# Hidden units of a conditioner: twice the square root of the rows, up to 64, and up to fewer of
# more than 16 columns, as the outputs grow with these. They are multiples of 8, which suits
# processors.
_LEAST_HIDDEN, _FEWER_HIDDEN, _MOST_HIDDEN, _COLUMNS_OF_MOST_HIDDEN = 16, 32, 64, 16

# One column cannot be coupled. With more than these, conditioners cost more than they gain.
_MOST_COUPLED_COLUMNS = 256


def _refuse_sizes(**sizes: Any) -> None:
    """Refuse what is no number of rows, of columns or of layers."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral):
            raise TypeError(f"{name} must be a whole number, got {size!r}.")
        most = _MOST_ROWS if name == "n_rows" else _LARGEST_SIZE
        if not 1 <= int(size) <= most:
            raise ValueError(f"{name} must be from 1 to {most}, got {size}.")


def network_settings(
    n_rows: int,
    n_features: int,
    *,
    n_layers: int | Literal["auto"] = "auto",
    activation: str | Activation = "auto",
    coupling: str | None = "auto",
) -> NetworkSettings:
    """Say what a flow consists of.

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

    Returns
    -------
    settings : NetworkSettings
        Nothing in it is "auto".

    Raises
    ------
    ValueError
        If `coupling` names one and D is 1.
    """
    _refuse_sizes(n_rows=n_rows, n_features=n_features)
    if n_layers != "auto":
        _refuse_sizes(n_layers=n_layers)
    activation = "spline" if activation == "auto" else activation
    learned = activation == "spline"
    if coupling == "auto":
        coupled = learned and 2 <= n_features <= _MOST_COUPLED_COLUMNS
        coupling = "spline" if coupled else None
    elif coupling is not None and n_features < 2:
        raise ValueError(
            f"coupling={coupling!r} takes two columns at least, and X has {n_features}. "
            "Set coupling='auto' or None."
        )
    if n_layers == "auto":
        n_layers = _default_n_layers(n_rows, n_features) if learned else _FIXED_LAYERS
    n_bins = power_of_two(between(n_rows ** (1 / 3), _LEAST_BINS, _MOST_BINS))
    return NetworkSettings(
        n_layers=n_layers,
        activation=activation,
        coupling=coupling,
        n_bins=n_bins,
        n_inner_bins=n_bins // 2,
        n_coupling_bins=_default_n_coupling_bins(n_rows, n_features),
        n_hidden=_default_n_hidden(n_rows, n_features),
    )


def _default_n_layers(n_rows: int, n_features: int) -> int:
    by_rows = min(1.0, n_rows / _ROWS_OF_MOST_LAYERS) ** 0.5
    by_columns = min(1.0, _COLUMNS_OF_MOST_LAYERS / n_features) ** 0.5
    brought_back = max(1.0, n_rows / _ROWS_OF_MORE_LAYERS) ** 0.25
    n_layers = _MOST_LAYERS * max(0.5, by_rows) * by_columns * brought_back
    coupled = n_features <= _MOST_COUPLED_COLUMNS
    least = _LEAST_COUPLED_LAYERS if coupled else _LEAST_LAYERS
    return round(between(n_layers, least, _MOST_LAYERS))


def _default_n_coupling_bins(n_rows: int, n_features: int) -> int:
    n_bins = _LEAST_COUPLING_BINS * (n_rows / _ROWS_OF_LEAST_COUPLING_BINS) ** 0.5
    most = max(_MOST_COUPLING_BINS, _COUPLING_BINS_TIMES_COLUMNS / n_features)
    return power_of_two(between(n_bins, _LEAST_COUPLING_BINS, most))


def _default_n_hidden(n_rows: int, n_features: int) -> int:
    most = _MOST_HIDDEN * _COLUMNS_OF_MOST_HIDDEN / n_features
    most = between(most, _FEWER_HIDDEN, _MOST_HIDDEN)
    return 8 * round(between(2 * n_rows**0.5, _LEAST_HIDDEN, most) / 8)


def power_of_two(value: float) -> int:
    """Return the power of two that is closest to a number by its logarithm.

    Parameters
    ----------
    value : float
        1 or more.
    """
    return int(2 ** round(math.log2(value)))


def between(value: float, least: float, most: float) -> float:
    """Return a number, or the bound that it is beyond.

    Parameters
    ----------
    value : float
        The number.
    least, most : float
        The bounds.
    """
    return max(least, min(value, most))


# ---------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------

# Batches grow with the rows to the power of five quarters, up to 256, as multiples of 32. Fewer
# steps an epoch would leave a flow of few rows close to its start: on 2,500 rows of 166 columns,
# batches of 160 were 6 nats below those of 96. More steps learn too much by heart: on 5,600 rows
# of 16 columns, batches of 192 were 0.3 nats below those of 256. There are 100 epochs, or as many
# as 5,000 steps take if these are fewer.
_BATCH_UNIT, _MOST_BATCH, _ROWS_OF_MOST_BATCH = 32, 256, 5000
_MOST_EPOCHS = 100
_MOST_STEPS = 5000

# Weight decay is 3 up to 5,000 rows of 10 columns. More rows need less, in inverse proportion.
# So do few columns, as the square of their number: there are as many ways for columns to depend
# on each other as there are pairs.
_MOST_DECAY = 3.0
_ROWS_OF_MOST_DECAY = 5000
_DECAYING_COLUMNS = 10

# Noise is 0.05 up to 1,000 rows, or 100 for each column if these are fewer, and falls in inverse
# proportion to the rows from there on: with few columns, fine shapes can be made out.
_MOST_NOISE = 0.05
_NOISIEST_ROWS, _NOISIEST_ROWS_PER_COLUMN = 1000, 100


def training_settings(
    parameters: Mapping[str, Any], n_rows: int, n_features: int
) -> TrainingSettings:
    """Say how a flow is trained on so many rows, all of them in batches.

    Parameters
    ----------
    parameters : mapping
        With `batch_size`, `max_iter` and `input_noise`, as for :func:`resolve`.
    n_rows : int
        The number of rows that it is trained on.
    n_features : int
        The number of columns.

    Returns
    -------
    settings : TrainingSettings
        Nothing in it is "auto".
    """
    batch_size, max_iter = parameters["batch_size"], parameters["max_iter"]
    if batch_size == "auto":
        batch_size = _MOST_BATCH * (n_rows / _ROWS_OF_MOST_BATCH) ** 1.25
        batch_size = between(batch_size, _BATCH_UNIT, _MOST_BATCH)
        batch_size = _BATCH_UNIT * round(batch_size / _BATCH_UNIT)
    if max_iter == "auto":
        max_iter = max(1, min(_MOST_EPOCHS, round(_MOST_STEPS * batch_size / n_rows)))
    input_noise = parameters["input_noise"]
    if input_noise == "auto":
        few = min(_NOISIEST_ROWS, _NOISIEST_ROWS_PER_COLUMN * n_features)
        input_noise = _MOST_NOISE * min(1.0, few / n_rows)
    return TrainingSettings(
        batch_size=batch_size,
        max_iter=max_iter,
        weight_decay=weight_decay(n_rows, n_features),
        input_noise=float(input_noise),
    )


def weight_decay(n_rows: int, n_features: int) -> float:
    """Return how fast the weights of conditioners decay, in units of their learning rate.

    Parameters
    ----------
    n_rows : int
        The number of rows.
    n_features : int
        The number of columns.
    """
    by_rows = min(1.0, _ROWS_OF_MOST_DECAY / n_rows)
    return _MOST_DECAY * by_rows * min(1.0, n_features / _DECAYING_COLUMNS) ** 2
