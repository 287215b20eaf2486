"""Toy densities whose log-density is known, to check a density estimator against the truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import check_array, check_random_state, check_scalar, gen_batches

from skflow._sklearn.predictive import floats
from skflow._sklearn.room import check_n_samples
from skflow._sklearn.validation import plain_array

__all__ = [
    "Checkerboard",
    "KnownDensity",
    "Pinwheel",
    "PlaneDensity",
    "ToyDensity",
    "UnivariateNormalMixture",
    "gaussian_grid",
    "gaussian_ring",
    "half_moons",
    "marron_wand",
    "rings",
    "sine",
    "two_spirals",
]

_N_CENTRES = 1000


# A density sums over all of its parts.
_MOST_COMPONENTS = 10**6

# No row is taken to be further out.
_FARTHEST = 1e150


class KnownDensity(ABC):
    """A density that is known: rows can be drawn, and their log-density is exact."""

    @abstractmethod
    def sample(self, n_samples: int = 1, random_state: Any = None) -> NDArray[np.float64]:
        """Draw rows.

        Parameters
        ----------
        n_samples : int, default=1
            The number of rows to draw.
        random_state : int, RandomState instance or None, default=None
            Determines what is drawn. Pass an int for the same result each time.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            The rows.
        """

    @abstractmethod
    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the exact log-density at each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats.
        """

    def score(self, X: ArrayLike) -> float:
        """Return the mean log-density of the rows of `X`, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.
        """
        return float(self.score_samples(X).mean())


def _checked(X: Any, n_features: int) -> NDArray[np.float64]:
    """Return rows whose squares are finite: so far out, a density is zero in any case."""
    checked: NDArray[np.float64] = check_array(plain_array(X), dtype=np.float64, input_name="X")
    if checked.shape[1] != n_features:
        raise ValueError(
            f"X has {checked.shape[1]} columns, but the density is one of {n_features}."
        )
    return checked.clip(-_FARTHEST, _FARTHEST)


class PlaneDensity(KnownDensity):
    """A known density in the plane, whose rows have two columns."""


class ToyDensity(PlaneDensity):
    r"""A sum of equal Gaussians, whose centres may lie so close that they make a curve.

    .. math::
        p(x) = \frac1K \sum_{k=1}^K \mathcal{N}(x;\, c_k,\, \sigma^2 I)

    Rows are drawn from this very sum, so that the log-density is exact.

    Parameters
    ----------
    centres : ndarray of shape (K, D)
        The centres :math:`c_k`.
    noise : float
        The standard deviation :math:`\sigma` around them.

    Raises
    ------
    ValueError
        If `noise` is not positive.

    Examples
    --------
    >>> from skflow.datasets import half_moons
    >>> moons = half_moons(noise=0.1)
    >>> X = moons.sample(1000, random_state=0)
    >>> X.shape
    (1000, 2)
    >>> moons.score_samples(X).shape
    (1000,)
    """

    def __init__(self, centres: NDArray[np.float64], noise: float) -> None:
        check_scalar(noise, "noise", Real)
        if not noise > 0:
            raise ValueError(f"noise must be positive, got {noise!r}.")
        if noise == np.inf:
            raise ValueError("noise must be finite, got inf.")
        self.centres = check_array(plain_array(centres), dtype=np.float64, input_name="centres")
        self.noise = noise

    def sample(  # noqa: D102
        self, n_samples: int = 1, random_state: Any = None
    ) -> NDArray[np.float64]:
        check_n_samples(n_samples, 2)
        rng = check_random_state(random_state)
        chosen = self.centres[rng.randint(len(self.centres), size=n_samples)]
        X: NDArray[np.float64] = chosen + self.noise * rng.standard_normal(chosen.shape)
        return X

    def score_samples(self, X: Any) -> NDArray[np.float64]:  # noqa: D102
        n_centres, n_features = self.centres.shape
        X = _checked(X, n_features)
        constant = np.log(n_centres) + n_features * np.log(self.noise * np.sqrt(2 * np.pi))
        log_density = np.empty(len(X))
        for block in gen_batches(len(X), 1024):
            exponents = euclidean_distances(X[block], self.centres, squared=True)
            exponents *= -0.5 / self.noise**2
            highest = exponents.max(axis=1)
            np.exp(exponents - highest[:, None], out=exponents)
            log_density[block] = highest + np.log(exponents.sum(axis=1)) - constant
        return log_density


