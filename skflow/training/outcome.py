"""What a fit may not end with, and what it warns of."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from skflow.exceptions import DivergenceError
from skflow.flow.blocks import all_finite
from skflow.flow.network import Flow
from skflow.training.history import History
from skflow.training.rows import Rows
from skflow.training.scores import mean_log_prob, weighted_mean

__all__ = ["Outcome", "Start", "check_weights", "copy_of_weights", "warn_of_skipped_steps"]

# The entries of the rows that a fit is checked with, in so many rows, and by what it may end below
# its start: so many nats, or such a share of those of standardised rows if that is more.
_CHECKED_ENTRIES = 2**18
_FEWEST_CHECKED, _MOST_CHECKED = 16, 2048
_MOST_LOST, _MOST_SHARE_LOST = 1.0, 0.1

# The weights of the start are kept up to so many numbers: they must take no memory to speak of.
_MOST_KEPT_ENTRIES = 2**24


def copy_of_weights(flow: Flow) -> dict[str, Tensor]:
    """Return a copy of a flow's parameters and buffers, for ``load_state_dict``.

    Parameters
    ----------
    flow : Flow
        The flow, which may go on.
    """
    return {name: each.clone() for name, each in flow.state_dict().items()}


class Start:
    """Where a fit starts, to go back to where it ends far below.

    Parameters
    ----------
    flow : Flow
        At its start.
    rows : Rows
        The rows to learn from, as `flow` takes them. Some of them are looked at.

    Attributes
    ----------
    score : float
        Their mean log-likelihood, in nats.
    has_weights : bool
        Whether the weights are kept, which they are if they take little memory.
    """

    def __init__(self, flow: Flow, rows: Rows) -> None:
        self._rows = checked_rows(rows)
        _, log_det = self._rows.take_with_log_det(torch.arange(len(self._rows)))
        self.score = mean_log_prob(flow, self._rows)
        # As for standardised rows: no threshold depends on the units of the data.
        standardised = self.score - weighted_mean(log_det.cpu(), self._rows)
        self._most_lost = max(_MOST_LOST, _MOST_SHARE_LOST * abs(standardised))
        n_entries = sum(each.numel() for each in flow.state_dict().values())
        self.has_weights = n_entries <= _MOST_KEPT_ENTRIES
        self._weights = copy_of_weights(flow) if self.has_weights else {}

    def is_far_above(self, score: float) -> bool:
        """Say whether a fit that ended with such a score had better not begun.

        Parameters
        ----------
        score : float
            The mean log-likelihood of the same rows, in nats.
        """
        return math.isfinite(self.score) and not score >= self.score - self._most_lost

    def restore(self, flow: Flow) -> None:
        """Give a flow its weights back.

        Parameters
        ----------
        flow : Flow
            The flow.
        """
        if self.has_weights:
            flow.load_state_dict(self._weights)

    def restore_if_better(self, flow: Flow) -> None:
        """Give a flow its weights back if it ended far below.

        Parameters
        ----------
        flow : Flow
            The flow, at its end.
        """
        if self.is_far_above(mean_log_prob(flow, self._rows)):
            self.restore(flow)


def checked_rows(rows: Rows) -> Rows:
    """Return the rows that tell how a fit went.

    Parameters
    ----------
    rows : Rows
        All rows to learn from.
    """
    entries = _CHECKED_ENTRIES // rows.n_features
    return rows.subset(slice(max(_FEWEST_CHECKED, min(_MOST_CHECKED, entries))))


class Outcome:
    """Looks at a fit before and after it.

    Parameters
    ----------
    flow : Flow
        At its start.
    rows : Rows
        The rows to learn from, as `flow` takes them.
    compared : bool
        Whether to compare the end with the start. A fit that keeps its best weights need not.
    """

    def __init__(self, flow: Flow, rows: Rows, *, compared: bool) -> None:
        self.rows = checked_rows(rows)
        self.start = Start(flow, rows) if compared else None

    def check(self, flow: Flow, history: History, *, stacklevel: int) -> bool:
        """Refuse a density that is not finite; go back to the start, and warn, if it was better.

        Parameters
        ----------
        flow : Flow
            At the end.
        history : History
            The record of the fit.
        stacklevel : int
            How many calls lie between this one and the user's, for warnings.

        Returns
        -------
        is_worse : bool
            Whether it warned of an end below the start.

        Raises
        ------
        DivergenceError
            If weights, or the density of rows, are not finite.
        """
        check_weights(flow, history.rate)
        score, start = mean_log_prob(flow, self.rows), self.start
        if not math.isfinite(score):
            raise DivergenceError(
                f"The fit ended with a mean log-likelihood of {score} nats on its own rows, with "
                f"learning_rate={history.rate:.3g}. Set learning_rate lower, and look for entries "
                "of X or of sample_weight that are out of all proportion."
            )
        is_worse = start is not None and start.is_far_above(score)
        if start is not None and is_worse:
            start.restore(flow)
            kept = ", and the weights of the start were kept" if start.has_weights else ""
            warnings.warn(
                f"The fit ended at {score:.4g} nats on its own rows, below its start, which was "
                f"at {start.score:.4g}{kept}. Set learning_rate lower than {history.rate:.3g}, or "
                "set early_stopping=True to keep the best weights.",
                RuntimeWarning,
                stacklevel=stacklevel + 1,
            )
        warn_of_skipped_steps(history, stacklevel=stacklevel + 1)
        return is_worse


def check_weights(flow: Flow, rate: float) -> None:
    """Refuse weights that are not finite.

    Parameters
    ----------
    flow : Flow
        At the end of training.
    rate : float
        Its learning rate.

    Raises
    ------
    DivergenceError
        If there are such weights.
    """
    if not all(all_finite(p) for p in flow.parameters()):
        raise DivergenceError(
            f"Training ended with weights that are not finite, with learning_rate={rate:.3g}. Set "
            "learning_rate lower, and look for entries of X or of sample_weight that are out of "
            "all proportion."
        )


def warn_of_skipped_steps(history: History, *, stacklevel: int) -> None:
    """Warn if steps were skipped.

    Parameters
    ----------
    history : History
        The record of the fit.
    stacklevel : int
        How many calls lie between this one and the user's.
    """
    if history.n_skipped:
        warnings.warn(
            f"{history.n_skipped} step(s) were not finite and were not applied. Each of them "
            f"halved the learning rate, which ended at {history.rate:.3g}. Set "
            f"learning_rate={history.rate:.3g} or less.",
            RuntimeWarning,
            stacklevel=stacklevel + 1,
        )
