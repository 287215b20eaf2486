"""The paper's toy densities, beside the truth: with the paper's settings and with our own.

The paper's (table 2 of the appendix): 100 layers, smooth leaky ReLU with alpha 0.3, Adam, batches
of 100 out of 5,000 rows, a learning rate for each density. It trains for 1,300 to 4,000 epochs;
here `--epochs` says for how many, and the learning rate is annealed over them. Our own: fewer
layers with a gentler bend, and the optimiser that is the default. Measured are

- held-out log-likelihood, beside that of the density that the rows come from;
- the integral of the fitted density over a fine grid that reaches well beyond the data;
- the energy distance of samples to held-out rows, beside those of samples of a fitted Gaussian
  and of the true density. The last is what chance alone leaves.

    python benchmarks/toys.py
"""

import argparse
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
from _common import RESULTS, STATIC, StandardizedDensity, write_csv
from scipy.spatial.distance import cdist
from sklearn.mixture import GaussianMixture

from skflow import RelativeGradientFlow, SmoothLeakyReLU
from skflow.datasets import gaussian_ring, half_moons, sine

N_TRAIN, N_TEST = 5000, 5000
OWN_EPOCHS = 300
GRIDS = {"integral": 1200, "picture": 300}  # points along an axis

# name: density, learning rate of table 2
TOYS = {
    "half moons": (half_moons(), 0.001),
    "sine": (sine(), 0.005),
    "mixture of Gaussians": (gaussian_ring(), 0.001),
}
SETTINGS = ("paper", "own")


def make_flow(settings, learning_rate, epochs, seed):
    if settings == "paper":
        return RelativeGradientFlow(
            n_layers=100,
            activation=SmoothLeakyReLU(alpha=0.3),
            optimizer="adam",
            learning_rate=learning_rate,
            batch_size=100,
            max_iter=epochs,
            early_stopping=False,
            random_state=seed,
        )
    return RelativeGradientFlow(
        n_layers=60,
        activation=SmoothLeakyReLU(alpha=0.5),
        batch_size=250,
        max_iter=OWN_EPOCHS,
        early_stopping=False,
        random_state=seed,
    )


def energy_distance(A, B):
    r"""Return :math:`2 E|a - b| - E|a - a'| - E|b - b'|`, estimated without bias."""
    within = sum(cdist(Z, Z).sum() / (len(Z) * (len(Z) - 1)) for Z in (A, B))
    return 2 * cdist(A, B).mean() - within


def grid(rows, margin, n):
    """Return `n` × `n` midpoints of a box around `rows`, and the area that each stands for."""
    low, high = rows.min(0), rows.max(0)
    low, high = low - margin * (high - low), high + margin * (high - low)
    axes = low[:, None] + (high - low)[:, None] * (np.arange(n) + 0.5) / n
    points = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    return points, np.prod((high - low) / n)


def integral(flow, rows, *, margin=1.0):
    n = GRIDS["integral"]
    points, area = grid(rows, margin, n)
    return sum(
        float(np.exp(flow.score_samples(block)).sum()) * area
        for block in np.array_split(points, n // 10)
    )


def measure(name, settings, epochs, seed):
    density, learning_rate = TOYS[name]
    train = density.sample(N_TRAIN, random_state=2 * seed)
    test = density.sample(N_TEST, random_state=2 * seed + 1)
    flow = make_flow(settings, learning_rate, epochs, seed)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flow.fit(train)
    seconds = time.perf_counter() - started
    gaussian = StandardizedDensity(GaussianMixture(1, random_state=seed)).fit(train)
    rows = {
        "data": name,
        "settings": settings,
        "seed": seed,
        "epochs": flow.n_iter_,
        "nats_flow": flow.score(test),
        "nats_gaussian": gaussian.score(test),
        "nats_truth": density.score(test),
        "integral": integral(flow, train),
        "energy_flow": energy_distance(flow.sample(N_TEST, random_state=seed), test),
        "energy_gaussian": energy_distance(gaussian.sample(N_TEST), test),
        "energy_truth": energy_distance(density.sample(N_TEST, random_state=seed + 100), test),
        "non_finite_steps": len(caught),
        "seconds": round(seconds, 1),
    }
    return flow, {k: round(v, 6) if isinstance(v, float) else v for k, v in rows.items()}


def draw(flows, path):
    dark, light, n = plt.get_cmap("magma")(0.0), "#fcf3d0", GRIDS["picture"]
    data = {name: TOYS[name][0].sample(N_TRAIN, random_state=1) for name in TOYS}
    heights = [np.ptp(rows[:, 1]) / np.ptp(rows[:, 0]) for rows in data.values()]
    figure, axes = plt.subplots(
        len(TOYS),
        4,
        figsize=(10, 2.6 * sum(heights)),
        height_ratios=heights,
        layout="constrained",
    )
    for row, (name, (density, _)) in zip(axes, TOYS.items(), strict=True):
        points, _ = grid(data[name], 0.05, n)
        extent = [points[0, 0], points[-1, 0], points[0, 1], points[-1, 1]]
        truth = np.exp(density.score_samples(points))
        for ax, values in zip(
            row,
            [truth, *(np.exp(flows[name, s].score_samples(points)) for s in SETTINGS)],
            strict=False,
        ):
            ax.imshow(
                values.reshape(n, n),
                origin="lower",
                extent=extent,
                cmap="magma",
                vmin=0,
                vmax=truth.max(),
            )
        drawn = flows[name, "own"].sample(N_TRAIN, random_state=0)
        row[3].scatter(*drawn.T, s=1.2, color=light, alpha=0.5, linewidths=0)
        for ax in row:
            ax.set(xlim=extent[:2], ylim=extent[2:], aspect="equal", xticks=[], yticks=[])
            ax.set_facecolor(dark)
            ax.spines[:].set_visible(False)
        row[0].set_ylabel(name)
    titles = ["true density", "the paper's settings", "our settings", "samples, our settings"]
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=600, help="with the paper's settings")
    parser.add_argument("--seed", type=int, default=0, help="of the data and of the fits")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # matrices of two columns are not worth a second thread
    rows, flows = [], {}
    for name in TOYS:
        for settings in SETTINGS:
            print(f"{name}, {settings} settings", flush=True)
            flow, row = measure(name, settings, arguments.epochs, arguments.seed)
            flows[name, settings] = flow
            rows.append(row)
            for key in list(row)[3:]:
                print(f"  {key:20}{row[key]:>16}", flush=True)
    write_csv(RESULTS / "toys.csv", rows)
    draw(flows, STATIC / "paper_toys.png")


if __name__ == "__main__":
    main()
