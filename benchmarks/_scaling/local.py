"""What data-parallel steps take on processes of this machine, and what the model says of them.

The processes measure their rates themselves, all at the same time, so that what they share is
shared in both. From these rates the model predicts the seconds of a step.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from _scaling.model import Machine, cost
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
    rates = _rates(step, group)
    np.save(Path(folder) / f"{rank}.npy", [*_steps(step, n_steps, group, exchange), *rates])
    if group is not None:
        group.close()
        dist.destroy_process_group()


def _steps(step, n_steps, group, exchange):
    """Return the median seconds of steps, and the bytes that each brought."""
    generator = torch.Generator().manual_seed(0)
    stack = LinearStack(
        step.n_layers, step.n_features, activation=SmoothLeakyReLU(), init="orthogonal"
    )
    flow = Flow([stack], Normal(), n_features=step.n_features)
    rows = Rows(torch.randn(2 * step.n_rows, step.n_features, generator=generator))
    flow.initialize(rows.take(torch.arange(step.n_rows)), generator)
    batches = exchange.batches(Batches(rows, step.n_rows, generator))
    steps = Steps(flow, RelativeSGD(flow), rate=_RATE, others_rate=0.0, exchange=exchange)
    steps.begin_epoch()
    seconds, received = [], 0.0
    for batch in itertools.islice(_endless(batches), n_steps + 1):
        before, started = 0.0 if group is None else group.n_received, time.perf_counter()
        assert steps.take(batch, 1.0)
        seconds.append(time.perf_counter() - started)
        received = 0.0 if group is None else group.n_received - before
    return float(np.median(seconds[1:])), received


def _endless(batches):
    while True:
        yield from batches


def _rates(step, group):
    """Return operations, bytes of memory and bytes of messages a second, and a latency."""
    n, d = max(1, step.n_rows // step.n_ranks), step.n_features
    x, weight = torch.randn(n, d), torch.randn(d, d)
    flops = 2 * n * d**2 / _seconds(lambda: x @ weight)
    memory = 2 * weight.nbytes / _seconds(lambda: weight.mul_(1.0))
    if group is None:
        return flops, memory, float("inf"), 0.0
    factors = n_factors(step.n_rows, d)
    numbers = torch.randn(factors, step.n_layers, n, d) if factors else weight

    def exchange():
        (group.gather if factors else group.sum)(numbers)()

    small = torch.zeros(_SMALL)
    latency = _seconds(lambda: group.sum(small)()) / (2 * (step.n_ranks - 1))
    before = group.n_received
    exchange()
    size = group.n_received - before
    return flops, memory, size / _seconds(exchange), latency


def _seconds(function, n_calls=7):
    function()
    times = []
    for _ in range(n_calls):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return float(np.median(times))
