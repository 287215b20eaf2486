"""The default before and after a change: a step, a fit, and what a fitted model does.

Both versions are installed from their sources, the one before from a commit, and asked in turns.

- `steps`: the processor time of a training step of the default flow on 256 rows, and how many
  operators of PyTorch it calls. Beside it stand the floor, steps of zuko's NSF and MAF, and of
  nflows' rational-quadratic splines, with as many transforms, hidden units and bins. The floor is
  the matrix products of the step by PyTorch, and an exponential for each number of a spline's
  table.
- `fits`: the default fit of 13 tables from `--data-dir`: seconds, and held-out nats.
- `rates`: rows per second of `score_samples`, `sample`, `transform` and `inverse_transform`.

With `--after-only`, the version before is left out, and the file is another one.

    python benchmarks/default_speed.py --data-dir DIR
    python benchmarks/default_speed.py --data-dir DIR --only fits --seeds 0 1 2 3 4 --after-only
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _common import RESULTS, write_csv
from _data import load_table
from _rivals import Peer
from _timing import time_thread
from _versions import ROOT, Version, checked_out
from nflows.distributions import StandardNormal
from nflows.flows import Flow as NflowsFlow
from nflows.nn.nets import ResidualNet
from nflows.transforms import (
    CompositeTransform,
    PiecewiseRationalQuadraticCouplingTransform,
    RandomPermutation,
)
from zuko.flows import MAF, NSF

# The commit before the kernels.
BEFORE = "0199ca0"
WORKER = Path(__file__).with_name("_default_worker.py")

STEP_FEATURES = (2, 4, 10, 30, 64, 166)
RATE_FEATURES = (2, 8, 64, 300)
TABLES = (
    "annthyroid",
    "cover",
    "ionosphere",
    "landsat",
    "magic_gamma",
    "musk",
    "optdigits",
    "pageblocks",
    "pendigits",
    "spambase",
    "vowels",
    "waveform",
    "wilt",
)
N_ROWS, N_TRANSFORMS, N_HIDDEN, N_BINS, BOX = 256, 5, 64, 4, 5.0
N_CALLS, N_TURNS = 10, 5


def floor(n_features):
    """Return a function that does the arithmetic of a default step, by large operations."""
    coupled = n_features - n_features // 2
    n_layers, n_hidden = (6, 64) if n_features <= 32 else (3, 32)
    sizes = (n_features // 2, n_hidden, n_hidden, coupled * (3 * N_BINS + 1))
    shapes = [(sizes[k], sizes[k + 1]) for k in range(3)] * (n_layers - 1)
    shapes += [(n_features, n_features)] * n_layers
    products = [
        (torch.randn(N_ROWS, n), torch.randn(n, m), torch.randn(N_ROWS, m)) for n, m in shapes
    ]
    tables = torch.randn(n_layers - 1, N_ROWS * coupled * 2 * N_BINS)

    def step():
        for x, weight, y in products:
            torch.mm(x, weight)
            torch.mm(y, weight.T)
            torch.mm(x.T, y)
        for table in tables:
            table.exp()

    return step


def rivals(n_features):
    """Return functions that take a step of another library's flow of equal shape."""
    shape = {"transforms": N_TRANSFORMS, "hidden_features": [N_HIDDEN] * 2}
    nsf, maf = NSF(n_features, bins=N_BINS, **shape), MAF(n_features, **shape)
    splines = nflows_splines(n_features)
    peers = {
        "zuko NSF": Peer(nsf, lambda x: nsf().log_prob(x)),
        "zuko MAF": Peer(maf, lambda x: maf().log_prob(x)),
        "nflows RQ-NSF": Peer(splines, splines.log_prob),
    }
    x = torch.randn(N_ROWS, n_features)
    return {name: partial(peer.step, x) for name, peer in peers.items()}


def nflows_splines(n_features):
    def conditioner(n_in, n_out):
        return ResidualNet(n_in, n_out, hidden_features=N_HIDDEN, num_blocks=1)

    transforms = []
    for k in range(N_TRANSFORMS):
        mask = (torch.arange(n_features) + k) % 2
        spline = PiecewiseRationalQuadraticCouplingTransform(
            mask, conditioner, num_bins=N_BINS, tails="linear", tail_bound=BOX
        )
        transforms += [spline, RandomPermutation(n_features)]
    return NflowsFlow(CompositeTransform(transforms), StandardNormal([n_features]))