class Checkerboard(PlaneDensity):
    """Every other unit square of a board of eight by eight, all alike.

    The board reaches from -4 to 4, and a square is of the density if the floors of its corner add
    up to an even number.

    Examples
    --------
    >>> from skflow.datasets import Checkerboard
    >>> Checkerboard().score_samples([[0.5, 0.5], [0.5, 1.5]]).round(4)
    array([-3.4657,    -inf])
    """

    def sample(  # noqa: D102
        self, n_samples: int = 1, random_state: Any = None
    ) -> NDArray[np.float64]:
        check_n_samples(n_samples, 2)
        rng = check_random_state(random_state)
        column, pair = rng.randint(8, size=n_samples), rng.randint(4, size=n_samples)
        corners = np.column_stack([column, 2 * pair + column % 2]) - 4
        X: NDArray[np.float64] = corners + rng.random_sample(corners.shape)
        return X

    def score_samples(self, X: Any) -> NDArray[np.float64]:  # noqa: D102
        X = _checked(X, 2)
        floors = np.floor(X)
        inside = (floors.sum(1) % 2 == 0) & (floors >= -4).all(1) & (floors < 4).all(1)
        return np.where(inside, -np.log(32), -np.inf)


class Pinwheel(PlaneDensity):
    r"""Five bent arms around the origin.

    With :math:`f_1 \sim \mathcal{N}(1, 0.3^2)`, :math:`f_2 \sim \mathcal{N}(0, 0.1^2)` and one
    of five arms k,

    .. math::
        x = 2 (f_1 \cos a + f_2 \sin a,\ f_2 \cos a - f_1 \sin a), \qquad
        a = \tfrac{2 \pi k}{5} + \tfrac14 e^{f_1}.

    Each row is turned by an angle that depends on :math:`f_1`. The density at `x` is the sum over
    all :math:`f_1` that lead there, which are found by bisection.

    Examples
    --------
    >>> from skflow.datasets import Pinwheel
    >>> Pinwheel().sample(3, random_state=0).shape
    (3, 2)
    """

    def sample(  # noqa: D102
        self, n_samples: int = 1, random_state: Any = None
    ) -> NDArray[np.float64]:
        check_n_samples(n_samples, 2)
        rng = check_random_state(random_state)
        arm = rng.randint(5, size=n_samples)
        f1, f2 = _PINWHEEL_MEAN[:, None] + _PINWHEEL_SD[:, None] * rng.standard_normal(
            (2, n_samples)
        )
        angle = _pinwheel_angle(f1, arm)
        cosine, sine_ = np.cos(angle), np.sin(angle)
        return 2 * np.column_stack([f1 * cosine + f2 * sine_, f2 * cosine - f1 * sine_])

    def score_samples(self, X: Any) -> NDArray[np.float64]:  # noqa: D102
        X = _checked(X, 2)
        density = np.zeros(len(X))
        for block in gen_batches(len(X), 512):
            for arm in range(5):
                density[block] += _pinwheel_arm(X[block], arm)
        with np.errstate(divide="ignore"):
            return np.log(density)


_PINWHEEL_MEAN, _PINWHEEL_SD = np.array([1.0, 0.0]), np.array([0.3, 0.1])
_PINWHEEL_GRID = np.linspace(-2.0, 4.0, 301)  # ten standard deviations on either side


def _pinwheel_angle(f1: NDArray[np.float64], arm: Any) -> NDArray[np.float64]:
    return 2 * np.pi * arm / 5 + np.exp(f1) / 4


