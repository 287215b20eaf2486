"""The distributions that a base distribution gives to single latents."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from skflow._sklearn.validation import torch_generator
from skflow.flow import (
    BaseDistribution,
    HyperbolicSecant,
    Logistic,
    Normal,
    NormalMixture,
    StudentT,
)

__all__ = ["Marginal", "SampledMarginal", "kolmogorov_smirnov", "marginals"]

_N_DRAWS = 20_000


class Marginal(Protocol):
    """What is asked of a distribution on the line, in the words of :mod:`scipy.stats`."""

    def pdf(self, x: Any, /) -> Any:
        """Return the density.

        Parameters
        ----------
        x : ndarray
            Where to evaluate it.
        """

    def interval(self, confidence: float, /) -> tuple[float, float]:
        """Return an interval that holds at least so much probability.

        Parameters
        ----------
        confidence : float
            The probability of the interval.
        """


@dataclass(frozen=True)
class MixtureMarginal:
    """A mixture of normal distributions on the line."""

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    scales: NDArray[np.float64]

    def pdf(self, x: ArrayLike) -> Any:
        """Return the density.

        Parameters
        ----------
        x : ndarray
            Where to evaluate it.
        """
        components = stats.norm.pdf(np.expand_dims(x, -1), self.means, self.scales)
        return components @ self.weights

    def cdf(self, x: ArrayLike) -> Any:
        """Return the cumulative distribution function.

        Parameters
        ----------
        x : ndarray
            Where to evaluate it.
        """
        components = stats.norm.cdf(np.expand_dims(x, -1), self.means, self.scales)
        return components @ self.weights

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return an interval that holds at least so much of each component.

        Parameters
        ----------
        confidence : float
            The probability of the interval.
        """
        low, high = stats.norm.interval(confidence, self.means, self.scales)
        return float(low.min()), float(high.max())


@dataclass(frozen=True)
class SampledMarginal:
    """A distribution on the line that is known by a sample."""

    draws: NDArray[np.float64]

    def pdf(self, x: ArrayLike) -> Any:
        """Return a kernel estimate, whose bandwidth heavy tails do not widen.

        It is half of what Scott's rule has: draws are many, and peaks should stay.

        Parameters
        ----------
        x : ndarray
            Where to evaluate it.
        """
        first, third = np.quantile(self.draws, [0.25, 0.75])
        spread = (third - first) / 1.35  # the standard deviation of a normal distribution
        bandwidth = 0.5 * len(self.draws) ** -0.2 * spread
        # SciPy takes it in multiples of the sample's standard deviation.
        factor = bandwidth / self.draws.std(ddof=1)
        return stats.gaussian_kde(self.draws, factor)(x)

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the interval between two quantiles of the sample.

        Parameters
        ----------
        confidence : float
            The probability of the interval.
        """
        low, high = np.quantile(self.draws, [0.5 - 0.5 * confidence, 0.5 + 0.5 * confidence])
        return float(low), float(high)


def marginals(base: BaseDistribution, n_features: int, random_state: Any) -> list[Marginal]:
    """Return the distribution of each latent by itself under a base distribution.

    Parameters
    ----------
    base : BaseDistribution
        The base distribution.
    n_features : int
        The number D of columns.
    random_state : int, RandomState instance or None
        For draws from a base distribution of another class than those of :mod:`skflow.flow`,
        whose marginals are known by these alone.

    Returns
    -------
    marginals : list of Marginal
        One for each latent.
    """
    base = deepcopy(base).cpu()
    known = _KNOWN.get(type(base))
    if known is not None:
        return known(base, n_features)
    generator = torch_generator(random_state, torch.device("cpu"))
    draws = base.sample((_N_DRAWS, n_features), generator=generator)
    return [SampledMarginal(column.numpy()) for column in draws.T]


def kolmogorov_smirnov(z: NDArray[Any], marginal: Any) -> tuple[float, float]:
    """Return the statistic and the p-value of a Kolmogorov-Smirnov test.

    It is one of two samples where the marginal is known by a sample.

    Parameters
    ----------
    z : ndarray of shape (n_samples,)
        The latents.
    marginal : Marginal
        What the latents should follow.
    """
    if isinstance(marginal, SampledMarginal):
        result = stats.ks_2samp(z, marginal.draws, method="asymp")
    else:
        result = stats.ks_1samp(z, marginal.cdf)
    return float(result.statistic), float(result.pvalue)


def _mixture(base: NormalMixture, n_features: int) -> list[Marginal]:
    weights = base.weights.double().numpy()
    variances = base.covariances.double().diagonal(dim1=1, dim2=2)
    return [
        MixtureMarginal(weights / weights.sum(), means.numpy(), variance.sqrt().numpy())
        for means, variance in zip(base.means.double().T, variances.T, strict=True)
    ]


def _student_t(base: StudentT, n_features: int) -> list[Marginal]:
    return [stats.t(df, scale=np.sqrt((df - 2) / df)) for df in base.df.double().numpy()]


# By class, and not by that of a parent, whose density may be another.
_KNOWN: dict[type, Callable[[Any, int], list[Marginal]]] = {
    Normal: lambda _, n: [stats.norm()] * n,
    HyperbolicSecant: lambda _, n: [stats.hypsecant(scale=2 / np.pi)] * n,
    Logistic: lambda _, n: [stats.logistic(scale=np.sqrt(3) / np.pi)] * n,
    StudentT: _student_t,
    NormalMixture: _mixture,
}
