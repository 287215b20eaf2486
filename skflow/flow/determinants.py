r"""The log-determinants of a layer's weights, kept up to date without factorisations.

With :math:`\alpha` the rate, a step that adds :math:`\alpha\, \delta^\top (y W)` to the weights
changes their determinant by the determinant lemma:

.. math::
    \log|\det W'| = \log|\det W| + \log\left|\det\left(I_N + \alpha\, y \delta^\top\right)\right|.

What the weights lose to rounding goes by without notice, and adds up. Their diagonals, which
matter most to a determinant, are therefore kept in float64 beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skflow.flow.solvers import log_abs_dets, log_abs_dets_in_place

__all__ = ["Determinants", "Known", "Stamp", "stamp"]

Stamp = tuple[int, int]


class Known(NamedTuple):
    """What is known of the weights, as long as they have this stamp."""

    stamp: Stamp
    """That of the weights."""

    log_abs_det: Tensor
    """Of shape (L,), float64, in nats."""

    diagonal: Tensor | None
    """What the weights' diagonals would be in float64, of shape (L, D), where that is known."""


class Determinants:
    r"""What is known of :math:`\log|\det W|` of the L matrices of a layer.

    All methods take the weights as they are now, of shape (L, D, D).

    Parameters
    ----------
    most_computed : int, default=2048
        Beyond so many columns, the log-determinants at the start are what they are by
        construction.
    most_checked : int, default=8192
        Beyond so many columns, the log-determinants at the end of training are the tracked ones.
    block_entries : int, default=262144
        How many entries of a fingerprint, and of the traces of an update, are computed at a time.
    first_row : int, default=0
        Which row of the matrices is the first, where the weights have some of their rows alone.
    """

    def __init__(
        self,
        *,
        most_computed: int = 2048,
        most_checked: int = 8192,
        block_entries: int = 2**18,
        first_row: int = 0,
    ) -> None:
        self.most_computed = most_computed
        self.most_checked = most_checked
        self.block_entries = block_entries
        self.first_row = first_row
        self._known: Known | None = None
        self._seen: tuple[Stamp, Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A stamp means nothing in another process.
        return self.__dict__ | {"_known": None, "_seen": None}

    def forget(self) -> None:
        """Know nothing."""
        self._known = self._seen = None

    def keep(self, weight: Tensor, log_abs_det: Tensor, diagonal: Tensor | None = None) -> None:
        """Know the log-determinants of the weights as they are now.

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights.
        log_abs_det : Tensor of shape (L,)
            In nats, float64.
        diagonal : Tensor of shape (L, D) or None, default=None
            What the weights' diagonals would be in float64, where that is known.
        """
        self._known = Known(stamp(weight), log_abs_det, diagonal)

    def entry(self, weight: Tensor) -> Known | None:
        """Return all that is known of the weights, or None.

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights.
        """
        known = self._known  # read once: another thread may drop it
        return None if known is None or known.stamp != stamp(weight) else known

    def known(self, weight: Tensor) -> Tensor | None:
        """Return the log-determinants, of shape (L,), or None where they are not known.

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights.
        """
        known = self.entry(weight)
        return None if known is None else known.log_abs_det

    def computed(self, weight: Tensor, *, differentiated: bool) -> Tensor:
        """Return the log-determinants of the weights, which are computed unless they are known.

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights.
        differentiated : bool
            Whether gradients flow to the weights. The determinants are then computed anew; their
            values are those that are kept.

        Returns
        -------
        log_abs_det : Tensor of shape (L,)
            In nats, float64.
        """
        known = self.known(weight)
        if known is not None and not differentiated:
            return known
        exact = log_abs_dets(weight.double()) if differentiated else log_abs_dets_in_place(weight)
        if known is None:
            kept = exact.detach()
            self.keep(weight, kept)
            return exact if differentiated else kept
        change = torch.where(exact.isfinite(), exact - exact.detach(), 0)
        return known + change

    def are_computed(self, weight: Tensor) -> bool:
        """Whether the weights have few enough columns to compute determinants after training.

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights.
        """
        return weight.shape[-1] <= self.most_checked

    def drift(self, weight: Tensor) -> float | None:
        """Correct what was tracked; return by how many nats its sum was above the exact one.

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights.

        Returns
        -------
        drift : float or None
            None where nothing is known, or where there are more columns than `most_checked`:
            room and time for an exact determinant would exceed those of the fit.
        """
        tracked = self.known(weight)
        if tracked is None or not self.are_computed(weight):
            return None
        self._known = None
        return float((tracked - self.computed(weight, differentiated=False)).sum())

    @torch.no_grad()
    def recheck(self, weight: Tensor) -> bool:
        """Forget what is known of the weights if they changed and have the same stamp.

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights.

        Returns
        -------
        changed : bool
            Whether they did.
        """
        seen, now = self._seen, (stamp(weight), self._fingerprint(weight))
        changed = seen is not None and seen[0] == now[0] and not torch.equal(seen[1], now[1])
        if changed:
            self.forget()
        if changed or seen is None or seen[0] != now[0]:
            self._seen = now
        return changed

    def diagonal(self, weight: Tensor) -> Tensor:
        """Return the entries of the matrices' diagonals that are among the weights.

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights.
        """
        return weight.diagonal(offset=self.first_row, dim1=-2, dim2=-1)

    def update(
        self, weight: Tensor, before: Known, alpha: float, factors: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        r"""Bring what was known up to date, after :math:`\alpha\, \delta^\top (y W)` was added.

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights after the step. Their diagonals are rounded anew from those in float64.
        before : Known
            What :meth:`entry` returned before it.
        alpha : float
            The factor, as the weights' precision rounds it.
        factors : (delta, y, y_weight), each of shape (L, N, D)
            What the step was made of.
        """
        delta, y, y_weight = factors
        is_exact, diagonal = before.diagonal is not None, self.diagonal_of(weight, before)
        update = torch.bmm(y, delta.mT).double()
        # A biased rounding of the trace would add up over the steps.
        trace = update.diagonal(dim1=-2, dim2=-1)
        for y_part, delta_part, y_weight_part, trace_part, diagonal_part in self._in_blocks(
            y, delta, y_weight, trace, diagonal
        ):
            torch.sum(y_part * delta_part, -1, dtype=torch.float64, out=trace_part)
            if is_exact:
                change = torch.linalg.vecdot(delta_part, y_weight_part, dim=1)
                diagonal_part.add_(change, alpha=alpha)
        self.advance(weight, before, alpha, update, diagonal)

    def diagonal_of(self, weight: Tensor, before: Known) -> Tensor:
        """Return the diagonals in float64, as they were or, where that is not known, as they are.

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights after a step: those have changed by less than they are rounded to.
        before : Known
            What :meth:`entry` returned before it.
        """
        if before.diagonal is not None:
            return before.diagonal
        return self.diagonal(weight).to(torch.float64, copy=True)

    def advance(
        self, weight: Tensor, before: Known, alpha: float, gram: Tensor, diagonal: Tensor
    ) -> None:
        r"""Bring what was known up to date by the determinant lemma.

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights after a step. Their diagonals are rounded anew.
        before : Known
            What :meth:`entry` returned before it.
        alpha : float
            The factor of the step, as the weights' precision rounds it.
        gram : Tensor of shape (L, N, N)
            The product :math:`y \delta^\top`, in float64. It is overwritten.
        diagonal : Tensor of shape (L, D)
            What the weights' diagonals would be in float64.
        """
        self.diagonal(weight).copy_(diagonal)
        gram.mul_(alpha)
        gram.diagonal(dim1=-2, dim2=-1).add_(1)
        self.keep(weight, before.log_abs_det + log_abs_dets(gram), diagonal)

    def scale(self, weight: Tensor, before: Known, gain: float) -> None:
        """Bring what was known up to date, after the weights were multiplied by a factor.

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights after that.
        before : Known
            What :meth:`entry` returned before it.
        gain : float
            The factor, as the weights' precision rounds it.
        """
        log_abs_det = before.log_abs_det + weight.shape[-1] * math.log(gain)
        if before.diagonal is not None:
            self.diagonal(weight).copy_(before.diagonal.mul_(gain))
        self.keep(weight, log_abs_det, before.diagonal)

    def _fingerprint(self, weight: Tensor) -> Tensor:
        """Return a number for each row of the weights, of shape (L·D,), which tells of changes.

        Sums of products and no product of matrices: neither the number of threads nor the
        precision that products are set to may change them.
        """
        d = weight.shape[-1]
        # All different, none small, and no progression.
        probe = torch.linspace(1, 2, d, dtype=weight.dtype, device=weight.device).sqrt_()
        rows = weight.reshape(-1, d).split(max(1, self.block_entries // d))
        return torch.cat([(part * probe).sum(-1) for part in rows])

    def _in_blocks(
        self, y: Tensor, delta: Tensor, y_weight: Tensor, trace: Tensor, diagonal: Tensor
    ) -> Iterator[tuple[Tensor, ...]]:
        """Yield them; if they are large, some layers of them at a time, or rows of a layer."""
        if y.numel() <= self.block_entries:
            yield y, delta, y_weight, trace, diagonal
            return
        n_layers = max(1, self.block_entries // y[0].numel())
        n_rows = max(1, self.block_entries // y.shape[-1])
        layers = (tensor.split(n_layers) for tensor in (y, delta, y_weight, trace, diagonal))
        for *with_rows, diagonal_part in zip(*layers, strict=True):
            for parts in zip(*(tensor.split(n_rows, dim=1) for tensor in with_rows), strict=True):
                yield *parts, diagonal_part


def stamp(weight: Tensor) -> Stamp:
    """Return what changes with every change of a tensor that PyTorch counts.

    In place, or by a move to other memory.

    Parameters
    ----------
    weight : Tensor
        The tensor.
    """
    return weight.data_ptr(), weight._version
