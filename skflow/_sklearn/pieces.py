"""Calls that are done as a whole or not at all, and those that are parts of another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["in_one_piece", "is_part_of_another", "unchanged_on_error"]

_DEPTH: ContextVar[int] = ContextVar("_DEPTH", default=0)


@contextmanager
def in_one_piece() -> Iterator[None]:
    """Let fits within know that they are parts of what is done as a whole or not at all."""
    token = _DEPTH.set(_DEPTH.get() + 1)
    try:
        yield
    finally:
        _DEPTH.reset(token)


def is_part_of_another() -> bool:
    """Whether the innermost block of :func:`in_one_piece` stands within another one."""
    return _DEPTH.get() > 1


@contextmanager
def unchanged_on_error(estimator: Any) -> Iterator[None]:
    """Give an estimator its attributes back, all at once, if the block fails.

    Parameters
    ----------
    estimator : estimator
        Whose ``fit`` is the block. It is done in one piece.
    """
    before = vars(estimator).copy()
    try:
        with in_one_piece():
            yield
    except BaseException:
        estimator.__dict__ = before
        raise
