"""Maps of single columns, some entries of which may be missing, to a common scale."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from skflow.flow import Bijection, ElementwiseSpline, Standardize
from skflow.flow.composition import composed
from skflow.training.rows import Rows
from skflow.training.standardization import standardization

__all__ = ["Margins"]

_N_BINS = 16


class Margins:
    """One map for each column, of what is observed there.

    Parameters
    ----------
    maps : list of Bijection
        Each of a single column.
    """

    def __init__(self, maps: list[Bijection]) -> None:
        self.maps = maps

    @classmethod
    def standard(cls, x: Tensor) -> Self:
        """Return maps that standardise columns and bend their tails.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            In float64, NaN where an entry is missing.
        """
        return cls([standardization(Rows(own), robust=True) for own in _known(x)])

    def to_normal(self, x: Tensor) -> Self:
        """Return maps that make each column normal by itself, after these.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            In float64, NaN where an entry is missing.
        """
        made = []
        for scale, own in zip(self.maps, _known(x), strict=True):
            z = scale(own).double()
            spline = ElementwiseSpline(1, n_bins=_N_BINS, init="quantiles", dtype=z.dtype)
            spline.initialize(z, torch.Generator())
            made.append(composed(scale, spline, Standardize.from_rows(spline(z).detach())))
        return type(self)(made)

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map what is observed.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            NaN where an entry is missing.

        Returns
        -------
        z : Tensor of shape (N, D)
            NaN where an entry is missing.
        log_det : Tensor of shape (N,)
            The sums of the logarithms of the slopes at what is observed.
        """
        z, log_det = x.clone(), x.new_zeros(len(x))
        for j, one in enumerate(self.maps):
            known = ~x[:, j].isnan()
            own, log_slopes = one.forward_and_log_det(x[known, j : j + 1])
            z[known, j] = own[:, 0].double()
            log_det[known] += log_slopes.double()
        return z, log_det

    @torch.no_grad()
    def inverse(self, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map what was drawn for what is missing back.

        Parameters
        ----------
        z : Tensor of shape (N, n_samples, D)
            Completed rows.
        x : Tensor of shape (N, D)
            What is observed, NaN where an entry is missing.

        Returns
        -------
        completed : Tensor of shape (N, n_samples, D)
            With what is observed as it is.
        log_det : Tensor of shape (N, n_samples)
            The sums of the logarithms of the maps' slopes at what was missing.
        """
        completed = x[:, None].repeat(1, z.shape[1], 1)
        log_det = z.new_zeros(z.shape[:2])
        for j, one in enumerate(self.maps):
            rows = x[:, j].isnan()
            entries, log_slopes = one.inverse_and_log_det(z[rows, :, j].reshape(-1, 1))
            completed[rows, :, j] = entries.reshape(-1, z.shape[1]).double()
            log_det[rows] -= log_slopes.reshape(-1, z.shape[1]).double()
        return completed, log_det


def _known(x: Tensor) -> list[Tensor]:
    return [own[~own.isnan()][:, None].contiguous() for own in x.T]
