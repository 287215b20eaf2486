"""Linear regression on a context, as what a conditional flow starts from."""

from __future__ import annotations

import torch
from torch import Tensor

from skflow.flow import GivenLinear
from skflow.flow.weighted import mean

__all__ = ["ridge_regression"]

# The penalties that are compared, as shares of the largest eigenvalue of the context's covariance.
_PENALTIES = torch.logspace(-7, 0, 15, dtype=torch.float64)

# A target that the context determines keeps so much of a standard deviation.
_LEAST_DEVIATION = 1e-4


# No number counts as further out, so that their squares are finite.
_FARTHEST = 1e100


def ridge_regression(
    context: Tensor, targets: Tensor, counts: Tensor | None = None
) -> GivenLinear:
    """Regress targets on a context linearly, with normal errors of one covariance.

    The penalty on the coefficients, and the size of the errors, are those of leave-one-out
    residuals, which ridge regression has in closed form.

    Parameters
    ----------
    context : Tensor of shape (N, C)
        Standardised, in float64.
    targets : Tensor of shape (N, K)
        Standardised, in float64.
    counts : Tensor of shape (N,) or None, default=None
        How many rows each row stands for; by default one.

    Returns
    -------
    bijection : GivenLinear
        It makes the targets standard normal, as far as they follow the regression.

    Notes
    -----
    Cost: O(N·C² + C³).
    """
    n_rows = float(len(context)) if counts is None else float(counts.sum())
    shares = context.new_full((len(context),), 1 / n_rows) if counts is None else counts / n_rows
    centre, target_centre = mean(context, counts), mean(targets, counts)
    x, y = (
        each.clamp(-_FARTHEST, _FARTHEST) for each in (context - centre, targets - target_centre)
    )
    eigenvalues, axes = torch.linalg.eigh((x * shares[:, None]).T @ x)
    eigenvalues = eigenvalues.clamp_min(0)
    along = x @ axes
    covariances = (along * shares[:, None]).T @ y
    best, least = None, torch.inf
    for penalty in _PENALTIES.to(x.device) * eigenvalues[-1].clamp_min(1e-12):
        shrunk = 1 / (eigenvalues + penalty)
        coefficients = shrunk[:, None] * covariances
        leverages = shares * (1 + (along.square() * shrunk).sum(1))
        residuals = (y - along @ coefficients) / (1 - leverages).clamp_min(1e-10)[:, None]
        # Errors of several targets count by the volume that they leave.
        covariance = (residuals * shares[:, None]).T @ residuals
        covariance.diagonal().add_(_LEAST_DEVIATION**2)
        volume = float(torch.linalg.slogdet(covariance).logabsdet)
        if volume < least:
            best, least = (coefficients, covariance), volume
    assert best is not None
    coefficients = (axes @ best[0]).T
    identity = torch.eye(len(best[1]), dtype=y.dtype, device=y.device)
    whitening = torch.linalg.solve_triangular(
        torch.linalg.cholesky(best[1]), identity, upper=False
    )
    return GivenLinear(coefficients, target_centre - coefficients @ centre, whitening)
