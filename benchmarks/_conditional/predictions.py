"""Predictions by what they are made of: normal distributions, quantiles, or samples."""

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri
from scipy.stats import norm

from .task import LEVELS, Prediction

__all__ = ["Normals", "Quantiles", "Samples"]

_BISECTIONS = 60


class Normals(Prediction):
    """Mixtures of normal distributions of equal weights.

    Parameters
    ----------
    means, scales : arrays of shape (n_rows,) or (n_rows, n_components)
    """

    def __init__(self, means, scales):
        means, scales = np.broadcast_arrays(means, scales)
        self.means, self.scales = (a.reshape(len(a), -1).astype(float) for a in (means, scales))

    def log_density(self, y):
        each = norm.logpdf(y[:, None], self.means, self.scales)
        return logsumexp(each, axis=1) - np.log(each.shape[1])

    def cdf(self, y):
        return ndtr((y[:, None] - self.means) / self.scales).mean(1)

    def quantiles(self):
        """Bisect between the components' own quantiles, which enclose those of the mixture."""
        each = self.means[:, None] + self.scales[:, None] * ndtri(LEVELS)[:, None]
        low, high = each.min(-1), each.max(-1)
        if each.shape[-1] == 1:
            return low
        means, scales = self.means[:, None], self.scales[:, None]
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            below = ndtr((middle[..., None] - means) / scales).mean(-1) < LEVELS
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2


class Quantiles(Prediction):
    """Quantiles at some levels: those between are interpolated, those beyond are the outermost.

    Parameters
    ----------
    values : array of shape (n_rows, n_levels)
        Quantiles that cross are sorted.
    levels : array of shape (n_levels,)
    """

    def __init__(self, values, levels):
        self.values, self.levels = np.sort(values, axis=1), levels

    def quantiles(self):
        return np.stack([np.interp(LEVELS, self.levels, row) for row in self.values])


class Samples(Prediction):
    """Samples of y for each row.

    Parameters
    ----------
    samples : array of shape (n_rows, n_samples)
    """

    def __init__(self, samples):
        self.samples = samples

    def cdf(self, y):
        below = (self.samples < y[:, None]).sum(1) + 0.5 * (self.samples == y[:, None]).sum(1)
        return (below + 0.5) / (self.samples.shape[1] + 1)

    def quantiles(self):
        return np.quantile(self.samples, LEVELS, axis=1).T
