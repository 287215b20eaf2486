"""Bijections, or runs of them, that are applied one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from torch import Tensor

from skflow.flow.bijection import Pullback

__all__ = ["Part", "map_through", "pull_through"]


class Part(Protocol):
    """What a chain is made of: the two methods of a :class:`Bijection` that it takes."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]: ...  # noqa: D102

    def forward_and_pullback(  # noqa: D102
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]: ...


def map_through(parts: Iterable[Part], x: Tensor) -> tuple[Tensor, Tensor]:
    """Map rows.

    Parameters
    ----------
    parts : iterable of Part
        From the first to the last.
    x : Tensor of shape (N, D)
        The rows.

    Returns
    -------
    y : Tensor of shape (N, D)
        The mapped rows.
    log_det : Tensor of shape (N,)
        The sum of the parts' log-determinants, in nats.
    """
    log_det = x.new_zeros(x.shape[0])
    for part in parts:
        x, term = part.forward_and_log_det(x)
        log_det = log_det + term
    return x, log_det


def pull_through(
    parts: Iterable[Part], x: Tensor, *, input_gradient: bool
) -> tuple[Tensor, list[Tensor], Pullback]:
    """Map rows for a step of training.

    Parameters
    ----------
    parts : iterable of Part
        From the first to the last.
    x : Tensor of shape (N, D)
        The rows.
    input_gradient : bool
        Whether the gradient with respect to `x` will be wanted.

    Returns
    -------
    y : Tensor of shape (N, D)
        The mapped rows.
    log_dets : list of Tensor of shape (N,)
        Those of each part, in nats.
    pullback : callable
        That of the chain.
    """
    log_dets: list[Tensor] = []
    pullbacks: list[Pullback] = []
    for part in parts:
        wanted = input_gradient or bool(pullbacks)
        x, log_det, pullback = part.forward_and_pullback(x, input_gradient=wanted)
        log_dets.append(log_det)
        pullbacks.append(pullback)

    def pull_back(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
        gradient: Tensor | None = grad_y
        for pullback in reversed(pullbacks):
            assert gradient is not None
            gradient = pullback(gradient, grad_log_det)
        return gradient

    return x, log_dets, pull_back
