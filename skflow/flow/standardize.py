"""Standardisation as the first bijection of a flow."""

import torch
from torch import Tensor

from skflow.flow.bijection import Bijection

__all__ = ["Standardize"]

_BLOCK_ENTRIES = 2**16


class Standardize(Bijection):
    r"""Elementwise :math:`y = (x - \text{shift}) / \text{scale}`, computed in float64.

    Its log-determinant, :math:`-\sum_i \log \text{scale}_i`, is what keeps the scores of a
    flow in the units of the data.

    Parameters
    ----------
    shift : Tensor of shape (D,)
    scale : Tensor of shape (D,)
        Positive.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import Standardize
    >>> standardize = Standardize(torch.tensor([1.0, 2.0]), torch.tensor([10.0, 10.0]))
    >>> standardize.forward_and_log_det(torch.tensor([[11.0, -8.0]]))
    (tensor([[ 1., -1.]]), tensor([-4.6052]))
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift.double())
        self.register_buffer("scale", scale.double())

    @classmethod
    @torch.no_grad()
    def from_rows(cls, x: Tensor) -> "Standardize":
        """Take the means and the standard deviations of the columns of `x`, of shape (N, D).

        The scale of a constant column is 1.

        Raises
        ------
        ValueError
            If a mean or a standard deviation overflows.
        """
        low, high = x.amin(0).double(), x.amax(0).double()
        # In units of the spread no square over- or underflows; block by block, no copy is made.
        spread = torch.where(high > low, high - low, 1)
        mean, variance = torch.zeros_like(low), torch.zeros_like(low)
        for block in x.split(max(1, _BLOCK_ENTRIES // x.shape[1])):
            mean += ((block - low) / spread).sum(0) / len(x)
        for block in x.split(max(1, _BLOCK_ENTRIES // x.shape[1])):
            variance += ((block - low) / spread - mean).square().sum(0) / len(x)
        shift = low + mean * spread
        scale = torch.where(high > low, variance.sqrt() * spread, 1)
        bad = ~(torch.isfinite(shift) & torch.isfinite(scale) & (scale > 0))
        if bad.any():
            raise ValueError(
                f"The columns {bad.nonzero().flatten().tolist()} of X have a mean or a standard "
                "deviation that float64 cannot hold. Change their units."
            )
        return cls(shift, scale)

    @property
    def log_det(self) -> float:
        """The log-determinant, the same for all rows, in nats."""
        return -float(self.scale.log().sum())

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        y = (x.double() - self.shift).div_(self.scale).to(x.dtype)
        return y, x.new_full((len(x),), self.log_det)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        x = (y.double() * self.scale + self.shift).to(y.dtype)
        return x, y.new_full((len(y),), -self.log_det)
