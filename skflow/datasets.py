"""Toy densities whose log-density is known, to check a density estimator against the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_random_state

__all__ = ["ToyDensity", "gaussian_ring", "half_moons", "sine"]

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class ToyDensity:
    r"""Points spread evenly over centres or along curves, with isotropic normal noise.

    .. math::
        p(x) = \frac1K \sum_{k=1}^K \mathcal{N}(x;\, c_k,\, \sigma^2 I)

    A curve is a sum over nodes much closer to each other than the noise is wide, so that it
    equals the integral along the curve to the precision of float64.

    Parameters
    ----------
    curve : callable
        Maps t in [0, 1), of shape (n,), to the centres, of shape (n, D).
    noise : float
        The standard deviation :math:`\sigma` of the noise.
    nodes : ndarray of shape (K,)
        The values of t that the sum goes over.

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

    def __init__(self, curve: Curve, noise: float, nodes: NDArray[np.float64]) -> None:
        if not noise > 0:
            raise ValueError(f"noise must be positive, got {noise!r}.")
        self.noise = noise
        self._centres = curve(nodes)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> NDArray[np.float64]:
        """Draw rows.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, 2)
        """
        rng = check_random_state(random_state)
        chosen = self._centres[rng.randint(len(self._centres), size=n_samples)]
        X: NDArray[np.float64] = chosen + self.noise * rng.standard_normal(chosen.shape)
        return X

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the exact log-density at each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, 2)

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
        """
        X = check_array(X, dtype=np.float64)
        n_centres, n_features = self._centres.shape
        constant = np.log(n_centres) + n_features * np.log(self.noise * np.sqrt(2 * np.pi))
        log_density = np.empty(len(X))
        for start in range(0, len(X), 1024):
            block = X[start : start + 1024, None, :]
            distances = np.square((block - self._centres) / self.noise).sum(2)
            log_density[start : start + 1024] = (
                np.logaddexp.reduce(-0.5 * distances, axis=1) - constant
            )
        return log_density

    def score(self, X: ArrayLike) -> float:
        """Return the mean log-density of the rows of `X`, in nats."""
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
    """

    def curve(t: NDArray[np.float64]) -> NDArray[np.float64]:
        second = t >= 0.5
        angle = np.pi * (2 * t - second)
        x, y = np.cos(angle), np.sin(angle)
        return np.column_stack([np.where(second, 1 - x, x), np.where(second, 0.5 - y, y)])

    return ToyDensity(curve, noise, _midpoints(2 * np.pi, noise))


def sine(noise: float = 0.2) -> ToyDensity:
    """A period and a half of a sine, from -4 to 4.

    Parameters
    ----------
    noise : float, default=0.2
        The standard deviation around the curve.

    Returns
    -------
    density : ToyDensity
    """

    def curve(t: NDArray[np.float64]) -> NDArray[np.float64]:
        x = 8 * t - 4
        return np.column_stack([x, 2 * np.sin(3 * np.pi * x / 8)])

    return ToyDensity(curve, noise, _midpoints(16.0, noise))


def gaussian_ring(n_components: int = 8, *, radius: float = 4.0, noise: float = 0.5) -> ToyDensity:
    """Equal Gaussians, evenly spaced on a circle.

    Parameters
    ----------
    n_components : int, default=8
    radius : float, default=4.0
        Of the circle.
    noise : float, default=0.5
        The standard deviation of each Gaussian.

    Returns
    -------
    density : ToyDensity
    """

    def curve(t: NDArray[np.float64]) -> NDArray[np.float64]:
        angle = 2 * np.pi * t
        return radius * np.column_stack([np.cos(angle), np.sin(angle)])

    return ToyDensity(curve, noise, np.arange(n_components) / n_components)


def _midpoints(length: float, noise: float) -> NDArray[np.float64]:
    # Eight nodes to a standard deviation: the sum of Gaussians is flat far below rounding.
    n_nodes = 2 * int(np.ceil(4 * length / noise))
    return (np.arange(n_nodes) + 0.5) / n_nodes
