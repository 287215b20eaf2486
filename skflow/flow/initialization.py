"""Where the weights of dense layers start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from skflow.flow.blocks import BLOCK_ENTRIES
from skflow.flow.weighted import mean

__all__ = ["LowRankWhitening", "low_rank_whitening", "random_orthogonal", "shrunk_whitening"]

_SHRINKAGES = 33


@torch.no_grad()
def random_orthogonal(
    n_features: int,
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float64,
    most_factored: int = 2048,
    block_entries: int = BLOCK_ENTRIES,
    rows: slice = slice(None),
    out: Tensor | None = None,
) -> Tensor:
    """Draw an orthogonal matrix, or some rows of one.

    Up to 2048 columns it is uniform among all, by a QR factorisation: O(D³). Beyond, it is a
    product of two random permutations, random signs and discrete Hartley transforms, which
    looks uniform and takes O(D² log D) operations and no room but for the result.

    Parameters
    ----------
    n_features : int
        The number D of rows and columns.
    generator : torch.Generator
        Where the randomness comes from.
    dtype : torch.dtype, default=torch.float64
        The precision of the result.
    most_factored : int, default=2048
        Up to so many columns, there is a factorisation.
    block_entries : int, default=65536
        Beyond, how many entries are made at a time.
    rows : slice, default=slice(None)
        Which rows are made; by default, all.
    out : Tensor of shape (M, D) or None, default=None
        Where these M rows are put; by default, in a new tensor.

    Returns
    -------
    q : Tensor of shape (M, D)
        The rows of the orthogonal matrix.
    """
    d, device = n_features, generator.device
    if d <= most_factored:
        normal = torch.randn(d, d, generator=generator, dtype=torch.float64, device=device)
        q, r = torch.linalg.qr(normal)
        q = (q * r.diagonal().sign())[rows]  # without the signs, QR is not uniform
        return q.to(dtype) if out is None else out.copy_(q)
    signs = [torch.randint(2, (d,), generator=generator, device=device) * 2 - 1 for _ in range(3)]
    orders = [torch.randperm(d, generator=generator, device=device) for _ in range(2)]
    order = orders[0][rows]
    q = torch.empty(len(order), d, dtype=dtype, device=device) if out is None else out
    n_rows = max(1, block_entries // d)
    for block, ones in zip(q.split(n_rows), order.split(n_rows), strict=True):
        made = torch.zeros(block.shape, dtype=torch.float64, device=device)
        made.scatter_(1, ones.unsqueeze(1), 1)
        for k in range(2):
            spectrum = torch.fft.fft(made * signs[k], norm="ortho")
            made = (spectrum.real - spectrum.imag)[:, orders[1]]
        block.copy_(made * signs[2])
    return q


@torch.no_grad()
def shrunk_whitening(x: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Return the symmetric whitening matrix :math:`C^{-1/2}` of a shrunk covariance `C`.

    With :math:`S` the covariance of `x` and :math:`\bar e` its mean variance,
    :math:`C = (1 - \lambda) S + \lambda \bar e I`. Of a grid of intensities
    :math:`10^{-8} \le \lambda \le 1`, the one with the highest leave-one-out likelihood of the
    Gaussian is taken: in the eigenbasis of :math:`S`, leaving a row out is a rank-one change.
    A covariance without full rank is thus safe, and one that is known well is hardly shrunk.

    Parameters
    ----------
    x : Tensor of shape (N, D)
        At least two rows.
    weights : Tensor of shape (N,) or None, default=None
        How many rows each row stands for; by default one. One of them is left out at a time,
        or all of a row that stands for less.

    Returns
    -------
    whitening : Tensor of shape (D, D)
        Symmetric and positive definite; computed in float64, and rounded to the precision of
        `x`.
    log_det : Tensor of shape ()
        Its log-determinant, before rounding, in nats.

    Raises
    ------
    ValueError
        If the covariance is not finite.

    Notes
    -----
    Cost: one eigendecomposition, O(D³), and O(N·D²). With fewer rows than columns, that of an
    N×N matrix, O(N³), and O(N·D²); all but the result then takes O(N·(N + D)) room.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow.initialization import shrunk_whitening
    >>> x = torch.randn(10_000, 2, generator=torch.Generator().manual_seed(0)) * 2
    >>> whitening, log_det = shrunk_whitening(x.double())
    >>> whitening.diagonal().round(decimals=1)
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    d = x.shape[1]
    if len(x) < d:
        basis, diagonal, log_det = low_rank_whitening(x, weights)
        whitening = torch.mm(basis, basis.mT).neg_()
        whitening.diagonal().add_(diagonal)
        return whitening, log_det
    spectrum = _spectrum(_Deviations(x, weights))
    if spectrum is None:
        return torch.eye(d, dtype=x.dtype, device=x.device), x.new_zeros((), dtype=torch.float64)
    variance, eigenvectors = spectrum.variance, spectrum.eigenvectors
    whitening = ((eigenvectors * variance.rsqrt()) @ eigenvectors.mT).to(x.dtype)
    return whitening, spectrum.log_det


class LowRankWhitening(NamedTuple):
    r"""A whitening matrix :math:`c I - B B^\top`."""

    basis: Tensor
    """The matrix `B`, of shape (D, K)."""

    diagonal: Tensor
    """The number `c`, of shape (), in float64."""

    log_det: Tensor
    """The log-determinant, of shape (), in nats, float64."""


@torch.no_grad()
def low_rank_whitening(
    x: Tensor,
    weights: Tensor | None = None,
    *,
    n_features: int | None = None,
    summed: Callable[[Tensor], Tensor] = lambda matrix: matrix,
) -> LowRankWhitening:
    """Do what :func:`shrunk_whitening` does for fewer rows than columns, in O(N·(N + D)) room.

    Parameters
    ----------
    x : Tensor of shape (N, C)
        Some columns of the rows, or all.
    weights : Tensor of shape (N,) or None, default=None
        As for :func:`shrunk_whitening`.
    n_features : int or None, default=None
        The number D of all columns; by default, C.
    summed : callable, default=the identity
        Adds up an N×N matrix over those that have the other columns.

    Returns
    -------
    whitening : LowRankWhitening
        With these columns' rows of the basis.
    """
    deviations = _Deviations(x, weights, n_features, summed)
    spectrum = _spectrum(deviations)
    one = x.new_ones((), dtype=torch.float64)
    if spectrum is None:
        return LowRankWhitening(x.new_zeros(x.shape[1], 0), one, one - 1)
    eigenvalues, eigenvectors, variance, floor, log_det = spectrum
    # The directions of the rows, unit vectors as columns, and those that no row has.
    size = (eigenvalues * deviations.n).sqrt()
    usable = size > size[-1] * 1e-7
    strengths = ((variance.rsqrt() - floor.rsqrt()) / size.square())[usable]
    # All of these variances exceed the floor, so that what is added to it is negative.
    directions = eigenvectors[:, usable] * strengths.abs().sqrt()
    basis = torch.empty(x.shape[1], directions.shape[1], dtype=x.dtype, device=x.device)
    for some, block in deviations.column_blocks():
        basis[some] = (block.mT @ directions).to(x.dtype)
    return LowRankWhitening(basis, floor.rsqrt(), log_det)


class _Spectrum(NamedTuple):
    """The eigenvalues and eigenvectors of the moments, and what shrinkage makes of them."""

    eigenvalues: Tensor
    eigenvectors: Tensor
    variance: Tensor
    floor: Tensor
    """The variance along the directions that no row has."""
    log_det: Tensor
    """That of the whitening matrix, in nats."""


def _spectrum(deviations: _Deviations) -> _Spectrum | None:
    """Return the shrunk spectrum of rows; None if all of them are equal."""
    eigenvalues, eigenvectors = torch.linalg.eigh(deviations.moments())
    eigenvalues = eigenvalues.clamp_min_(0)
    d = deviations.n_features
    mean_variance = eigenvalues.sum() / d
    if not mean_variance > 0:
        return None
    shrinkage = _likeliest_shrinkage(deviations, eigenvalues, eigenvectors, mean_variance)
    floor = shrinkage * mean_variance
    variance = (1 - shrinkage) * eigenvalues + floor
    log_det = -0.5 * (variance.log().sum() + (d - len(eigenvalues)) * floor.log())
    return _Spectrum(eigenvalues, eigenvectors, variance, floor, log_det)


class _Deviations:
    """Deviations of rows from their mean whose squares add up to n S, a block at a time.

    Parameters
    ----------
    x : Tensor of shape (N, C)
        Some columns of the rows, or all.
    weights : Tensor of shape (N,) or None
        How many rows each row stands for.
    n_features : int or None, default=None
        The number D of all columns; by default, C.
    summed : callable, default=the identity
        Adds up a matrix over those that have the other columns.
    """

    def __init__(
        self,
        x: Tensor,
        weights: Tensor | None,
        n_features: int | None = None,
        summed: Callable[[Tensor], Tensor] = lambda matrix: matrix,
    ) -> None:
        self.x, self.weights, self._summed = x, weights, summed
        n_rows = len(x)
        self.n_features = x.shape[1] if n_features is None else n_features
        self._n_columns = max(1, BLOCK_ENTRIES // n_rows)
        self.n: float
        if weights is None:
            self.n, self.roots, self.left_out = n_rows, None, None
            self.centre = x.mean(0, dtype=torch.float64)
        else:
            self.n = float(weights.sum())
            self.roots, self.left_out = weights.sqrt(), weights.clamp_max(1)
            blocks = x.split(self._n_columns, dim=1)
            self.centre = torch.cat([mean(block.double(), weights) for block in blocks])

    def row_blocks(self) -> Iterator[Tensor]:
        size = max(1, 16 * BLOCK_ENTRIES // self.n_features)
        for rows in (slice(k, k + size) for k in range(0, len(self.x), size)):
            block = self.x[rows] - self.centre
            yield block if self.roots is None else block.mul_(self.roots[rows].unsqueeze(1))

    def column_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(self.x.shape[1], device=self.x.device)
        for columns in order.split(self._n_columns):
            block = self.x[:, columns] - self.centre[columns]
            yield columns, block if self.roots is None else block.mul_(self.roots.unsqueeze(1))

    def moments(self) -> Tensor:
        """Return a matrix of shape (N, N) or (D, D), whichever is less.

        Both have the eigenvalues of the covariance that are not zero.
        """
        n_rows, d = len(self.x), self.n_features
        moments = self.x.new_zeros((min(n_rows, d),) * 2, dtype=torch.float64)
        if n_rows < d:
            for _, block in self.column_blocks():
                moments.addmm_(block, block.mT, alpha=1 / self.n)
            moments = self._summed(moments)
        else:
            for block in self.row_blocks():
                moments.addmm_(block.mT, block, alpha=1 / self.n)
        if not bool(torch.isfinite(moments).all()):
            raise ValueError(
                "The covariance of the rows that flow into a dense layer is not finite: they are "
                "too large, or not all finite. Centre and scale the columns."
            )
        return moments


def _likeliest_shrinkage(
    deviations: _Deviations, eigenvalues: Tensor, eigenvectors: Tensor, mean_variance: Tensor
) -> Tensor:
    """Return the intensity with the highest leave-one-out likelihood."""
    n, weights, left_out = deviations.n, deviations.weights, deviations.left_out
    n_null = deviations.n_features - len(eigenvalues)
    shrinkages = torch.logspace(-8, 0, _SHRINKAGES, dtype=torch.float64, device=eigenvalues.device)
    # Leaving row x out turns (1-λ) S + λēI into A - c x xᵀ, with A diagonal in the eigenbasis.
    rest = max(n - 1, 1)
    kept = (1 - shrinkages) * (n / rest)
    floors = shrinkages * mean_variance
    variances = torch.outer(kept, eigenvalues) + floors.unsqueeze(1)
    # Of each row, the squares of its coordinates in the eigenbasis, in units of the variances.
    inverses = variances.reciprocal().mT
    if n_null > 0:
        distances = (eigenvectors.square() * (eigenvalues * n)) @ inverses  # (N, shrinkages)
    else:
        squares = ((block @ eigenvectors).square_() for block in deviations.row_blocks())
        distances = torch.cat([block @ inverses for block in squares])
    if weights is not None:
        distances /= weights.unsqueeze(1)
    removed = distances if left_out is None else distances * left_out.unsqueeze(1)
    remaining = 1 - removed * kept / rest
    negative_log_likelihood = (
        variances.log().sum(1)
        + n_null * floors.log()
        + mean(remaining.log() + (n / rest) ** 2 * distances / remaining, weights)
    ).nan_to_num(nan=torch.inf)
    return shrinkages[negative_log_likelihood.argmin()]
