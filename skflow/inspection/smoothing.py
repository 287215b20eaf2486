"""A density in the plane, estimated from a sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

__all__ = ["kernel_density_on_grid"]

# Bandwidths to choose from, in cells: up to an eighth of the grid.
_N_BANDWIDTHS = 25
_NARROWEST = 0.5
_WIDEST_SHARE = 1 / 8

# The kernel ends after so many bandwidths.
_TRUNCATE = 4.0


def kernel_density_on_grid(
    samples: NDArray[np.float64], x0: NDArray[np.float64], x1: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Estimate a density on a grid by a Gaussian kernel.

    The sample is counted in the cells of the grid, and the counts are smoothed. The bandwidth,
    as many cells along one axis as along the other, is the one with the least integrated
    squared error :math:`\int (\hat p - p)^2`, which is known up to a constant: the estimate
    from one half of the sample is compared with the other half.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, 2)
        Those beyond the grid count as well: the density integrates to the share of the others.
    x0, x1 : ndarray of shape (n_points,)
        The centres of the cells, equally spaced.

    Returns
    -------
    density : ndarray of shape (len(x1), len(x0))
        The density.
    bandwidth : ndarray of shape (2,)
        The standard deviations of the kernel, in the units of the samples.
    """
    cell = np.array([x0[1] - x0[0], x1[1] - x1[0]])
    widest = max(_NARROWEST, _WIDEST_SHARE * min(len(x0), len(x1)))
    # What lies beyond the grid, as far as a kernel reaches, is smoothed into it.
    margin = int(np.ceil(_TRUNCATE * widest))
    edges = [
        width * (np.arange(-margin, len(x) + margin + 1) - 0.5) + x[0]
        for x, width in ((x1, cell[1]), (x0, cell[0]))
    ]
    halves = [
        np.histogram2d(half[:, 1], half[:, 0], bins=edges)[0] / len(half)
        for half in (samples[::2], samples[1::2])
    ]

    def smooth(counts: NDArray[np.float64], bandwidth: float) -> NDArray[np.float64]:
        smoothed: NDArray[np.float64] = gaussian_filter(
            counts, bandwidth, mode="constant", truncate=_TRUNCATE
        )
        return smoothed

    def error(bandwidth: float) -> float:
        total = 0.0
        for this, other in (halves, halves[::-1]):
            estimate = smooth(this, bandwidth)
            total += float(np.sum(estimate * (estimate - 2 * other)))
        return total

    best = min(np.geomspace(_NARROWEST, widest, _N_BANDWIDTHS), key=error)
    best *= 2 ** (-1 / 6)  # the whole sample bears so much less smoothing than a half
    inner = slice(margin, -margin)
    density = smooth((halves[0] + halves[1]) / 2, best)[inner, inner] / cell.prod()
    return density, best * cell
