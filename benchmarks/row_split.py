"""Flows whose dense layers are split by rows over processes: what is equal, and what is large.

- `equality`: fits by 2 and 4 processes beside the fit by one, in float64: the largest difference
  of weights, log-determinants, scores and losses, and the bytes that a step brings each process
  beside those of the formula.
- `large`: a fit with 30,000 columns and two dense layers by 2 processes, in float32: the memory
  of each process at its highest, above that of its imports, beside its share of the parameters;
  seconds and bytes per step; log-likelihoods. It takes twice 3.8 GB. With `--most-features` of up
  to 8,192, also by how much the tracked log-determinant is off, and what samples take.

Processes are started here, one thread each, and speak by gloo.

    python benchmarks/row_split.py equality
    python benchmarks/row_split.py large
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _common import RESULTS, write_csv
from _processes import environment, free_port

from skflow import RelativeGradientFlow
from skflow.distributed import row_split
from skflow.distributed.split_traffic import received_per_split_step
from skflow.exceptions import ColumnWarning
from skflow.flow.relative import RelativeLayer
from skflow.training.exchange import current_exchange
from skflow.training.steps import Steps

EQUALITY_FEATURES, EQUALITY_ROWS, EQUALITY_BATCH = 300, 320, 32
LARGE_FEATURES, LARGE_ROWS, LARGE_BATCH, LARGE_EPOCHS = 30_000, 128, 32, 3
N_FACTORS = 20

# Of so few rows, the default would learn what is noise.
LARGE_RATE = 0.002

MOST_SAMPLED = 8192
MEGABYTE = 1e6
FITS = {
    f"{optimizer}, {activation}{', weighted' * weighted}": (optimizer, activation, weighted)
    for optimizer in ("sgd", "relative", "adam")
    for activation, weighted in (("spline", False), ("leaky_tanh", True))
}


def factor_data(n_rows, n_features, dtype):
    """Return rows of a few skewed factors and noise."""
    rng = np.random.default_rng(0)
    loadings = rng.standard_normal((N_FACTORS, n_features), dtype=np.float32)
    factors = rng.gamma(2.0, size=(n_rows, N_FACTORS)).astype(np.float32)
    noise = rng.standard_normal((n_rows, n_features), dtype=np.float32)
    return (factors @ loadings + noise).astype(dtype, copy=False)


def memory(name):
    """Return the resident size of this process in megabytes: now, or at its highest."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / MEGABYTE
    raise RuntimeError(f"This system does not tell {name}.")


def n_received():
    group = getattr(current_exchange(), "group", None)
    return 0.0 if group is None else group.n_received


class Watch:
    """The seconds of each step, and the bytes from each step to the next."""

    def __init__(self):
        self.seconds, self.received = [], []
        original, watch = Steps.take, self

        def take(steps, *arguments, **options):
            watch.received.append(n_received())
            before = time.perf_counter()
            taken = original(steps, *arguments, **options)
            watch.seconds.append(time.perf_counter() - before)
            return taken

        Steps.take = take

    @property
    def bytes_per_step(self):
        return float(np.median(np.diff(self.received)))


def whole_weights(flow):
    """Return the weights of all dense layers, on all processes."""
    weights = []
    for layer in (m for m in flow.modules() if isinstance(m, RelativeLayer)):
        weight = layer.weight.detach()
        if hasattr(layer, "columns"):
            weight = layer.columns.gather(weight.mT).mT
        weights.append(weight.reshape(-1))
    return torch.cat(weights).numpy()


def fit_equal(name, d):
    optimizer, activation, weighted = FITS[name]
    X = factor_data(EQUALITY_ROWS, d, np.float64)
    weights = np.random.default_rng(1).gamma(2.0, size=len(X)) if weighted else None
    flow = RelativeGradientFlow(
        2,
        activation=activation,
        coupling=None,
        optimizer=optimizer,
        batch_size=EQUALITY_BATCH,
        early_stopping=False,
        max_iter=2,
        dtype="float64",
        random_state=0,
    )
    flow.fit(X, sample_weight=weights)
    return {
        "weights": whole_weights(flow.flow_),
        "log_determinant": np.array([flow.log_det_]),
        "scores": flow.score_samples(X),
        "losses": np.array(flow.loss_curve_),
    }


def equal_as_rank(d):
    watch, results = Watch(), {}
    for name in FITS:
        watch.received.clear()
        results[name] = fit_equal(name, d) | {"bytes": watch.bytes_per_step}
    return results


