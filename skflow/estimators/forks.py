"""Processes that are forked after a fit, which PyTorch would let hang."""

import os
from functools import cache

import torch

__all__ = ["let_forks_compute"]


@cache
def let_forks_compute() -> None:
    """Let processes that are forked from now on compute by one thread, until they say otherwise.

    OpenMP's threads do not come along with a fork, but the child waits for them, forever. So it
    is for a process that has computed by several threads.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_compute_by_one_thread)


def _compute_by_one_thread() -> None:
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
