"""Dense layers that know their log-determinants while they train."""

from __future__ import annotations

import ctypes
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from skflow.flow.determinants import Determinants
from skflow.flow.relative import RelativeLayer

__all__ = ["MOST_GAIN", "TrackedLayer"]

# Weights that are small by more than this factor are multiplied by it.
MOST_GAIN = 1024.0


class TrackedLayer(RelativeLayer):
    r"""A layer whose steps put a factor of the weights off, and track :math:`\log|\det W|`.

    Parameters
    ----------
    determinants : Determinants
        What is known of the weights.

    Attributes
    ----------
    gain : float
        The factor of all weights that has been put off: :meth:`settle` carries it out.
    """

    # What belongs to a step, or to the memory of this process.
    _transient: ClassVar[tuple[str, ...]] = ()

    def __init__(self, determinants: Determinants) -> None:
        super().__init__()
        self.gain = 1.0
        self.determinants = determinants

    @property
    def has_exact_determinants(self) -> bool:
        """Whether the layers have up to 8,192 columns."""
        return self.determinants.are_computed(self.weight)

    @torch.no_grad()
    def settle(self) -> None:
        """Multiply the weights by :attr:`gain`, and set that to 1."""
        if self.gain == 1:
            return
        weight = self.weight
        known = self.determinants.entry(weight)
        # As the float type rounds it, so that the log-determinant is that of the weights.
        gain = self._rounded(self.gain)
        weight.mul_(gain)
        self.gain = 1.0
        if self.factors is not None and self.factors.y_weight is not None:
            self.factors.y_weight.mul_(gain)  # for a step that is still to be taken
        if known is not None:
            self.determinants.scale(weight, known, gain)

    def step_state(self) -> dict[str, Tensor]:
        """Return the diagonals of the weights in float64, if they are tracked."""
        known = self.determinants.entry(self.weight)
        return {} if known is None or known.diagonal is None else {"diagonal": known.diagonal}

    def load_step_state(self, state: dict[str, Tensor]) -> None:
        """Take what :meth:`step_state` gave, after the state dict.

        Parameters
        ----------
        state : dict
            What it returned.
        """
        known = self.determinants.entry(self.weight)
        if known is not None and "diagonal" in state:
            self.determinants.keep(self.weight, known.log_abs_det, state["diagonal"].clone())

    def get_extra_state(self) -> Tensor:
        r"""Return the known :math:`\log|\det W|` for a state dict, or an empty tensor."""
        self.settle()
        self.recheck()
        known = self.determinants.known(self.weight)
        return torch.empty(0) if known is None else known.clone()

    def set_extra_state(self, state: Tensor) -> None:
        """Take what :meth:`get_extra_state` gave, after the parameters that it belongs to.

        Parameters
        ----------
        state : Tensor
            What :meth:`get_extra_state` returned.
        """
        self.gain = 1.0
        self.determinants.forget()
        self._forget_inverse()
        if len(state):
            self.determinants.keep(self.weight, state)
            self.recheck()

    @abstractmethod
    def _forget_inverse(self) -> None:
        """Forget what is kept of the inverse of the weights."""

    def _rounded(self, value: float) -> float:
        return ctypes.c_float(value).value if self.weight.dtype == torch.float32 else value

    def __getstate__(self) -> dict[str, Any]:
        kept = self.get_extra_state()
        dropped = dict.fromkeys(("_factors", *self._transient))
        return self.__dict__ | dropped | {"_kept_log_abs_det": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = state.pop("_kept_log_abs_det")
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.set_extra_state(kept)
