"""What groups of processes do in the tests: ``python rank.py FOLDER``.

All of them are forks of this one, as PyTorch takes seconds to be imported.
"""

import os
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from skflow import RelativeGradientFlow
from skflow._sklearn.fit_task import FitTask
from skflow.distributed import data_parallel
from skflow.exceptions import ColumnWarning, RankError
from skflow.flow import (
    BlockDiagonal,
    ElementwiseSpline,
    Flow,
    LeakyTanh,
    LinearStack,
    SplineCoupling,
    StudentT,
)
from skflow.training.batches import Batches
from skflow.training.exchange import current_exchange
from skflow.training.plan import OPTIMIZERS
from skflow.training.rows import Rows
from skflow.training.steps import Steps

# Rows in a batch, and columns: sums are exchanged, two factors, and three.
SIZES = {"sums": (50, 6), "two factors": (13, 16), "three factors": (9, 16)}

FITS = {
    "splines": {"base_distribution": "logistic", "batch_size": 50, "input_noise": 0.1},
    "activations": {"activation": "leaky_tanh", "batch_size": 50, "early_stopping": False},
    "factors": {"activation": "leaky_tanh", "batch_size": 7, "early_stopping": False},
    "few rows": {"base_distribution": "normal", "n_layers": 1},
}


def of_fit(name, optimizer="relative", *, weighted=False, **changes):
    """Return the weights, the scores and the losses of a fit."""
    rng = np.random.default_rng(0)
    X = rng.gamma(2.0, size=(120, 12 if name == "factors" else 3))
    options = {"n_layers": 2, "dtype": "float64", "max_iter": 3, "random_state": 0}
    flow = RelativeGradientFlow(optimizer=optimizer, **options | FITS[name] | changes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        flow.fit(X, sample_weight=rng.gamma(2.0, size=120) if weighted else None)
    weights = torch.cat([p.detach().reshape(-1) for p in flow.flow_.parameters()])
    losses = np.array([*flow.loss_curve_, *flow.validation_scores_, flow.log_det_])
    scores = flow.score_samples(X)
    return {"weights": weights.numpy(), "scores": scores, "losses": losses}


def bijections(d):
    """Return bijections of every kind that trains in a way of its own."""
    stack = LinearStack(2, d, activation=LeakyTanh(), dtype=torch.float64)
    one = LinearStack(1, d, dtype=torch.float64)
    spline, coupling = ElementwiseSpline(d), SplineCoupling(d)
    return [spline, one, coupling, stack, BlockDiagonal(d, 2), ElementwiseSpline(d)]


def of_steps(kind, optimizer, *, weighted):
    """Return the parameters and the losses of steps with a penalty, and the bytes received."""
    n_rows, d = SIZES[kind]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4 * n_rows, d, generator=generator, dtype=torch.float64)
    weights = torch.rand(len(x), generator=generator, dtype=torch.float64) if weighted else None
    flow = Flow(bijections(d), StudentT(), n_features=d).double()
    flow.initialize(x, generator)
    rows = Rows(x, weights=weights)
    noise = torch.full((d,), 0.1, dtype=torch.float64)
    exchange = current_exchange()
    batches = exchange.batches(Batches(rows, n_rows, generator, noise=noise, weight_unit=0.7))
    steps = Steps(flow, OPTIMIZERS[optimizer](flow), rate=0.1, others_rate=0.01, exchange=exchange)
    steps.begin_epoch()
    before = received(exchange)
    for batch in batches:
        assert steps.take(batch, 1.0, penalty=0.05)
    n_received = (received(exchange) - before) / len(batches)
    loss = np.array(steps.end_epoch())
    tracked = torch.cat([layer.log_abs_det().detach() for layer in flow.relative_layers])
    of_flow = torch.cat([p.detach().reshape(-1) for p in flow.parameters()])
    return {"weights": of_flow.numpy(), "loss": loss, "tracked": tracked.numpy()}, n_received


def received(exchange):
    return exchange.group.n_received if exchange.n_ranks > 1 else 0.0


def all_steps():
    return {
        (kind, optimizer, weighted): of_steps(kind, optimizer, weighted=weighted)
        for kind in SIZES
        for optimizer in OPTIMIZERS
        for weighted in (False, True)
    }


