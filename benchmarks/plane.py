"""Densities in the plane that are known: the default beside mixtures, kernels and flows.

Ten densities: rows are drawn from each, and 10,000 others are scored. Mixtures have as many
components as the BIC or as held-out rows ask for, kernels the bandwidth of the highest
leave-one-out likelihood, and flows of zuko the seconds that the default took on the same rows.

    python benchmarks/plane.py
    python benchmarks/plane.py --sizes 500 --seeds 0 --only skflow KernelDensity
"""

import argparse
import zlib
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from _common import RESULTS, STATIC
from _likelihood.contenders import PLANE_CONTENDERS
from _likelihood.tables import run
from _likelihood.task import LEADER

from skflow import RelativeGradientFlow
from skflow.datasets import (
    Checkerboard,
    Pinwheel,
    gaussian_grid,
    gaussian_ring,
    half_moons,
    rings,
    sine,
    two_spirals,
)

DENSITIES = {
    "narrow moons": half_moons(noise=0.05),
    "rings": rings(),
    "checkerboard": Checkerboard(),
    "eight Gaussians": gaussian_ring(noise=0.3),
    "pinwheel": Pinwheel(),
    "two spirals": two_spirals(),
    "half moons": half_moons(),
    "sine": sine(),
    "25 Gaussians": gaussian_grid(),
    "blurred spirals": two_spirals(noise=0.3),
}
SIZES = (500, 5000, 50_000)
N_TEST = 10_000
PICTURE = {"rows": 5000, "points": 200}


def load(name, n_rows):
    """Return rows to train on, a tenth of them to validate on, and others to test on."""
    density, seed = DENSITIES[name], zlib.crc32(f"{name} {n_rows}".encode()) % 2**31
    X = density.sample(n_rows, random_state=seed)
    test = density.sample(N_TEST, random_state=seed + 1)
    return X[n_rows // 10 :], X[: n_rows // 10], test


def data_name(name, n_rows):
    return f"{name}, {n_rows} rows"


def summarize(table, sizes):
    """Print the mean over the seeds of each contender, beside the truth."""
    for n_rows in sizes:
        print(f"\n{n_rows} rows to fit: mean log-density in nats, and that of the truth")
        for name, density in DENSITIES.items():
            nats = {}
            for row in table.rows:
                if row["data"] == data_name(name, n_rows) and row["status"] == "ok":
                    nats.setdefault(row["estimator"], []).append(float(row["test_nats"]))
            truth = density.score(load(name, n_rows)[2])
            shown = "  ".join(f"{key} {np.mean(values):.3f}" for key, values in nats.items())
            print(f"{name:16}{shown}  truth {truth:.3f}")


def draw(path):
    """Draw data, samples, the fitted density and the true one, of every density in a row."""
    figure, axes = plt.subplots(
        len(DENSITIES), 4, figsize=(8, 2 * len(DENSITIES)), layout="constrained"
    )
    for row, (name, density) in zip(axes, DENSITIES.items(), strict=True):
        X = density.sample(PICTURE["rows"], random_state=0)
        flow = RelativeGradientFlow(random_state=0).fit(X)
        low, high = X.min(0) - 0.2, X.max(0) + 0.2
        sides = [np.linspace(*ends, PICTURE["points"]) for ends in zip(low, high, strict=True)]
        points = np.stack(np.meshgrid(*sides), -1).reshape(-1, 2)
        truth, fitted = (np.exp(model.score_samples(points)) for model in (density, flow))
        # A density may have poles, beside which nothing else would be seen.
        highest = np.quantile(truth[truth > 0], 0.99)
        for ax, values in zip(row[2:], (fitted, truth), strict=True):
            image = values.reshape(len(sides[1]), len(sides[0]))
            extent = [low[0], high[0], low[1], high[1]]
            ax.imshow(image, origin="lower", extent=extent, cmap="magma", vmin=0, vmax=highest)
        for ax, rows in zip(row, (X, flow.sample(len(X), random_state=0)), strict=False):
            ax.scatter(*rows.T, s=0.3, color="black", linewidths=0)
        for ax in row:
            ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[])
        row[0].set_ylabel(name)
    for ax, title in zip(axes[0], ("data", "samples", "density", "truth"), strict=True):
        ax.set_title(title)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows to fit")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--only", nargs="+", choices=PLANE_CONTENDERS, default=PLANE_CONTENDERS)
    parser.add_argument("--figure", action="store_true", help="draw all densities, and end")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.figure:
        draw(STATIC / "plane.png")
        return
    # The default goes first, whose seconds are those of the others.
    contenders = {
        name: PLANE_CONTENDERS[name] for name in PLANE_CONTENDERS if name in arguments.only
    }
    contenders = {LEADER: PLANE_CONTENDERS[LEADER]} | contenders
    loaders = {
        data_name(name, n_rows): partial(load, name, n_rows)
        for n_rows in arguments.sizes
        for name in DENSITIES
    }
    table = run(
        RESULTS / "plane.csv", loaders, contenders, seeds=tuple(arguments.seeds), n_threads=1
    )
    summarize(table, arguments.sizes)


if __name__ == "__main__":
    main()
