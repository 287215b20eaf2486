"""Steps of training: those that are not finite are skipped, and the losses recorded."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from skflow.exceptions import DivergenceError
from skflow.flow.network import Flow
from skflow.training.batches import Batch
from skflow.training.exchange import ALONE, Exchange
from skflow.training.memory import return_freed_memory
from skflow.training.optimizers import Optimizer

__all__ = ["Steps", "end_training"]

_MAX_FAILURES = 20

# The numbers of so many steps are tensors of their own, before they are put into one.
_MOST_APART = 256


class Steps:
    """Takes steps on batches, epoch by epoch, and lowers the rates where one is not finite.

    Parameters
    ----------
    flow : Flow
        Changed in place.
    optimizer : Optimizer
        Made for `flow`.
    rate : float
        The highest learning rate of the dense layers.
    others_rate : float
        That of all other parameters.
    exchange : Exchange, default=ALONE
        The part of this process in the steps.
    many_parameters : int, default=33554432
        From so many on, a step takes so long that giving its room back costs nothing.

    Attributes
    ----------
    rate, others_rate : float
        What is left of them.
    n_taken : int
        How many steps were applied.
    n_skipped : int
        How many were not finite and were therefore not applied.
    """

    def __init__(
        self,
        flow: Flow,
        optimizer: Optimizer,
        *,
        rate: float,
        others_rate: float,
        exchange: Exchange = ALONE,
        many_parameters: int = 2**25,
    ) -> None:
        self.flow = flow
        self.optimizer = optimizer
        self.rate = rate
        self.others_rate = others_rate
        self.exchange = exchange
        self.n_taken = self.n_skipped = 0
        self._n_failures = 0
        self._is_large = sum(p.numel() for p in flow.parameters()) >= many_parameters

    def begin_epoch(self) -> None:
        """Record losses anew."""
        self._log_det = self._log_abs_det()
        self._losses, self._log_dets = _Scalars(), _Scalars()
        self._masses: list[float] = []
        self._sizes: list[float] = []

    def take(self, batch: Batch, rate_factor: float, *, penalty: float = 0.0) -> bool:
        """Take a step at a part of the learning rates.

        Parameters
        ----------
        batch : Batch
            The rows of the step.
        rate_factor : float
            What the learning rates are multiplied by, between 0 and 1.
        penalty : float, default=0.0
            See :meth:`Optimizer.step`.

        Returns
        -------
        taken : bool
            False if the step is not finite. It is not applied then, and the learning rates are
            halved.

        Raises
        ------
        DivergenceError
            If steps stay non-finite although the learning rate was lowered.
        """
        loss = self.exchange.gradient(self.flow, self.optimizer, batch, penalty)
        if self._is_large:
            return_freed_memory()
        taken = self.optimizer.step(
            self.rate * rate_factor, self.others_rate * rate_factor, penalty=penalty
        )
        if self._is_large:
            return_freed_memory()
        if taken:
            self.n_taken += 1
            self._n_failures = 0
            self._losses.append(loss)
            self._log_dets.append(_mean_log_det(batch.log_det, batch.weights))
            self._masses.append(batch.mass)
            self._sizes.append(batch.n_rows)
            return True
        self.n_skipped += 1
        self._n_failures += 1
        if self._n_failures > _MAX_FAILURES:
            raise DivergenceError(
                f"Training diverged: {self._n_failures} steps in a row were non-finite although "
                f"learning_rate was lowered to {self.rate:.3g}. Set learning_rate lower from "
                "the start, and look for constant, collinear or heavy-tailed columns."
            )
        self.rate *= 0.5
        self.others_rate *= 0.5
        return False

    def end_epoch(self) -> float:
        """Return the mean negative log-likelihood of the epoch's rows, by their weights, in nats.

        That of each batch is what it was at its step, NaN if no step was applied.
        """
        if not self._sizes:
            return math.nan
        losses = self.exchange.summed(self._losses.stacked())
        # Relative to the first, so that nothing is rounded where all are equal.
        sizes = torch.tensor(self._sizes, dtype=torch.float64) / self._sizes[0]
        mass = float((sizes * torch.tensor(self._masses, dtype=torch.float64)).mean())
        mean_loss = float((losses * sizes.to(losses)).mean())
        log_dets = self.exchange.summed(self._log_dets.stacked())
        log_det = float((log_dets.cpu() * sizes).mean())
        # The loss of a step lacks log|det W|, which is known at both ends of the epoch.
        return (mean_loss - log_det) / mass - 0.5 * (self._log_det + self._log_abs_det())

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` takes, between epochs."""
        return {
            "rate": self.rate,
            "others_rate": self.others_rate,
            "n_taken": self.n_taken,
            "n_skipped": self.n_skipped,
            "n_failures": self._n_failures,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where :meth:`state_dict` was called.

        Parameters
        ----------
        state : dict
            What it returned.
        """
        self.rate, self.others_rate = state["rate"], state["others_rate"]
        self.n_taken, self.n_skipped = state["n_taken"], state["n_skipped"]
        self._n_failures = state["n_failures"]

    @torch.no_grad()
    def _log_abs_det(self) -> float:
        return float(self.flow.log_abs_det())


class _Scalars:
    """A number of each step. An epoch may have so many that each must take no more than itself."""

    def __init__(self) -> None:
        self._stacked: list[Tensor] = []
        self._recent: list[Tensor] = []

    def append(self, value: Tensor) -> None:
        """Add the number of the next step, which may be part of a larger tensor."""
        self._recent.append(value)
        if len(self._recent) == _MOST_APART:
            self._stacked.append(torch.stack(self._recent))
            self._recent = []

    def stacked(self) -> Tensor:
        """Return the numbers of all steps, of which there is one at least."""
        recent = [torch.stack(self._recent)] if self._recent else []
        return torch.cat([*self._stacked, *recent])


def _mean_log_det(log_det: Tensor | None, weights: Tensor | None) -> Tensor:
    """Return the share of a batch's loss that what was done to its rows before has."""
    if log_det is None:
        return torch.zeros((), dtype=torch.float64)
    return log_det.mean() if weights is None else (log_det * weights.to(log_det)).mean()


def end_training(flow: Flow) -> float | None:
    """Give back what only steps of training need.

    Parameters
    ----------
    flow : Flow
        Whose training ends.

    Returns
    -------
    drift : float or None
        The sum of what :meth:`RelativeLayer.end_training` returns, None if nothing is known.
    """
    drifts = [layer.end_training() for layer in flow.relative_layers]
    known = [drift for drift in drifts if drift is not None]
    return sum(known) if known else None
