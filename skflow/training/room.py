"""What a fit says where there is not enough memory: the sizes, and the batch that would fit."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace

from skflow.training.exchange import ALONE
from skflow.training.fits import Fit, StepwiseFit, Stopping, TrainingFit
from skflow.training.memory import return_freed_memory

__all__ = ["is_out_of_memory", "largest_batch", "naming_the_batch"]

# What PyTorch, and oneDNN below it, say where there is no room, and what was asked for.
_NO_ROOM = re.compile(
    "allocate memory|out of memory|not enough memory|could not create a (?:primitive|memory)",
    re.IGNORECASE,
)
_ASKED = re.compile(r"tried to allocate ([\d.]+ (?:bytes|[KMGT]i?B))", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that there is not enough memory.

    Parameters
    ----------
    error : BaseException
        PyTorch raises a RuntimeError.
    """
    is_so_named = isinstance(error, RuntimeError) and bool(_NO_ROOM.search(str(error)))
    return is_so_named or isinstance(error, MemoryError)


@contextmanager
def naming_the_batch(fit: Fit) -> Iterator[None]:
    """Say what would help if there is not enough memory for a fit.

    Parameters
    ----------
    fit : Fit
        Which the block runs. If it fails, its flow is of no further use.

    Raises
    ------
    MemoryError
        If there is not enough.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # of what the step had made
        raise MemoryError(_explained(fit.running, error)) from error


def _explained(fit: StepwiseFit, error: BaseException) -> str:
    batches = fit.training.batches
    asked, fits = _ASKED.search(str(error)), largest_batch(fit)
    if fits is None:
        advice = (
            "No batch_size would help, as there is no room for steps of one row: take fewer "
            "columns or layers."
        )
    elif fits == batches.batch_size:
        advice = (
            "A smaller batch_size would not help, as there is room for steps of so many rows: "
            "pass fewer rows or columns."
        )
    else:
        # Another fit may find less room, as it lies elsewhere in memory.
        advice = f"There is room for steps of {fits} rows: set batch_size={max(1, fits // 2)}."
    return (
        f"There is not enough memory to fit {len(batches.rows)} rows of {batches.rows.n_features} "
        f"columns in batches of {batches.batch_size}, where "
        f"{'more was' if asked is None else asked[1] + ' more were'} asked for. {advice}"
    )


def largest_batch(fit: StepwiseFit) -> int | None:
    """Return how many rows a step has room for: as many as it has, or a half of that, and so on.

    Parameters
    ----------
    fit : StepwiseFit
        Which is rehearsed, with two batches and the rows that are held out. Its flow changes.

    Returns
    -------
    n_rows : int or None
        None if there is no room for steps of one row.
    """
    n_rows = fit.training.batches.batch_size
    while n_rows > 0:
        return_freed_memory()
        try:
            _rehearse(fit, n_rows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)
            n_rows //= 2
        else:
            return n_rows
    return None


def _rehearse(fit: StepwiseFit, n_rows: int) -> None:
    batches = copy(fit.training.batches)
    batches.rows, batches.batch_size = batches.rows.sample.subset(slice(2 * n_rows)), n_rows
    if n_rows <= 2:
        batches.noise = None
    validation = fit.validation if isinstance(fit, TrainingFit) else None
    training = replace(fit.training, batches=batches, exchange=ALONE)
    TrainingFit(training, Stopping(max_iter=1), validation=validation).advance()