def measure_steps(versions, arguments):
    rows = []
    for d in STEP_FEATURES:
        turns = [
            {name: version.ask(kind="step", n_features=d) for name, version in versions.items()}
            for _ in range(arguments.turns)
        ]
        found = {
            name: {
                what: float(np.median([turn[name][what] for turn in turns]))
                for what in ("milliseconds", "calls")
            }
            for name in versions
        }
        found["floor"] = {"milliseconds": time_thread(floor(d), N_CALLS, N_TURNS), "calls": ""}
        for name, step in rivals(d).items():
            found[name] = {"milliseconds": time_thread(step, N_CALLS, N_TURNS), "calls": ""}
        for name, figures in found.items():
            rows.append(
                {
                    "n_features": d,
                    "contender": name,
                    "milliseconds": round(figures["milliseconds"], 3),
                    "over_after": round(
                        figures["milliseconds"] / found["after"]["milliseconds"], 2
                    ),
                    "calls": figures["calls"],
                }
            )
            print("  {n_features:4} {contender:14}{milliseconds:9} ms".format(**rows[-1]))
    write_csv(RESULTS / "default_steps.csv", rows)


def measure_fits(versions, arguments):
    rows = []
    with tempfile.TemporaryDirectory() as room:
        for table in TABLES:
            train, validation, test = load_table(arguments.data_dir, table)
            path = Path(room) / f"{table}.npz"
            np.savez(path, train=np.concatenate([train, validation]), test=test)
            for seed in arguments.seeds:
                for name, version in versions.items():
                    answer = version.ask(kind="fit", path=str(path), seed=seed)
                    rows.append(
                        {
                            "table": table,
                            "n_rows": len(train) + len(validation),
                            "n_features": train.shape[1],
                            "seed": seed,
                            "version": name,
                            "seconds": round(answer["seconds"], 2),
                            "processor_seconds": round(answer["processor"], 2),
                            "nats": round(answer["nats"], 4),
                        }
                    )
                    print(
                        "  {table:12} seed {seed}  {version:7}{seconds:8} s{nats:11} nats".format(
                            **rows[-1]
                        ),
                        flush=True,
                    )
    suffix = "_seeds" if arguments.after_only else ""
    write_csv(RESULTS / f"default_fits{suffix}.csv", rows)


def measure_rates(versions, arguments):
    rows = []
    for d in RATE_FEATURES:
        for dtype in ("float32", "float64"):
            found = {
                name: version.ask(kind="rates", n_features=d, dtype=dtype)
                for name, version in versions.items()
            }
            for method in found["after"]:
                before, after = (found.get(name, {}).get(method) for name in ("before", "after"))
                rows.append(
                    {
                        "n_features": d,
                        "dtype": dtype,
                        "method": method,
                        "before_rows_per_second": f"{before:.4g}" if before else "",
                        "after_rows_per_second": f"{after:.4g}",
                        "speed_up": round(after / before, 2) if before else "",
                    }
                )
                print(
                    "  {n_features:4} {dtype} {method:18}{after_rows_per_second:>10} rows/s, "
                    "{speed_up} times".format(**rows[-1]),
                    flush=True,
                )
    write_csv(RESULTS / "default_rates.csv", rows)


PARTS = {"steps": measure_steps, "rates": measure_rates, "fits": measure_fits}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", required=True, help="where the benchmarks' data are")
    parser.add_argument("--before", default=BEFORE, help="the commit to compare with")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--after-only", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as room:
        versions = {"after": Version(ROOT, WORKER, arguments.threads)}
        if not arguments.after_only:
            source = checked_out(arguments.before, room)
            versions = {"before": Version(source, WORKER, arguments.threads)} | versions
        try:
            for name in arguments.only:
                print(f"\n{name}", flush=True)
                PARTS[name](versions, arguments)
        finally:
            for version in versions.values():
                version.close()


if __name__ == "__main__":
    main()