def _pinwheel_residual(
    f1: NDArray[np.float64], x: NDArray[np.float64], arm: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what `f1` lacks of leading to `x`, and the other coordinate before the turn."""
    angle = _pinwheel_angle(f1, arm)
    x1, x2 = x[:, :1] / 2, x[:, 1:] / 2
    cosine, sine_ = np.cos(angle), np.sin(angle)
    return f1 - (x1 * cosine - x2 * sine_), x1 * sine_ + x2 * cosine


def _pinwheel_arm(x: NDArray[np.float64], arm: int) -> NDArray[np.float64]:
    """Return the part of the density that one arm has."""
    residual, _ = _pinwheel_residual(_PINWHEEL_GRID[None, :], x, arm)
    rows, cells = np.nonzero(np.sign(residual[:, :-1]) != np.sign(residual[:, 1:]))
    low, high = _PINWHEEL_GRID[cells, None], _PINWHEEL_GRID[cells + 1, None]
    rising = residual[rows, cells + 1, None] > 0
    for _ in range(50):
        middle = 0.5 * (low + high)
        above = (_pinwheel_residual(middle, x[rows], arm)[0] > 0) == rising
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    f1 = 0.5 * (low + high)
    _, f2 = _pinwheel_residual(f1, x[rows], arm)
    steps = (np.hstack([f1, f2]) - _PINWHEEL_MEAN) / _PINWHEEL_SD
    density = np.exp(-0.5 * np.square(steps).sum(1)) / (2 * np.pi * _PINWHEEL_SD.prod())
    volume = 4 * np.abs(1 + np.exp(f1) / 4 * f2)[:, 0]
    parts = np.zeros(len(x))
    np.add.at(parts, rows, density / volume / 5)
    return parts


class UnivariateNormalMixture(KnownDensity):
    r"""A mixture of normal distributions on the line.

    .. math::
        p(x) = \sum_{k=1}^K w_k\, \mathcal{N}(x;\, \mu_k,\, \sigma_k^2)

    Parameters
    ----------
    weights : array-like of shape (K,)
        The shares :math:`w_k`, which add up to one.
    means : array-like of shape (K,)
        The means :math:`\mu_k`.
    scales : array-like of shape (K,)
        The standard deviations :math:`\sigma_k`.

    Raises
    ------
    ValueError
        If the three are not of one length, or a weight or a scale is not positive, or the
        weights do not add up to one.

    Examples
    --------
    >>> from skflow.datasets import UnivariateNormalMixture
    >>> mixture = UnivariateNormalMixture([0.5, 0.5], [-1, 1], [0.1, 1])
    >>> mixture.sample(100, random_state=0).shape
    (100, 1)
    >>> mixture.score_samples([[-1.0], [1.0]]).round(4)
    array([ 0.7039, -1.6121])
    """

    def __init__(self, weights: ArrayLike, means: ArrayLike, scales: ArrayLike) -> None:
        given = {"weights": weights, "means": means, "scales": scales}
        parts = [floats(part, name) for name, part in given.items()]
        self.weights, self.means, self.scales = parts
        if self.weights.ndim != 1 or len({part.shape for part in parts}) != 1:
            shapes = ", ".join(str(part.shape) for part in parts)
            raise ValueError(f"weights, means and scales must be of one length, got {shapes}.")
        for name, part in (("weights", self.weights), ("scales", self.scales)):
            if not (part > 0).all():
                raise ValueError(f"{name} must be positive, got {part.min()!s} among them.")
        if not np.isfinite(parts).all():
            raise ValueError("weights, means and scales must be finite, got some that are not.")
        if not np.isclose(self.weights.sum(), 1):
            raise ValueError(f"weights must add up to one, got {self.weights.sum()!s} in all.")

    def sample(  # noqa: D102
        self, n_samples: int = 1, random_state: Any = None
    ) -> NDArray[np.float64]:
        check_n_samples(n_samples, 1)
        rng = check_random_state(random_state)
        chosen = rng.choice(len(self.weights), size=n_samples, p=self.weights)
        X: NDArray[np.float64] = self.means[chosen] + self.scales[chosen] * rng.standard_normal(
            n_samples
        )
        return X[:, None]

    def score_samples(self, X: Any) -> NDArray[np.float64]:  # noqa: D102
        X = _checked(X, 1)
        heights = np.log(self.weights / (self.scales * np.sqrt(2 * np.pi)))
        log_density: NDArray[np.float64] = logsumexp(
            heights - 0.5 * np.square((X - self.means) / self.scales), axis=1
        )
        return log_density


def half_moons(noise: float = 0.1) -> ToyDensity:
    """Two interleaved half circles of radius 1.

    Parameters
    ----------
    noise : float, default=0.1
        The standard deviation around the curves.

    Returns
    -------
    density : ToyDensity
        The density.
    """
    angle = np.pi * _midpoints(_N_CENTRES // 2)
    first = np.column_stack([np.cos(angle), np.sin(angle)])
    return ToyDensity(np.concatenate([first, [1, 0.5] - first]), noise)


def sine(noise: float = 0.2) -> ToyDensity:
    """One and a half periods of a sine, from -4 to 4.

    Parameters
    ----------
    noise : float, default=0.2
        The standard deviation around the curve.

    Returns
    -------
    density : ToyDensity
        The density.
    """
    x = 8 * _midpoints(_N_CENTRES) - 4
    return ToyDensity(np.column_stack([x, 2 * np.sin(3 * np.pi * x / 8)]), noise)


def gaussian_ring(n_components: int = 8, *, radius: float = 4.0, noise: float = 0.5) -> ToyDensity:
    """Equal Gaussians, evenly spaced on a circle.

    Parameters
    ----------
    n_components : int, default=8
        The number of parts.
    radius : float, default=4.0
        Of the circle.
    noise : float, default=0.5
        The standard deviation of each Gaussian.

    Returns
    -------
    density : ToyDensity
        The density.
    """
    check_scalar(n_components, "n_components", Integral, min_val=1, max_val=_MOST_COMPONENTS)
    check_scalar(radius, "radius", Real)
    angle = 2 * np.pi * np.arange(n_components) / n_components
    return ToyDensity(radius * np.column_stack([np.cos(angle), np.sin(angle)]), noise)


def rings(noise: float = 0.08) -> ToyDensity:
    """Three circles around the origin, of radius 1, 2 and 3, each with a third of the rows.

    Parameters
    ----------
    noise : float, default=0.08
        The standard deviation around the circles.

    Returns
    -------
    density : ToyDensity
        The density.
    """
    angle = 2 * np.pi * _midpoints(_N_CENTRES)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    return ToyDensity(np.concatenate([circle, 2 * circle, 3 * circle]), noise)


def two_spirals(noise: float = 0.1) -> ToyDensity:
    """Two spirals of one and a half turns each, which begin at the origin.

    Parameters
    ----------
    noise : float, default=0.1
        The standard deviation around the curves.

    Returns
    -------
    density : ToyDensity
        The density.
    """
    angle = 3 * np.pi * np.sqrt(_midpoints(_N_CENTRES))
    spiral = angle[:, None] / 3 * np.column_stack([np.cos(angle), np.sin(angle)])
    return ToyDensity(np.concatenate([spiral, -spiral]), noise)


def gaussian_grid(n_per_side: int = 5, *, spacing: float = 1.0, noise: float = 0.1) -> ToyDensity:
    """Equal Gaussians on a square grid around the origin.

    Parameters
    ----------
    n_per_side : int, default=5
        The number of parts in a row of the grid.
    spacing : float, default=1.0
        The distance between neighbours.
    noise : float, default=0.1
        The standard deviation of each Gaussian.

    Returns
    -------
    density : ToyDensity
        The density.
    """
    check_scalar(n_per_side, "n_per_side", Integral, min_val=1, max_val=1000)
    check_scalar(spacing, "spacing", Real)
    axis = spacing * (np.arange(n_per_side) - (n_per_side - 1) / 2)
    return ToyDensity(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2), noise)


_TWO_THIRDS = 2 / 3

# Weight, mean and standard deviation of each part, as in table 1 of their paper.
_MARRON_WAND: dict[int, list[tuple[float, float, float]]] = {
    1: [(1, 0, 1)],
    2: [(1 / 5, 0, 1), (1 / 5, 1 / 2, _TWO_THIRDS), (3 / 5, 13 / 12, 5 / 9)],
    3: [(1 / 8, 3 * (_TWO_THIRDS**k - 1), _TWO_THIRDS**k) for k in range(8)],
    4: [(2 / 3, 0, 1), (1 / 3, 0, 1 / 10)],
    5: [(1 / 10, 0, 1), (9 / 10, 0, 1 / 10)],
    6: [(1 / 2, -1, _TWO_THIRDS), (1 / 2, 1, _TWO_THIRDS)],
    7: [(1 / 2, -3 / 2, 1 / 2), (1 / 2, 3 / 2, 1 / 2)],
    8: [(3 / 4, 0, 1), (1 / 4, 3 / 2, 1 / 3)],
    9: [(9 / 20, -6 / 5, 3 / 5), (9 / 20, 6 / 5, 3 / 5), (1 / 10, 0, 1 / 4)],
    10: [(1 / 2, 0, 1), *((1 / 10, k / 2 - 1, 1 / 10) for k in range(5))],
    11: [
        *((49 / 100, sign, _TWO_THIRDS) for sign in (-1, 1)),
        *((1 / 350, (k - 3) / 2, 1 / 100) for k in range(7)),
    ],
    12: [(1 / 2, 0, 1), *((2 ** (1 - k) / 31, k + 1 / 2, 2**-k / 10) for k in range(-2, 3))],
    13: [
        *((46 / 100, sign, _TWO_THIRDS) for sign in (-1, 1)),
        *((1 / 300, -k / 2, 1 / 100) for k in range(1, 4)),
        *((7 / 300, k / 2, 7 / 100) for k in range(1, 4)),
    ],
    14: [(2 ** (5 - k) / 63, (65 - 96 / 2**k) / 21, 32 / 63 / 2**k) for k in range(6)],
    15: [
        *((2 / 7, (12 * k - 15) / 7, 2 / 7) for k in range(3)),
        *((1 / 21, 2 * k / 7, 1 / 21) for k in range(8, 11)),
    ],
}


def marron_wand(number: int) -> UnivariateNormalMixture:
    """One of the fifteen normal mixtures of Marron and Wand, which have one column.

    They are: 1 Gaussian, 2 skewed unimodal, 3 strongly skewed, 4 kurtotic unimodal, 5 outlier,
    6 bimodal, 7 separated bimodal, 8 skewed bimodal, 9 trimodal, 10 claw, 11 double claw,
    12 asymmetric claw, 13 asymmetric double claw, 14 smooth comb, 15 discrete comb.

    Parameters
    ----------
    number : int
        From 1 to 15.

    Returns
    -------
    density : UnivariateNormalMixture
        The density.

    References
    ----------
    .. [1] J. S. Marron and M. P. Wand (1992), "Exact mean integrated squared error". The Annals
       of Statistics 20(2), table 1.

    Examples
    --------
    >>> from skflow.datasets import marron_wand
    >>> claw = marron_wand(10)
    >>> claw.sample(100, random_state=0).shape
    (100, 1)
    >>> claw.score_samples([[0.0], [0.25]]).round(4)
    array([-0.5135, -1.4767])
    """
    check_scalar(number, "number", Integral, min_val=1, max_val=len(_MARRON_WAND))
    weights, means, scales = zip(*_MARRON_WAND[int(number)], strict=True)
    return UnivariateNormalMixture(weights, means, scales)


def _midpoints(n: int) -> NDArray[np.float64]:
    return (np.arange(n) + 0.5) / n
