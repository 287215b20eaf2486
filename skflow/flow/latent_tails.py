"""A map that brings latents far out nearer, by a logarithm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skflow.flow.arsinh import long_arsinh, long_sinh
from skflow.flow.bijection import Bijection, Pullback
from skflow.flow.tracing import is_traced

__all__ = ["LatentTails"]

# So far out a standard normal latent lies in one of two million cases.
END = 5.0

# So far from there on, the map is a straight line.
LONGEST = 1e5


class LatentTails(Bijection):
    r"""Elementwise :math:`y = x` for :math:`|x| \le 5`, and a logarithm beyond.

    .. math::
        |y| = 5 + \operatorname{arsinh}(|x| - 5).

    Rows that follow the density of a flow are left as they are. A row unlike any before may have
    latents of hundreds, where the standard normal has a log-density of minus ten thousands: from
    here on it has one of minus hundreds, and few such rows decide neither a mean of
    log-likelihoods nor a step of training. It has no parameters.

    Parameters
    ----------
    n_features : int or None, default=None
        The number D of columns. None is any number.

    Notes
    -----
    Cost: O(N·D), a comparison for each entry unless some lie far out.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import LatentTails
    >>> LatentTails()(torch.tensor([[-3.0, 105.0]]))
    tensor([[-3.0000, 10.2983]])
    """

    def __init__(self, n_features: int | None = None) -> None:
        super().__init__()
        self.n_features = n_features

    @property
    def can_be_neutral(self) -> bool:
        """True: normal rows stay as they are."""
        return True

    def arguments(self) -> dict[str, Any]:  # noqa: D102
        return {"n_features": self.n_features}

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        excess = _excess(x)
        if not is_traced(x) and not bool((excess > 0).any()):
            return x, x.new_zeros(len(x))
        bent, log_slopes = long_arsinh(excess, LONGEST)
        return torch.where(excess > 0, (END + bent) * x.sign(), x), log_slopes.sum(-1)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        excess = _excess(y)
        straight, log_slopes = long_sinh(excess, LONGEST)
        return torch.where(excess > 0, (END + straight) * y.sign(), y), log_slopes.sum(-1)

    def forward_and_pullback(  # noqa: D102
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]:
        x = x.detach()
        y, log_det = self.forward_and_log_det(x)

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            if not input_gradient:
                return None
            excess = _excess(x).clamp_max(LONGEST)
            over = 1 / (1 + excess.square())
            by_log = grad_log_det.unsqueeze(-1) * excess * over * x.sign()
            return grad_y * over.sqrt() - torch.where(excess < LONGEST, by_log, 0.0)

        return y, log_det, pullback


def _excess(x: Tensor) -> Tensor:
    """Return how far beyond the end each entry lies."""
    return (x.abs() - END).clamp_min(0)
