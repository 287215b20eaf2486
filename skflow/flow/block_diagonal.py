"""A dense layer for each group of columns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skflow.flow.bijection import Pullback
from skflow.flow.initialization import shrunk_whitening
from skflow.flow.relative import Factors, RelativeLayer
from skflow.flow.solvers import log_abs_dets
from skflow.flow.weighted import mean

__all__ = ["BlockDiagonal"]


class BlockDiagonal(RelativeLayer):
    r"""Dense layers side by side, :math:`y_g = x_g W_g^\top + b_g` for each group `g` of columns.

    The groups are of equal size and lie one after another. The layer trains by the relative
    gradient of each of its matrices, like :class:`LinearStack`.

    Parameters
    ----------
    n_features : int
        The number D of features.
    n_groups : int
        The number G of groups, which divides D.
    dtype : torch.dtype, default=torch.float32
        The precision of the parameters.

    Attributes
    ----------
    weight : Parameter of shape (G, D / G, D / G)
    bias : Parameter of shape (G, D / G)

    Raises
    ------
    ValueError
        If `n_groups` does not divide `n_features`.

    Notes
    -----
    Cost: O(N·D²/G) for the forward map and for a training step, and O(D³/G²) more for the
    inverse and for log-determinants, which are computed anew each time.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import BlockDiagonal
    >>> x = torch.randn(50, 6, dtype=torch.float64)
    >>> layer = BlockDiagonal(6, n_groups=2)
    >>> layer.initialize(x, torch.Generator())
    >>> bool(torch.allclose(layer.inverse(layer(x)), x))
    True
    """

    n_features: int
    bias: nn.Parameter

    def __init__(
        self, n_features: int, n_groups: int, *, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        if n_groups < 1 or n_features % n_groups:
            raise ValueError(
                f"n_groups must divide n_features={n_features}, for groups of equal size; got "
                f"{n_groups}."
            )
        self.n_features = n_features
        size = n_features // n_groups
        self.weight = nn.Parameter(torch.eye(size, dtype=dtype).repeat(n_groups, 1, 1))
        self.bias = nn.Parameter(torch.zeros(n_groups, size, dtype=dtype))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        y = torch.baddbmm(self._shift(x), self._groups(x), self.weight.to(x).mT)
        return self._rows(y), self.log_abs_det().sum().to(x).expand(x.shape[0])

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        shifted = self._groups(y) - self._shift(y)
        x = torch.linalg.solve(self.weight.to(y).mT, shifted, left=False)
        return self._rows(x), -self.log_abs_det().sum().to(y).expand(y.shape[0])

    def forward_and_pullback(  # noqa: D102
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]:
        self.forget_factors()
        weight = self.weight.detach()
        y = torch.baddbmm(self._shift(weight), self._groups(x.to(weight)), weight.mT)
        log_det = y.new_zeros(len(x))

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            delta = self._groups(grad_y)
            y_weight = torch.bmm(y, weight) if self.wants_product(len(grad_y)) else None
            self.keep_factors(Factors(delta, y, y_weight))
            return self._rows(torch.bmm(delta, weight)) if input_gradient else None

        return self._rows(y), log_det, pullback

    def log_abs_det(self) -> Tensor:  # noqa: D102
        if self.takes_part:
            return torch.zeros(len(self.weight), dtype=torch.float64, device=self.weight.device)
        return log_abs_dets(self.weight.double())

    @torch.no_grad()
    def initialize(
        self, x: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        """Centre and whiten each group.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            A sample of what will flow in.
        generator : torch.Generator
            Not used.
        weights : Tensor of shape (N,) or None, default=None
            How many rows each row stands for; by default one.
        """
        for g, group in enumerate(self._groups(x.to(self.weight))):
            self.weight[g] = shrunk_whitening(group, weights)[0]
            self.bias[g] = -(mean(group, weights) @ self.weight[g].T)

    def arguments(self) -> dict[str, Any]:  # noqa: D102
        return {"n_features": self.n_features, "n_groups": len(self.weight)}

    def extra_repr(self) -> str:  # noqa: D102
        n_groups, dtype = len(self.weight), self.weight.dtype
        return f"n_features={self.n_features}, n_groups={n_groups}, dtype={dtype}"

    def _groups(self, rows: Tensor) -> Tensor:
        return rows.reshape(rows.shape[0], len(self.weight), -1).transpose(0, 1)

    def _rows(self, groups: Tensor) -> Tensor:
        return groups.transpose(0, 1).reshape(groups.shape[1], -1)

    def _shift(self, like: Tensor) -> Tensor:
        return self.bias.to(like).unsqueeze(1)
