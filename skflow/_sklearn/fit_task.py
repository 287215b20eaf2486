"""A fit as scikit-learn's callbacks see it: a task, with a subtask for each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: there are no callbacks before scikit-learn 1.9."""


__all__ = ["CallbackSupportMixin", "FitTask"]


class FitTask:
    """Calls an estimator's callbacks, if scikit-learn has any.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        In whose ``fit`` this is made, first of all: scikit-learn tears down what is set up here
        when ``fit`` ends.
    X, y, sample_weight : object
        What was passed to ``fit``.
    """

    def __init__(
        self, estimator: CallbackSupportMixin, X: Any, y: Any, sample_weight: Any = None
    ) -> None:
        set_up = getattr(estimator, "_init_callback_context", None)
        self._fit: Any = None if set_up is None else set_up(max_subtasks=None)
        self._epoch: Any = None
        self._arguments = {"estimator": estimator, "X": X, "y": y}
        if sample_weight is not None:
            self._arguments["metadata"] = {"sample_weight": sample_weight}

    def begin(self, max_iter: int) -> None:
        """Begin to fit, for so many epochs at the most."""
        if self._fit is not None:
            self._fit.max_subtasks = max_iter
            self._fit.call_on_fit_task_begin(**self._arguments)
            self._begin_epoch()

    def end_epoch(self, *, is_last: bool, fitted: Callable[[], dict[str, Any]]) -> bool:
        """End an epoch and begin the next one.

        Parameters
        ----------
        is_last : bool
            Whether there is no next one.
        fitted : callable
            Returns the attributes that make a copy of the estimator what it would be if ``fit``
            ended now. It is called if a callback asks for them.

        Returns
        -------
        stop : bool
            Whether a callback wants the fit to end.
        """
        if self._fit is None:
            return False
        stop: bool = self._epoch.call_on_fit_task_end(
            **self._arguments, reconstruction_attributes=fitted
        )
        if not (stop or is_last):
            self._begin_epoch()
        return stop

    def end(self) -> None:
        """End the fit, of an estimator that is fitted now."""
        if self._fit is not None:
            self._fit.call_on_fit_task_end(**self._arguments, reconstruction_attributes={})

    def _begin_epoch(self) -> None:
        self._epoch = self._fit.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._arguments)
