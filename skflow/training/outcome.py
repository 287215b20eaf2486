"""What a fit may not end with, and what it warns of."""

from __future__ import annotations

import math
import warnings

import torch

from skflow.exceptions import DivergenceError
from skflow.flow.network import Flow
from skflow.training.history import History
from skflow.training.rows import Rows
from skflow.training.scores import mean_log_prob, weighted_mean

__all__ = ["Outcome", "check_weights", "warn_of_skipped_steps"]

# The entries of the rows that a fit is checked with, in so many rows, and by what it may end below
# its start: so many nats, or such a share of those of standardised rows if that is more.
_CHECKED_ENTRIES = 2**18
_FEWEST_CHECKED, _MOST_CHECKED = 16, 2048
_MOST_LOST, _MOST_SHARE_LOST = 1.0, 0.1


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
        entries = _CHECKED_ENTRIES // rows.n_features
        self.rows = rows.subset(slice(max(_FEWEST_CHECKED, min(_MOST_CHECKED, entries))))
        self.before: float | None = None
        if compared:
            _, log_det = self.rows.take_with_log_det(torch.arange(len(self.rows)))
            self.before = mean_log_prob(flow, self.rows)
            # As for standardised rows: no threshold depends on the units of the data.
            standardised = self.before - weighted_mean(log_det.cpu(), self.rows)
            self.most_lost = max(_MOST_LOST, _MOST_SHARE_LOST * abs(standardised))

    def check(self, flow: Flow, history: History, *, stacklevel: int) -> bool:
        """Refuse a density that is not finite, and warn of one that is worse than at the start.

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
        score, before = mean_log_prob(flow, self.rows), self.before
        if not math.isfinite(score):
            raise DivergenceError(
                f"The fit ended with a mean log-likelihood of {score} nats on its own rows, with "
                f"learning_rate={history.rate:.3g}. Set learning_rate lower, and look for entries "
                "of X or of sample_weight that are out of all proportion."
            )
        is_worse = False
        if before is not None and math.isfinite(before) and before - score > self.most_lost:
            is_worse = True
            warnings.warn(
                f"The fit ended at {score:.4g} nats on its own rows, below its start, which was "
                f"at {before:.4g}. Set learning_rate lower than {history.rate:.3g}, or set "
                "early_stopping=True to keep the best weights.",
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
    if not all(bool(torch.isfinite(p).all()) for p in flow.parameters()):
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