def large_as_rank(d, n_rows, batch, epochs):
    """Return what a fit to many columns takes in this process, and what comes of it."""
    RelativeGradientFlow(2, coupling=None, max_iter=1, batch_size=16).fit(
        factor_data(60, 64, np.float32)  # what is only loaded at its first use
    )
    X = factor_data(n_rows + batch, d, np.float32)
    X, held_out = X[:n_rows], X[n_rows:]
    before, watch = memory("VmRSS"), Watch()
    started = time.perf_counter()
    flow = RelativeGradientFlow(
        2,
        coupling=None,
        batch_size=batch,
        learning_rate=LARGE_RATE,
        max_iter=epochs,
        early_stopping=False,
        random_state=0,
    ).fit(X)
    seconds = time.perf_counter() - started
    peak = memory("VmHWM")
    share = sum(p.nbytes for p in flow.flow_.parameters()) / MEGABYTE
    scores = flow.score_samples(held_out)
    return {
        "share_mb": round(share, 1),
        "imports_mb": round(before, 1),
        "peak_mb": round(peak - before, 1),
        "peak_over_share": round((peak - before) / share, 3),
        "peak_with_imports_over_share": round(peak / share, 3),
        "peak_mb_after_scores": round(memory("VmHWM") - before, 1),
        "n_steps": len(watch.seconds),
        "seconds_per_step": round(float(np.median(watch.seconds[1:])), 2),
        "seconds_of_fit": round(seconds, 1),
        "bytes_per_step": watch.bytes_per_step,
        "first_log_likelihood": round(-flow.loss_curve_[0], 2),
        "last_log_likelihood": round(-flow.loss_curve_[-1], 2),
        "held_out_log_likelihood": round(float(scores.mean()), 2),
        "log_det": round(flow.log_det_, 4),
        "log_det_drift": flow.log_det_drift_,
        **(sampling(flow) if d <= MOST_SAMPLED else {}),
    }


def sampling(flow):
    """Return what samples take, and what their inverses miss."""
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        flow.sample(10, random_state=0)
        seconds.append(round(time.perf_counter() - started, 2))
    residual = max(layer.residual for layer in flow.flow_.relative_layers)
    return {
        "seconds_of_first_samples": seconds[0],
        "seconds_of_next_samples": seconds[1],
        "largest_residual": f"{residual:.1e}",
    }


def as_rank(request, path):
    """Do what a process of a group was started for."""
    torch.set_num_threads(1)
    work = {"equality": equal_as_rank, "large": large_as_rank}[request.pop("work")]
    with warnings.catch_warnings(), row_split():
        warnings.simplefilter("ignore", ColumnWarning)
        torch.save(work(**request), f"{path}.{os.environ['RANK']}")


def by_processes(n_ranks, folder, **request):
    """Return what each of a group of processes did."""
    port, path = free_port(), folder / f"row_split_{os.getpid()}"
    command = [sys.executable, __file__, "--as-rank", json.dumps(request), str(path)]
    processes = [
        subprocess.Popen(command, env=environment(n_ranks, rank, port)) for rank in range(n_ranks)
    ]
    if any([process.wait() for process in processes]):
        raise RuntimeError("A process failed.")
    results = []
    for rank in range(n_ranks):
        results.append(torch.load(f"{path}.{rank}", weights_only=False))
        Path(f"{path}.{rank}").unlink()
    return results


def measure_equality(arguments):
    d = min(EQUALITY_FEATURES, arguments.most_features)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ColumnWarning)
        alone = {name: fit_equal(name, d) for name in FITS}
    rows = []
    for n_ranks in (2, 4):
        found = by_processes(n_ranks, arguments.folder, work="equality", d=d)
        for name, expected in alone.items():
            row = {"fit": name, "n_ranks": n_ranks, "n_features": d, "n_rows": EQUALITY_BATCH}
            for what, values in expected.items():
                difference = max(np.abs(one[name][what] - values).max() for one in found)
                row[f"largest_difference_of_{what}"] = f"{difference:.1e}"
            row["bytes_per_step"] = found[0][name]["bytes"]
            row["bytes_by_formula"] = received_per_split_step(
                EQUALITY_BATCH,
                d,
                n_layers=2,
                n_ranks=n_ranks,
                is_first="spline" not in name,
                itemsize=8,
            )
            rows.append(row)
            print(row, flush=True)
    write_csv(RESULTS / "row_split_equality.csv", rows)


def measure_large(arguments):
    d, n_ranks = min(LARGE_FEATURES, arguments.most_features), arguments.n_ranks
    request = {"d": d, "n_rows": LARGE_ROWS, "batch": LARGE_BATCH, "epochs": LARGE_EPOCHS}
    found = by_processes(n_ranks, arguments.folder, work="large", **request)
    expected = received_per_split_step(LARGE_BATCH, d, n_layers=2, n_ranks=n_ranks)
    sizes = {"n_features": d, "n_layers": 2, "n_rows": LARGE_BATCH, "n_ranks": n_ranks}
    rows = [
        sizes | {"rank": rank} | one | {"bytes_by_formula": expected}
        for rank, one in enumerate(found)
    ]
    for row in rows:
        print(row, flush=True)
    name = "row_split_large" if d == LARGE_FEATURES else f"row_split_large_{d}"
    write_csv(RESULTS / f"{name}.csv", rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measure", choices=("equality", "large"))
    parser.add_argument("--most-features", type=int, default=LARGE_FEATURES)
    parser.add_argument("--n-ranks", type=int, default=2, help="of the large fit")
    parser.add_argument("--folder", type=Path, default=Path("."), help="for files on the way")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    {"equality": measure_equality, "large": measure_large}[arguments.measure](arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-rank"]:
        as_rank(json.loads(sys.argv[2]), sys.argv[3])
    else:
        main()
