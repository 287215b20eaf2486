"""Fits whose batches are divided among processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from skflow.distributed.exchange import DataParallel
from skflow.distributed.group import Group, is_abandoned
from skflow.training.exchange import exchanging

__all__ = ["data_parallel"]


@contextmanager
def data_parallel(group: dist.ProcessGroup | None = None) -> Iterator[int]:
    """Let all processes of a group fit each flow together.

    Within, :meth:`RelativeGradientFlow.fit` takes a part of each batch, and all processes take
    the same steps. Each calls it with the same rows and parameters, and ends with the same flow,
    bit for bit. Outside, and in threads that are started within, fits know nothing of the group.

    Read more in the :ref:`User Guide <data_parallel>`.

    Parameters
    ----------
    group : ProcessGroup or None, default=None
        Some of the processes; by default, all. If there is no process group yet, and a launcher
        such as ``torchrun`` started this process, one is made and taken down again.

    Yields
    ------
    rank : int
        The number of this process in the group.

    Raises
    ------
    RankError
        By `fit`, if another process stopped.
    ValueError
        By `fit`, if the processes do not have the same rows or parameters, or if a batch has
        fewer rows than there are processes.

    Notes
    -----
    Other methods, and `fit` of other estimators than those that are made of
    :class:`RelativeGradientFlow`, do in each process what they do elsewhere. A process that is
    alone, which no launcher started, fits as it does outside.

    Examples
    --------
    >>> import numpy as np
    >>> from skflow import RelativeGradientFlow
    >>> from skflow.distributed import data_parallel
    >>> X = np.random.default_rng(0).gamma(2.0, size=(200, 3))
    >>> with data_parallel() as rank:
    ...     flow = RelativeGradientFlow(max_iter=2, random_state=0).fit(X)
    >>> flow.score_samples(X).shape
    (200,)
    """
    is_ours = group is None and not dist.is_initialized() and "WORLD_SIZE" in os.environ
    if is_ours:
        _make_group()
    try:
        if not dist.is_initialized() or dist.get_world_size(group) == 1:
            yield 0
            return
        members = Group(group)
        try:
            with exchanging(DataParallel(members)):
                yield members.rank
        finally:
            members.close()
    finally:
        if is_ours and not is_abandoned(None):
            dist.destroy_process_group()


def _make_group() -> None:
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo")
