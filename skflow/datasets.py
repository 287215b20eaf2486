"""Toy densities whose log-density is known, to check a density estimator against the truth."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import check_array, check_random_state, check_scalar, gen_batches

from skflow._sklearn.validation import check_n_samples, plain_array

__all__ = ["ToyDensity", "gaussian_ring", "half_moons", "sine"]

_N_CENTRES = 1000


# A density sums over all of its parts.
_MOST_COMPONENTS = 10**6


class ToyDensity:
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
        self.centres = centres
        self.noise = noise

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
        X : ndarray of shape (n_samples, 2)
            The rows.
        """
        check_n_samples(n_samples, 2)
        rng = check_random_state(random_state)
        chosen = self.centres[rng.randint(len(self.centres), size=n_samples)]
        X: NDArray[np.float64] = chosen + self.noise * rng.standard_normal(chosen.shape)
        return X

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the exact log-density at each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, 2)
            The rows.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In nats.
        """
        X = check_array(plain_array(X), dtype=np.float64)
        n_centres, n_features = self.centres.shape
        constant = np.log(n_centres) + n_features * np.log(self.noise * np.sqrt(2 * np.pi))
        log_density = np.empty(len(X))
        for block in gen_batches(len(X), 1024):
            exponents = euclidean_distances(X[block], self.centres, squared=True)
            exponents *= -0.5 / self.noise**2
            highest = exponents.max(axis=1)
            np.exp(exponents - highest[:, None], out=exponents)
            log_density[block] = highest + np.log(exponents.sum(axis=1)) - constant
        return log_density

    def score(self, X: ArrayLike) -> float:
        """Return the mean log-density of the rows of `X`, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.
        """
        return float(self.score_samples(X).mean())


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


def _midpoints(n: int) -> NDArray[np.float64]:
    return (np.arange(n) + 0.5) / n
