"""Ctrl-C during a fit: the first one ends it at its best weights, the second one raises."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from sklearn.exceptions import ConvergenceWarning

from skflow._sklearn.pieces import is_part_of_another
from skflow.training.exchange import CanEnd

__all__ = ["Interrupt", "ended_by_interrupt"]


class Interrupt:
    """A handler of SIGINT, which ends a fit when it is called first, and raises from then on.

    Parameters
    ----------
    fit : CanEnd
        The fit.

    Attributes
    ----------
    came : bool
        Whether it was called.
    """

    def __init__(self, fit: CanEnd) -> None:
        self.came = False
        self._fit: CanEnd | None = fit

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: D102
        if self.came or self._fit is None:
            self.give_back()  # first of all: what is raised may come into any line
            signal.default_int_handler(number, frame)
        else:
            self.came = True
            self._fit.interrupt()

    def give_back(self) -> None:
        """Let Ctrl-C do what it did before."""
        if signal.getsignal(signal.SIGINT) is self:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._fit = None  # for whoever keeps this handler

    def warn(self, n_epochs: int, checkpoint: Path | None, *, stacklevel: int) -> None:
        """Warn that the fit is not what it would be, if it was ended.

        Parameters
        ----------
        n_epochs : int
            How many epochs it has.
        checkpoint : Path or None
            Where its state is kept, if it is.
        stacklevel : int
            How many calls lie between this one and the user's.
        """
        stays = f" {checkpoint} stays: the next fit to these rows goes on from there."
        warnings.warn(
            f"Ctrl-C ended the fit, in epoch {n_epochs}. It has the best weights so far, or the "
            "last ones if early_stopping=False. To leave an estimator as it was, press Ctrl-C "
            f"twice.{'' if checkpoint is None else stays}",
            ConvergenceWarning,
            stacklevel=stacklevel + 1,
        )


@contextmanager
def ended_by_interrupt(fit: CanEnd) -> Iterator[Interrupt]:
    """Let Ctrl-C end a fit while the block runs it.

    That is so in the main thread, where Ctrl-C would raise a KeyboardInterrupt, and if the fit is
    no part of another one. Other handlers stay.

    Parameters
    ----------
    fit : CanEnd
        The fit.

    Yields
    ------
    interrupt : Interrupt
        Whether Ctrl-C came.
    """
    interrupt = Interrupt(fit)
    is_main = threading.current_thread() is threading.main_thread()
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_main and raises and not is_part_of_another():
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupt
    finally:
        interrupt.give_back()
