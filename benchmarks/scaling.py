"""What a step of training costs on many processes: measured here, and modelled for many GPUs.

The model counts operations, bytes of memory and bytes of messages. It is checked against steps
on one, two and four processes of this machine. The GPUs are those of NVIDIA's data sheet of the
H100 SXM, at half their float32 operations, with a network of 400 Gbit/s for each.

    python benchmarks/scaling.py measured
    python benchmarks/scaling.py modelled
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
from _common import RESULTS, STATIC, write_csv
from _scaling.local import measured
from _scaling.model import METHODS, Machine, Step, cost

# The first of each pair of sizes exchanges factors, and the second one sums.
MEASURED = [(64, 2000), (1024, 512)]
RANKS_HERE = (1, 2, 4)
N_LAYERS = 2

GPU = Machine(flops=0.5 * 67e12, memory_rate=3.35e12, network_rate=50e9, latency=5e-6)
GPU_BYTES = 80e9
N_ROWS = 1024
MODELLED = (10_000, 30_000, 100_000, 300_000, 1_000_000)
RANKS = (8, 64, 1024)
DRAWN_RANKS = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["measured", "modelled"])
    parser.add_argument("--steps", type=int, default=20, help="that are timed")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV file")
    arguments = parser.parse_args()
    if arguments.what == "measured":
        rows = []
        for n_rows, n_features in MEASURED:
            for n_ranks in RANKS_HERE:
                step = Step(n_rows, n_features, N_LAYERS, n_ranks)
                rows.append(measured(step, arguments.steps))
                print(rows[-1], flush=True)
        write_csv(arguments.results / "scaling_measured.csv", rows)
        return
    rows = [
        modelled(method, Step(N_ROWS, n_features, N_LAYERS, n_ranks))
        for n_ranks in RANKS
        for n_features in MODELLED
        for method in METHODS
    ]
    write_csv(arguments.results / "scaling_modelled.csv", rows)
    draw(rows)


def modelled(method, step):
    """Return a row of the table of steps on many GPUs."""
    counted = cost(method, step)
    return {
        "method": method,
        "n_ranks": step.n_ranks,
        "n_features": step.n_features,
        "seconds": f"{counted.seconds(GPU):.3g}",
        "petaflops": f"{counted.flops / 1e15:.3g}",
        "received_gb": f"{counted.received / 1e9:.3g}",
        "weights_gb": f"{counted.memory / 1e9:.3g}",
        "fits": int(counted.memory <= GPU_BYTES),
    }


def draw(rows):
    """Draw the seconds of a step against the columns, where the weights fit."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for method in METHODS:
        own = [r for r in rows if r["method"] == method and r["n_ranks"] == DRAWN_RANKS]
        for fits, style in ((1, "-o"), (0, ":")):
            some = [row for row in own if row["fits"] == fits]
            if fits == 0 and some and len(some) < len(own):  # from the last that fits on
                some = [own[own.index(some[0]) - 1], *some]
            x, y = ([float(row[name]) for row in some] for name in ("n_features", "seconds"))
            label = method if fits == 1 else None
            color = f"C{list(METHODS).index(method)}"
            axes.loglog(x, y, style, color=color, label=label)
    axes.set_xlabel("columns")
    axes.set_ylabel(f"seconds of a step of {N_ROWS} rows")
    axes.set_title(f"Modelled for {DRAWN_RANKS} GPUs; dotted where weights exceed 80 GB")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(STATIC / "scaling.png", dpi=150)


if __name__ == "__main__":
    main()
