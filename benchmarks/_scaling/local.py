"""What data-parallel steps take on processes of this machine, and what the model says of them.

The processes measure their rates themselves, all at the same time, so that what they share is
shared in both. From these rates the model predicts the seconds of a step.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from _scaling.model import ITEMSIZE, Machine, cost
from skflow.distributed.exchange import DataParallel
from skflow.distributed.group import Group
from skflow.distributed.traffic import n_factors
from skflow.flow import Flow, LinearStack, Normal, SmoothLeakyReLU
from skflow.training.batches import Batches
from skflow.training.exchange import ALONE
from skflow.training.optimizers import RelativeSGD
from skflow.training.rows import Rows
from skflow.training.steps import Steps

__all__ = ["measured"]

_RATE = 1e-4  # of the steps, so low that nothing diverges
_SMALL = 1 << 10  # numbers of a message whose time is its latency


def measured(step, n_steps):
    """Return what a step takes, and what the model predicts, as a row of the table.

    Parameters
    ----------
    step : Step
        Its sizes.
    n_steps : int
        How many are timed.
    """
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(
            _process,
            args=(step, n_steps, folder),
            nprocs=step.n_ranks,
            start_method="spawn",
        )
        of_ranks = [np.load(Path(folder) / f"{rank}.npy") for rank in range(step.n_ranks)]
    seconds, received, *rates = np.median(of_ranks, axis=0).tolist()
    counted = cost("data-parallel", step)
    machine = Machine(*rates)
    return {
        "n_ranks": step.n_ranks,
        "n_rows": step.n_rows,
        "n_features": step.n_features,
        "n_layers": step.n_layers,
        "seconds": f"{seconds:.4f}",
        "predicted_seconds": f"{counted.seconds(machine):.4f}",
        "ratio": f"{seconds / counted.seconds(machine):.2f}",
        "received_bytes": round(received),
        "predicted_bytes": round(counted.received),
        "gigaflops": f"{machine.flops / 1e9:.1f}",
        "memory_gb_per_second": f"{machine.memory_rate / 1e9:.1f}",
        "network_gb_per_second": f"{machine.network_rate / 1e9:.2f}",
        "latency_microseconds": f"{1e6 * machine.latency:.0f}",
    }


def _process(rank, step, n_steps, folder):
    torch.set_num_threads(1)
    group, exchange = None, ALONE
    if step.n_ranks > 1:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        store = f"file://{folder}/store"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=step.n_ranks)
        group = Group(None)
        exchange = DataParallel(group)
    calls = _calls(step, group, exchange)
    received = {}
    for name in ("step", "exchange"):  # which also warms up
        before = 0.0 if group is None else group.n_received
        calls[name]()
        received[name] = 0.0 if group is None else group.n_received - before
    seconds = _in_turns(calls, n_steps)
    n, d = max(1, step.n_rows // step.n_ranks), step.n_features
    rates = [
        2 * n * d**2 / seconds["product"],
        2 * ITEMSIZE * d**2 / seconds["memory"],
        received["exchange"] / seconds["exchange"] if group is not None else float("inf"),
        seconds["message"] / (2 * (step.n_ranks - 1)) if group is not None else 0.0,
    ]
    np.save(Path(folder) / f"{rank}.npy", [seconds["step"], received["step"], *rates])
    if group is not None:
        group.close()
        dist.destroy_process_group()


def _calls(step, group, exchange):
    """Return a step, and what it is made of, as functions."""
    n, d = max(1, step.n_rows // step.n_ranks), step.n_features
    x, weight = torch.randn(n, d), torch.randn(d, d)
    factors = n_factors(step.n_rows, d)
    numbers = torch.randn(factors, step.n_layers, n, d) if factors else weight.clone()
    small = torch.zeros(_SMALL)

    def exchanged():
        if group is not None:
            (group.gather if factors else group.sum)(numbers)()

    return {
        "step": _step(step, exchange),
        "product": lambda: x @ weight,
        "memory": lambda: weight.mul_(1.0),
        "exchange": exchanged,
        "message": lambda: None if group is None else group.sum(small)(),
    }


def _step(step, exchange):
    """Return a function that takes a step of a fit."""
    generator = torch.Generator().manual_seed(0)
    stack = LinearStack(
        step.n_layers, step.n_features, activation=SmoothLeakyReLU(), init="orthogonal"
    )
    flow = Flow([stack], Normal(), n_features=step.n_features)
    rows = Rows(torch.randn(2 * step.n_rows, step.n_features, generator=generator))
    flow.initialize(rows.take(torch.arange(step.n_rows)), generator)
    batches = _endless(exchange.batches(Batches(rows, step.n_rows, generator)))
    steps = Steps(flow, RelativeSGD(flow), rate=_RATE, others_rate=0.0, exchange=exchange)
    steps.begin_epoch()

    def take():
        assert steps.take(next(batches), 1.0)

    return take


def _endless(batches):
    while True:
        yield from batches


def _in_turns(calls, n_turns):
    """Return the median seconds of each call. All processes make the same calls in turn."""
    times = {name: [] for name in calls}
    for _ in range(n_turns):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}
