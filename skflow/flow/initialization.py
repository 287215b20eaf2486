"""Where the weights of dense layers start."""

import torch
from torch import Tensor

__all__ = ["random_orthogonal", "shrunk_whitening"]

_SHRINKAGES = 33
_MOST_FACTORED_COLUMNS = 2048
_BLOCK_ENTRIES = 2**16  # so few that the room is given back to the system


@torch.no_grad()
def random_orthogonal(
    n_features: int, generator: torch.Generator, *, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Draw an orthogonal matrix.

    Up to 2048 columns it is uniform among all, by a QR factorisation: O(D³). Beyond, it is a
    product of two random permutations, random signs and discrete Hartley transforms, which
    looks uniform and takes O(D² log D) operations and no room but for the result.

    Parameters
    ----------
    n_features : int
        The number D of rows and columns.
    generator : torch.Generator
    dtype : torch.dtype, default=torch.float64

    Returns
    -------
    q : Tensor of shape (D, D)
    """
    d, device = n_features, generator.device
    if d <= _MOST_FACTORED_COLUMNS:
        normal = torch.randn(d, d, generator=generator, dtype=torch.float64, device=device)
        q, r = torch.linalg.qr(normal)
        return (q * r.diagonal().sign()).to(dtype)  # without the signs, QR is not uniform
    signs = [torch.randint(2, (d,), generator=generator, device=device) * 2 - 1 for _ in range(3)]
    orders = [torch.randperm(d, generator=generator, device=device) for _ in range(2)]
    q = torch.empty(d, d, dtype=dtype, device=device)
    n_rows = max(1, _BLOCK_ENTRIES // d)
    for block, ones in zip(q.split(n_rows), orders[0].split(n_rows), strict=True):
        rows = torch.zeros(block.shape, dtype=torch.float64, device=device)
        rows.scatter_(1, ones.unsqueeze(1), 1)
        for k in range(2):
            spectrum = torch.fft.fft(rows * signs[k], norm="ortho")
            rows = (spectrum.real - spectrum.imag)[:, orders[1]]
        block.copy_(rows * signs[2])
    return q


@torch.no_grad()
def shrunk_whitening(x: Tensor) -> tuple[Tensor, Tensor]:
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

    Returns
    -------
    whitening : Tensor of shape (D, D)
        Symmetric and positive definite; computed in float64, and rounded to the precision of
        `x`.
    log_det : Tensor of shape ()
        Its log-determinant, before rounding, in nats.

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
    n, d = x.shape
    mean = x.mean(0, dtype=torch.float64)
    # (N, N) or (D, D), whichever is less; both have the eigenvalues that are not zero.
    moments = x.new_zeros((min(n, d),) * 2, dtype=torch.float64)
    if n < d:
        for columns in torch.arange(d, device=x.device).split(max(1, _BLOCK_ENTRIES // n)):
            block = x[:, columns] - mean[columns]
            moments.addmm_(block, block.mT, alpha=1 / n)
    else:
        for rows in x.split(max(1, 16 * _BLOCK_ENTRIES // d)):
            block = rows - mean
            moments.addmm_(block.mT, block, alpha=1 / n)
    eigenvalues, eigenvectors = torch.linalg.eigh(moments)
    del moments
    eigenvalues = eigenvalues.clamp_min_(0)
    mean_variance = eigenvalues.sum() / d
    if not mean_variance > 0:
        return torch.eye(d, dtype=x.dtype, device=x.device), mean_variance.new_zeros(())

    # Of each row, the squares of its coordinates in the eigenbasis.
    if n < d:
        projections = eigenvectors.square() * (eigenvalues * n)
    else:
        parts = [
            ((rows - mean) @ eigenvectors).square_()
            for rows in x.split(max(1, 16 * _BLOCK_ENTRIES // d))
        ]
        projections = torch.cat(parts)
    n_null = d - len(eigenvalues)
    shrinkages = torch.logspace(-8, 0, _SHRINKAGES, dtype=torch.float64, device=x.device)
    # Leaving row x out turns (1-λ) S + λēI into A - c x xᵀ, with A diagonal in the eigenbasis.
    kept = (1 - shrinkages) * (n / (n - 1))
    floors = shrinkages * mean_variance
    variances = torch.outer(kept, eigenvalues) + floors.unsqueeze(1)
    distances = projections @ variances.reciprocal().mT  # (N, shrinkages)
    remaining = 1 - distances * kept / (n - 1)
    negative_log_likelihood = (
        variances.log().sum(1)
        + n_null * floors.log()
        + (remaining.log() + (n / (n - 1)) ** 2 * distances / remaining).mean(0)
    ).nan_to_num(nan=torch.inf)
    shrinkage = shrinkages[negative_log_likelihood.argmin()]
    floor = shrinkage * mean_variance
    variance = (1 - shrinkage) * eigenvalues + floor
    log_det = -0.5 * (variance.log().sum() + n_null * floor.log())
    if n >= d:
        return ((eigenvectors * variance.rsqrt()) @ eigenvectors.mT).to(x.dtype), log_det
    # The directions of the rows, unit vectors as columns, and those that no row has.
    size = (eigenvalues * n).sqrt()
    usable = size > size[-1] * 1e-7
    weights = ((variance.rsqrt() - floor.rsqrt()) / size.square())[usable]
    directions = eigenvectors[:, usable] * weights.abs().sqrt()
    basis = torch.empty(d, directions.shape[1], dtype=x.dtype, device=x.device)
    for columns in torch.arange(d, device=x.device).split(max(1, _BLOCK_ENTRIES // n)):
        basis[columns] = ((x[:, columns] - mean[columns]).mT @ directions).to(x.dtype)
    # All of these variances exceed the floor, so that what is added to it is negative.
    whitening = torch.mm(basis, basis.mT).neg_()
    whitening.diagonal().add_(floor.rsqrt())
    return whitening, log_det
