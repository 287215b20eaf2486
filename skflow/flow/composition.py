"""Several bijections as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from skflow.flow.bijection import Bijection

__all__ = ["Composition", "composed"]


class Composition(Bijection):
    r"""The bijection :math:`f_K \circ \dots \circ f_1`.

    Parameters
    ----------
    bijections : iterable of Bijection
        :math:`f_1, \dots, f_K`, in the order in which rows flow through them.

    Raises
    ------
    ValueError
        If there is none, or if they take different numbers of features.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import Composition, Standardize
    >>> halve = Standardize(torch.zeros(1), torch.full((1,), 2.0))
    >>> Composition([halve, halve])(torch.tensor([[4.0]]))
    tensor([[1.]])
    """

    def __init__(self, bijections: Iterable[Bijection]) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(bijections)
        sizes = {part.n_features for part in self.parts if part.n_features is not None}
        if len(sizes) > 1 or not self.bijections:
            raise ValueError(
                "bijections must be one or more, and all must take the same number of features, "
                f"got {len(self.bijections)} of {sorted(sizes)} features."
            )
        self.n_features = next(iter(sizes), None)

    @property
    def parts(self) -> tuple[Bijection, ...]:
        """The bijections, in the order in which rows flow through them."""
        return tuple(cast(Bijection, part) for part in self.bijections)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        log_det = x.new_zeros(len(x))
        for part in self.parts:
            x, term = part.forward_and_log_det(x)
            log_det = log_det + term
        return x, log_det

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        log_det = y.new_zeros(len(y))
        for part in reversed(self.parts):
            y, term = part.inverse_and_log_det(y)
            log_det = log_det + term
        return y, log_det


def composed(first: Bijection, *others: Bijection) -> Bijection:
    """Return the bijection that applies one after the other.

    Parameters
    ----------
    first, *others : Bijection
        In the order in which rows flow through them. Compositions among them are taken apart.

    Returns
    -------
    bijection : Bijection
        `first` itself, if it is alone.
    """
    if not others:
        return first
    parts = [
        part
        for bijection in (first, *others)
        for part in (bijection.parts if isinstance(bijection, Composition) else (bijection,))
    ]
    return Composition(parts)
