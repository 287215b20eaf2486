"""What each process of a group does for ``data_parallel.py``, by itself or under torchrun."""

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from skflow import RelativeGradientFlow
from skflow.distributed import data_parallel, step
from skflow.exceptions import RankError
from skflow.flow import ElementwiseSpline, Flow, LinearStack, Normal, SmoothLeakyReLU
from skflow.training.batches import Batches
from skflow.training.exchange import current_exchange
from skflow.training.optimizers import RelativeSGD
from skflow.training.rows import Rows
from skflow.training.steps import Steps

RANK = int(os.environ.get("RANK", "0"))
FLOWS = {
    "splines and couplings": {"base_distribution": "logistic"},
    "fixed activations": {"activation": "leaky_tanh"},
    "more columns than rows": {"activation": "leaky_tanh", "batch_size": 32},
}


def sample(n_rows, n_features):
    """Return skewed rows whose columns depend on one another, and weights."""
    rng = np.random.default_rng(0)
    X = rng.gamma(2.0, size=(n_rows, n_features)) @ rng.normal(size=(n_features, n_features))
    return X, rng.gamma(2.0, size=n_rows)


def equality(job):
    """Return the weights, the scores and the tracked log-determinant of fits, by their names."""
    results = {}
    for name, options in FLOWS.items():
        n_features = 64 if name == "more columns than rows" else 6
        X, weights = sample(job["rows"], n_features)
        for optimizer in ("sgd", "relative", "adam"):
            for weighted in (False, True):
                flow = RelativeGradientFlow(
                    optimizer=optimizer,
                    dtype="float64",
                    max_iter=job["epochs"],
                    early_stopping=False,
                    random_state=0,
                    **options,
                ).fit(X, sample_weight=weights if weighted else None)
                parameters = [p.detach().reshape(-1) for p in flow.flow_.parameters()]
                results[f"{name}, {optimizer}, {'with' if weighted else 'without'} weights"] = {
                    "weights": torch.cat(parameters).numpy(),
                    "scores": flow.score_samples(X),
                    "log_det": np.array([flow.log_det_]),
                }
    return results


def received_by_loopback():
    """Return the bytes that the loopback interface of this network has received, less headers.

    Those of Ethernet, of IP and of TCP with a timestamp take 66 bytes of each packet.
    """
    with open("/proc/net/dev", encoding="ascii") as file:
        (line,) = (line for line in file if line.strip().startswith("lo:"))
    n_bytes, n_packets = map(int, line.split(":")[1].split()[:2])
    return n_bytes - 66 * n_packets


def steps(job):
    """Return the bytes that a step brings a process, as counted and on the loopback interface."""
    n_rows, d, n_steps = job["rows"], job["columns"], job["steps"]
    generator = torch.Generator().manual_seed(0)
    rows = Rows(torch.randn((n_steps + 1) * n_rows, d, generator=generator))
    bijections = [LinearStack(job["layers"], d, activation=SmoothLeakyReLU())]
    if job["splines"]:
        bijections.insert(0, ElementwiseSpline(d))
    flow = Flow(bijections, Normal(), n_features=d)
    part = current_exchange()
    trained = Steps(flow, RelativeSGD(flow), rate=1e-3, others_rate=1e-3, exchange=part)
    batches = iter(part.batches(Batches(rows, n_rows, generator)))
    trained.begin_epoch()
    with mock.patch.object(step, "n_factors", return_value=job["factors"]):
        trained.take(next(batches), 1.0)  # connects the processes
        part.agreed(None)
        counted, clock, wire = part.group.n_received, time.process_time(), received_by_loopback()
        for _ in range(n_steps):
            trained.take(next(batches), 1.0)
        counted = part.group.n_received - counted
        part.agreed(None)  # all of them are there
        wire = received_by_loopback() - wire
    seconds = time.process_time() - clock
    return {
        "others": sum(p.numel() for one in bijections[:-1] for p in one.parameters()),
        "counted": counted / n_steps,
        "wire": wire / n_steps / part.n_ranks,
        "milliseconds": 1000 * seconds / n_steps,
    }


def killed(job):
    """Fit until one process ends itself; return what the others are told."""
    X, _ = sample(job["rows"], 4)
    if job["killed"] == RANK:
        end_epoch = Steps.end_epoch

        def end(self):
            if self.n_taken >= job["after"]:
                Path(job["folder"], "died").touch()
                os.kill(os.getpid(), getattr(signal, job["signal"]))
            return end_epoch(self)

        Steps.end_epoch = end
    try:
        flow = fit_of_killed(X, job)
    except RankError as error:
        print(f"rank {RANK}: RankError: {error}", flush=True)
        return {"ranks": error.ranks}
    return {"scores": flow.score_samples(X)}


def fit_of_killed(X, job):
    """Return the flow that is fitted, with a checkpoint if the job has one."""
    options = {"base_distribution": "logistic", "dtype": "float64", "early_stopping": False}
    path = job.get("checkpoint")
    return RelativeGradientFlow(
        max_iter=job["epochs"], random_state=0, checkpoint_path=path, **options
    ).fit(X)


def main():
    """Do the jobs of a file, and leave the results beside it."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    path = Path(sys.argv[1])
    tasks = {"equality": equality, "steps": steps, "killed": killed}
    with data_parallel():
        results = [tasks[job["task"]](job) for job in json.loads(path.read_text("utf-8"))]
    torch.save(results, path.with_suffix(f".{RANK}.pt"))


if __name__ == "__main__":
    main()