def all_fits():
    cases = (
        ("splines", "relative", True),
        ("activations", "adam", False),
        ("factors", "sgd", True),
        ("few rows", "relative", False),
    )
    return {case: of_fit(*case[:2], weighted=case[2]) for case in cases}


class Verdicts:
    """Callbacks that end a fit: those of rank 0 after three epochs, all others at once."""

    def __init__(self, rank):
        self.rank, self.n_calls = rank, 0

    def __call__(self, **epoch):
        self.n_calls += 1
        return self.rank > 0 or self.n_calls == 3


def decisions():
    """Return fits that a seed, a clock, Ctrl-C and callbacks decide."""
    rank = int(os.environ["RANK"])
    unseeded = of_fit("activations", random_state=None if rank else np.random.RandomState(5))
    timed = of_fit("activations", max_iter=10**6, max_time=0.5)
    press = partial(os.kill, os.getpid(), signal.SIGINT)
    if rank == 1:
        threading.Timer(0.3, press).start()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stopped = of_fit("activations", max_iter=10**6)
    with mock.patch.object(FitTask, "end_epoch", Verdicts(rank)):
        ended = of_fit("activations", max_iter=50)
    names = {one.category.__name__ for one in caught}
    fits = {"unseeded": unseeded, "timed": timed, "stopped": stopped, "ended": ended}
    return fits | {"warnings": names}


def refused():
    """Return the errors of fits that the processes cannot do together."""
    rank = int(os.environ["RANK"])
    errors = []
    rows = np.random.default_rng(rank).normal(size=(50, 2))
    for X, options in ((rows, {}), (np.ones((50, 2)) * np.arange(50)[:, None], {"batch_size": 1})):
        try:
            RelativeGradientFlow(1, max_iter=1, **options).fit(X)
        except ValueError as error:
            errors.append(str(error))
    return errors


def killed(path):
    """Return the ranks that an error names, on those that are left of a group."""
    if os.environ["RANK"] == "1":
        end_epoch = Steps.end_epoch

        def end(steps):
            if steps.n_taken >= 9:
                os.kill(os.getpid(), signal.SIGKILL)
            return end_epoch(steps)

        Steps.end_epoch = end
    try:
        of_fit("splines", max_iter=6, checkpoint_path=path)
    except RankError as error:
        return {"ranks": error.ranks, "message": str(error)}
    return None


def alone():
    """Return a fit of one process, although there is a group."""
    return of_fit("activations", random_state=int(os.environ["RANK"]))


SCENARIOS = {
    "steps": all_steps,
    "fits": all_fits,
    "decisions": decisions,
    "refused": refused,
    "killed": killed,
}


# What each group does, by the number of its processes.
GROUPS = {4: ("steps", "fits"), 2: ("steps", "decisions", "refused", "killed")}


def halves():
    """Return a fit by each half of the group, with the number of this process in it."""
    rank, n_each = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]) // 2
    ranks = [list(range(n_each)), list(range(n_each, 2 * n_each))]
    groups = [torch.distributed.new_group(half) for half in ranks]
    half = rank // n_each
    with data_parallel(groups[half]) as number:
        return of_fit("activations", random_state=half), number


def run_as(rank, n_ranks, port, folder):
    """Do what a group does, as one of its processes."""
    group = {"RANK": rank, "WORLD_SIZE": n_ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in group.items()})
    torch.distributed.init_process_group("gloo")
    results = {"alone": alone()}
    with data_parallel():
        for name in GROUPS[n_ranks]:
            arguments = (folder / "checkpoint",) if name == "killed" else ()
            results[name] = SCENARIOS[name](*arguments)
    if n_ranks == 4:
        results["halves"] = halves()
    else:  # one of them is gone
        with suppress(RankError), data_parallel():
            results["again"] = True
    torch.save(results, folder / f"{rank}_of_{n_ranks}.pt")


def main(folder):
    from forks import free_port, start  # which is beside this script

    signal.signal(signal.SIGINT, signal.default_int_handler)
    ends = {}
    for n_ranks in GROUPS:
        port = free_port()
        ranks = {start(run_as, rank, n_ranks, port, folder): rank for rank in range(n_ranks)}
        for _ in range(n_ranks):
            pid, status = os.wait()
            code = os.waitstatus_to_exitcode(status)
            ends[n_ranks, ranks[pid]] = code, time.monotonic()
    torch.save(ends, folder / "ends.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
