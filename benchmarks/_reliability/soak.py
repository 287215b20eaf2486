"""A million steps, and scores from many threads.

Steps: the tracked log-determinant is compared with the exact one of the weights as they are, and
the resident memory is read, at ten places of a fit. Threads: each score, and each sample, must
have the bits that it has in a single thread, while the same estimator is fitted anew all the time.
"""

import itertools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from _common import write_csv

from skflow import ConditionalFlow, RelativeGradientFlow
from skflow.training.architecture import build_flow
from skflow.training.fits import run as run_fit
from skflow.training.plan import Plan
from skflow.training.rows import Rows
from skflow.training.standardization import standardization

# Networks of two layers: all rows are few, so that a step costs little.
N_ROWS = 1000
TRACKED = {"activation": "leaky_tanh", "batch_size": 2}  # fewer rows in a batch than columns
NETWORKS = {
    "default": {"batch_size": 8},
    "tracked": TRACKED,
    # At its default rate, plain descent by two rows at a time diverges after 12,000 steps.
    "tracked, sgd": TRACKED | {"optimizer": "sgd", "learning_rate": 0.002},
}
N_FEATURES = 4
N_READINGS = 10

MOST_DRIFT = 1e-3
MOST_GROWTH = 4.0  # MiB, from the first reading to the last


def add_arguments(parser):
    """Add what the campaign takes to its command."""
    parser.add_argument("--steps", type=int, default=10**6, help="of each fit")
    parser.add_argument("--networks", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--calls", type=int, default=10**5, help="scores, of all threads together")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)


def run(arguments):
    """Run the campaign, and write its figures."""
    lines = []
    for name, make_calls in (("flow", calls_of_flow), ("conditional", calls_of_conditional)):
        lines.append(scores(name, make_calls, arguments))
    for name in arguments.networks:
        lines += steps(name, arguments.steps, arguments.seed)
        fields = list(dict.fromkeys(itertools.chain.from_iterable(lines)))
        table = [{field: line.get(field, "") for field in fields} for line in lines]
        write_csv(arguments.results / "reliability_soak.csv", table)
    failed = [line for line in lines if not line["passed"]]
    print(f"{len(lines) - len(failed)} of {len(lines)} lines are as they should be")
    for line in failed:
        print(f"FAILED with --seed {arguments.seed}: {line}")


def steps(name, n_steps, seed):
    """Take the steps of a fit, and return a line for each reading."""
    parameters = RelativeGradientFlow(
        n_layers=2, early_stopping=False, random_state=seed, **NETWORKS[name]
    ).get_params()
    n_epochs = max(N_READINGS, n_steps * parameters["batch_size"] // N_ROWS)
    fit = begun(parameters | {"max_iter": n_epochs}, seed)
    readings = []

    def read(epoch):
        if epoch.epoch % (n_epochs // N_READINGS) == 0:
            tracked, exact = log_dets(fit.flow)
            readings.append(
                {
                    "what": f"steps, {name}",
                    "count": fit.steps.n_taken,
                    "drift_nats": f"{tracked - exact:.2e}",
                    "resident_mib": f"{resident_mib():.2f}",
                    "seconds": f"{epoch.seconds:.0f}",
                }
            )
            print(readings[-1], flush=True)

    run_fit(fit, read)
    first = float(readings[0]["resident_mib"])
    for line in readings:
        growth = float(line["resident_mib"]) - first
        line["passed"] = abs(float(line["drift_nats"])) <= MOST_DRIFT and growth <= MOST_GROWTH
    return readings


def begun(parameters, seed):
    """Begin a fit to bent rows."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N_ROWS, N_FEATURES))
    rows = Rows(torch.from_numpy(x + 0.3 * x**2))
    core = build_flow(parameters, len(rows), rows.n_features)
    plan = Plan(
        parameters,
        rows,
        core.behind(standardization(rows, robust=core.can_be_neutral)),
        constant=torch.zeros(0, dtype=torch.int64),
        generator=torch.Generator().manual_seed(seed),
    )
    return plan.fit(time.perf_counter())


@torch.no_grad()
def log_dets(flow):
    """Return the sum of the log-determinants as it is known, and as it is."""
    exact = sum(
        float(torch.linalg.slogdet(layer.weight.double()).logabsdet.sum())
        for layer in flow.relative_layers
        if layer.settle() is None
    )
    return float(flow.log_abs_det()), exact


def resident_mib():
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def calls_of_flow(seed):
    """Return a flow, what fits it, and what is asked of it."""
    rng = np.random.default_rng(seed)
    X = rng.gamma(2.0, size=(300, 3))
    flow = RelativeGradientFlow(n_layers=2, max_iter=3, early_stopping=False, random_state=seed)
    asked = [X[:n].astype(dtype) for n in (1, 7, 300) for dtype in (np.float32, np.float64)]
    questions = [lambda rows=rows: flow.score_samples(rows) for rows in asked]
    return lambda: flow.fit(X), questions, lambda: flow.sample(5, random_state=0)


def calls_of_conditional(seed):
    """Return the same of a conditional flow."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(200, 2))
    y = X[:, 0] + 0.1 * rng.normal(size=200)
    flow = ConditionalFlow(n_trees=0, max_iter=3, early_stopping=False, random_state=seed)
    questions = [lambda n=n: flow.score_samples(X[:n], y[:n]) for n in (1, 7, 200)]
    return lambda: flow.fit(X, y), questions, lambda: flow.sample(X[:3], 2, random_state=0)


def scores(
    name: str,
    make_calls: Callable[[int], tuple[Callable, list[Callable], Callable]],
    arguments,
):
    """Ask from many threads what was asked from one, and compare the bits."""
    fit, questions, sample = make_calls(arguments.seed)
    fit()
    expected, sampled = [question().tobytes() for question in questions], sample().tobytes()
    n_each = arguments.calls // (2 * arguments.threads)  # half of them of each estimator
    done = threading.Event()

    def ask(thread):
        wrong = 0
        for k in range(n_each):
            which = (thread + k) % len(questions)
            wrong += questions[which]().tobytes() != expected[which]
            if k % 20 == 0:
                wrong += sample().tobytes() != sampled
        return wrong

    def fit_anew():
        n_fits = 0
        while not done.is_set():
            fit()
            n_fits += 1
        return n_fits

    started, before = time.perf_counter(), resident_mib()
    with ThreadPoolExecutor(arguments.threads + 1) as pool:
        fits = pool.submit(fit_anew)
        try:
            wrong = sum(pool.map(ask, range(arguments.threads)))
        finally:
            done.set()
        n_fits = fits.result()
    line = {
        "what": f"scores, {name}, {arguments.threads} threads",
        "count": n_each * arguments.threads,
        "resident_mib": f"{resident_mib():.2f}",
        "seconds": f"{time.perf_counter() - started:.0f}",
        "grown_mib": f"{resident_mib() - before:.2f}",
        "wrong": wrong,
        "fits_meanwhile": n_fits,
        "passed": wrong == 0,
    }
    print(line, flush=True)
    return line
