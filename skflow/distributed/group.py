"""A group of processes: what they send each other, and how much of it."""

from __future__ import annotations

import ctypes
import io
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from skflow.distributed.liveness import Liveness
from skflow.distributed.traffic import received_by_gather, received_by_reduction
from skflow.exceptions import RankError

__all__ = ["Group", "Pending", "is_abandoned"]

# For so many seconds a process waits before it looks whether those that it waits for live.
_PATIENCE = 5.0

# How long one on a GPU waits before it asks again.
_PAUSE = 2e-5

Pending = Callable[[], Tensor]

# Of one name from PyTorch 2.13 on, and of another before.
_scatter_sum: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor

# The identities of groups that are never taken down.
_ABANDONED: set[int] = set()


class Group:
    """The processes of a group of :mod:`torch.distributed`, as one of them sees them.

    All methods are called by all processes, in the same order. What they return has the same bits
    on all of them.

    Parameters
    ----------
    group : ProcessGroup or None
        The group; None for all processes.

    Attributes
    ----------
    rank : int
        The number of this process in the group.
    n_ranks : int
        The number of processes.
    n_received : float
        How many bytes this process has received, as :mod:`skflow.distributed.traffic` counts.

    Raises
    ------
    RankError
        If a process of the group has stopped before.
    """

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self._group = group
        if is_abandoned(group):
            raise RankError([], "in a fit before this one")
        self._members = dist.get_process_group_ranks(group)
        self.rank, self.n_ranks = dist.get_rank(group), dist.get_world_size(group)
        self.n_received = 0.0
        self.device = torch.device("cpu")
        if dist.get_backend(group) == "nccl":
            self.device = torch.device("cuda", torch.cuda.current_device())
        self.liveness: Liveness | None = None
        token = self.agreed(int(torch.randint(2**62, (), generator=_fresh_generator())))
        store = _own_store(f"skflow/{token}")
        if store is not None:
            self.liveness = Liveness(store, self._members[self.rank], self._members)
        self.agreed(None)  # all of them have said that they live

    def close(self) -> None:
        """Take no part any more."""
        if self.liveness is not None:
            self.liveness.stop()

    def abandon(self) -> None:
        """Leave the group as it is for good, as a process in it has stopped.

        Threads of PyTorch's may wait for that process. To take the group down, which Python does
        when it ends, would be to wait for them, so that the object has to stay.
        """
        found = dist.group.WORLD if self._group is None else self._group
        if id(found) not in _ABANDONED:
            _ABANDONED.add(id(found))
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(found))

    def sum(self, tensor: Tensor) -> Pending:
        """Begin to add up over the processes, in place.

        Parameters
        ----------
        tensor : Tensor
            Contiguous. It must not be touched until the sum is there.

        Returns
        -------
        wait : callable
            Returns `tensor` once it is the sum.
        """
        work = dist.all_reduce(tensor, group=self._group, async_op=True)
        self.n_received += received_by_reduction(tensor.nbytes, self.n_ranks)
        return self._waiting(work, tensor)

    def gather(self, tensor: Tensor) -> Pending:
        """Begin to collect what the processes have, of one shape.

        Parameters
        ----------
        tensor : Tensor
            Contiguous. It must not be touched until all is there.

        Returns
        -------
        wait : callable
            Returns a tensor of shape (R, ...) once it is there.
        """
        flat = tensor.view(-1)
        gathered = tensor.new_empty(self.n_ranks * len(flat))
        work = dist.all_gather_single(gathered, flat, group=self._group, async_op=True)
        self.n_received += received_by_gather(tensor.nbytes, self.n_ranks)
        return self._waiting(work, gathered.view(self.n_ranks, *tensor.shape))

    def scatter_sum(self, tensor: Tensor) -> Pending:
        """Begin to add up over the processes, where each is left with its part of the sum.

        Parameters
        ----------
        tensor : Tensor of shape (R, ...)
            Contiguous: what there is to add to the part of each.

        Returns
        -------
        wait : callable
            Returns the own part, of shape (...), once it is there.
        """
        own = tensor.new_empty(tensor.shape[1:])
        work = _scatter_sum(own.view(-1), tensor.view(-1), group=self._group, async_op=True)
        self.n_received += received_by_gather(own.nbytes, self.n_ranks)
        return self._waiting(work, own)

    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        """Give all processes what one of them has, in place.

        Parameters
        ----------
        tensor : Tensor
            Contiguous, of the same shape on all of them.
        source : int, default=0
            The number of the one that has it.
        """
        if not tensor.numel():
            return tensor
        flat = tensor.view(-1).view(torch.uint8)  # there are types that backends do not know
        work = dist.broadcast(flat, self._members[source], group=self._group, async_op=True)
        self.n_received += 0 if self.rank == source else tensor.nbytes
        self._waiting(work, flat)()
        return tensor

    def agreed(self, value: Any) -> Any:
        """Return what the first process passed.

        Parameters
        ----------
        value : object
            Numbers, strings, tensors, modules, and containers of them.
        """
        content = _packed(value) if self.rank == 0 else torch.empty(0, dtype=torch.uint8)
        size = torch.tensor([len(content)], device=self.device)
        size = self.broadcast(size)
        if self.rank != 0:
            content = torch.empty(int(size), dtype=torch.uint8)
        content = self.broadcast(content.to(self.device))
        return value if self.rank == 0 else _unpacked(content.cpu())

    def collected(self, value: Any) -> list[Any]:
        """Return what each process passed.

        Parameters
        ----------
        value : object
            As for :meth:`agreed`.
        """
        content = _packed(value)
        sizes = self.gather(torch.tensor([len(content)], device=self.device))()[:, 0].tolist()
        padded = torch.zeros(max(sizes), dtype=torch.uint8)
        padded[: len(content)] = content
        contents = self.gather(padded.to(self.device))().cpu()
        return [_unpacked(one[:size]) for one, size in zip(contents, sizes, strict=True)]

    def _waiting(self, work: Any, result: Tensor) -> Pending:
        def wait() -> Tensor:
            (self._wait_for_device if result.is_cuda else self._wait)(work)
            return result

        return wait

    def _wait(self, work: Any) -> None:
        while True:
            try:
                work.wait(timedelta(seconds=_PATIENCE))
                return
            except RuntimeError as error:
                if self.liveness is None:
                    if work.is_completed():
                        raise
                elif work.is_completed():
                    raise self.liveness.explained(error) from error
                else:
                    self.liveness.check()

    def _wait_for_device(self, work: Any) -> None:
        looked = time.monotonic()
        while not work.is_completed():
            if self.liveness is not None and time.monotonic() - looked > _PATIENCE:
                self.liveness.check()
                looked = time.monotonic()
            time.sleep(_PAUSE)
        work.wait()


def is_abandoned(group: dist.ProcessGroup | None) -> bool:
    """Whether a process of a group has stopped.

    Parameters
    ----------
    group : ProcessGroup or None
        The group; None for all processes.
    """
    return id(dist.group.WORLD if group is None else group) in _ABANDONED


def _packed(value: Any) -> Tensor:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def _unpacked(content: Tensor) -> Any:
    device = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"

    def place(storage: Any, location: str) -> Any:
        return storage if location == "cpu" else storage.cuda(device)

    # By a process of the same group, which runs the same program.
    buffer = io.BytesIO(content.numpy().tobytes())
    return torch.load(buffer, map_location=place, weights_only=False)


def _fresh_generator() -> torch.Generator:
    generator = torch.Generator()
    generator.seed()
    return generator


def _own_store(prefix: str) -> Any:
    """Return the store of the default group, by a connection of its own, if that can be had."""
    default = getattr(dist.distributed_c10d, "_get_default_store", None)
    if default is None:
        return None
    store = default()
    try:
        store = store.clone()
    except (AttributeError, RuntimeError, NotImplementedError):
        return None  # one of files, or of another launcher
    store.set_timeout(timedelta(seconds=10))
    return dist.distributed_c10d.PrefixStore(prefix, store)
