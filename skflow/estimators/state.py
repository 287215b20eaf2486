"""The attributes of an estimator, read and replaced all at once.

Another thread may score rows while an estimator is fitted anew. It sees the fit before or the fit
after, never a mixture of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from skflow.estimators.forks import let_forks_compute
from skflow.training.room import is_out_of_memory

__all__ = ["become", "own_autograd_mode", "snapshot"]

E = TypeVar("E")


def snapshot(estimator: E) -> E:
    """Return a copy that shares all attributes, and keeps them if the estimator is fitted anew.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator.

    Returns
    -------
    twin : estimator
        Of the same class. Cost: a copy of one dict.
    """
    twin = object.__new__(type(estimator))
    twin.__dict__ = estimator.__dict__.copy()
    return twin


def become(estimator: Any, twin: Any) -> None:
    """Give an estimator the attributes of a snapshot that was changed.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator.
    twin : estimator
        What :func:`snapshot` returned.
    """
    estimator.__dict__ = twin.__dict__


@contextmanager
def own_autograd_mode() -> Iterator[None]:
    """Compute without gradients, and make ordinary tensors even in a caller's inference mode.

    Tensors that are made in PyTorch's inference mode can never take part in training again.

    Raises
    ------
    MemoryError
        If there is not enough memory, of which PyTorch makes a RuntimeError.
    """
    let_forks_compute()
    try:
        with torch.inference_mode(False), torch.no_grad():
            yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(
            "There is not enough memory. Pass fewer rows at a time, lower batch_size, or take "
            f"fewer columns. PyTorch says: {error}"
        ) from error
