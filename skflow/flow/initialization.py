"""Where the weights of dense layers start."""

import torch
from torch import Tensor

__all__ = ["random_orthogonal", "shrunk_whitening"]

_SHRINKAGES = 33


def random_orthogonal(n_features: int, generator: torch.Generator) -> Tensor:
    """Draw an orthogonal matrix uniformly, in float64. Cost: O(D³).

    Parameters
    ----------
    n_features : int
        The number D of rows and columns.
    generator : torch.Generator

    Returns
    -------
    q : Tensor of shape (D, D)
    """
    normal = torch.randn(
        n_features, n_features, generator=generator, dtype=torch.float64, device=generator.device
    )
    q, r = torch.linalg.qr(normal)
    return q * r.diagonal().sign()  # without the signs, QR is not uniform


def shrunk_whitening(x: Tensor) -> Tensor:
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
        Symmetric and positive definite, in float64.

    Notes
    -----
    Cost: one eigendecomposition, O(D³), and O(N·D²).

    Examples
    --------
    >>> import torch
    >>> from skflow.flow.initialization import shrunk_whitening
    >>> x = torch.randn(10_000, 2, generator=torch.Generator().manual_seed(0)) * 2
    >>> shrunk_whitening(x).diagonal().round(decimals=1)
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    n = len(x)
    x = x.double()
    x = x - x.mean(0)
    eigenvalues, eigenvectors = torch.linalg.eigh(x.mT @ x / n)
    eigenvalues = eigenvalues.clamp_min(0)
    mean_variance = eigenvalues.mean()
    if not mean_variance > 0:
        return torch.eye(x.shape[1], dtype=x.dtype, device=x.device)

    projections = (x @ eigenvectors).square_()
    shrinkages = torch.logspace(-8, 0, _SHRINKAGES, dtype=x.dtype, device=x.device)
    # Leaving row x out turns (1-λ) S + λēI into A - c x xᵀ, with A diagonal in the eigenbasis.
    kept = (1 - shrinkages) * (n / (n - 1))
    variances = torch.outer(kept, eigenvalues) + (shrinkages * mean_variance).unsqueeze(1)
    distances = projections @ variances.reciprocal().mT  # (N, shrinkages)
    remaining = 1 - distances * kept / (n - 1)
    negative_log_likelihood = (
        variances.log().sum(1)
        + (remaining.log() + (n / (n - 1)) ** 2 * distances / remaining).mean(0)
    ).nan_to_num(nan=torch.inf)
    shrinkage = shrinkages[negative_log_likelihood.argmin()]
    variance = (1 - shrinkage) * eigenvalues + shrinkage * mean_variance
    return (eigenvectors * variance.rsqrt()) @ eigenvectors.mT
