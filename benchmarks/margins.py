"""One column: the fifteen mixtures of Marron and Wand, beside estimators made for one column.

Each estimator is fitted to rows of each density; the seed determines the rows and the fit.
Measured is the Kullback-Leibler divergence from the truth, in nats: the integral of the true
density times the difference of the logarithms. It is taken over midpoints from -8 to 8 that lie
0.0005 apart, a twentieth of the narrowest part; what lies outside is less than 1e-14 of the mass.
A fitted log-density is taken to be no less than -100: so a density that is zero somewhere costs
much, but not all. `floored` is the true mass where it was, and `mass` is the integral of the
fitted density over the same points.

- skflow: its defaults.
- Sheather-Jones: kernels with the improved plug-in bandwidth of KDEpy, in the units of the rows.
  "Sheather-Jones, KDEpy" is the same as KDEpy returns it, which is smaller.
- KernelDensity: the bandwidth of the highest leave-one-out likelihood.
- GaussianMixture: up to 30 components, by the BIC.

A row is written to a CSV file as soon as it is measured, and a command that is called again does
not repeat what is there. The peers need `pip install KDEpy`.

    python benchmarks/margins.py
    python benchmarks/margins.py --sizes 100 --seeds 0 --only KernelDensity
"""

import argparse
import zlib
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _common import RESULTS
from _likelihood.contenders import MARGIN_CONTENDERS
from _likelihood.measure import FIELDS
from _likelihood.rows import Rows
from _likelihood.tables import run
from _likelihood.task import LEADER
from threadpoolctl import threadpool_limits

from skflow.datasets import marron_wand

NAMES = (
    *("Gaussian", "skewed unimodal", "strongly skewed", "kurtotic unimodal", "outlier"),
    *("bimodal", "separated bimodal", "skewed bimodal", "trimodal", "claw", "double claw"),
    *("asymmetric claw", "asymmetric double claw", "smooth comb", "discrete comb"),
)
DENSITIES = {name: marron_wand(number) for number, name in enumerate(NAMES, 1)}
SIZES, N_SEEDS, N_TEST = (100, 1000, 10_000), 5, 10_000
REACH, SPACING, FLOOR = 8.0, 0.0005, -100.0
JUDGED = ("divergence", "floored", "mass")


def data_name(name, n_rows):
    return f"{name}, {n_rows} rows"


def load(name, n_rows, seed):
    """Return rows to fit, none to validate on, and others to score."""
    density = DENSITIES[name]
    stream = zlib.crc32(f"{name} {n_rows} {seed}".encode()) % 2**31
    train = density.sample(n_rows, random_state=stream)
    return train, train[:0], density.sample(N_TEST, random_state=stream + 1)


def divergence(density, score_samples):
    """Return the Kullback-Leibler divergence of a fitted density from the true one.

    Parameters
    ----------
    density : KnownDensity of one column
    score_samples : callable
        The fitted log-density.

    Returns
    -------
    measured : dict of str to float
        By the names of `JUDGED`.
    """
    n = round(2 * REACH / SPACING)
    x = REACH * ((2 * np.arange(n) + 1) / n - 1)[:, None]
    truth, fitted = density.score_samples(x), np.asarray(score_samples(x), float)
    probability = np.exp(truth) * SPACING
    low = ~(fitted > FLOOR)
    gaps = truth - np.where(low, FLOOR, fitted)
    return {
        "divergence": round(float(probability @ gaps), 6),
        "floored": float(f"{probability[low].sum():.2g}"),
        "mass": round(float(np.exp(fitted).sum() * SPACING), 6),
    }


def judge(data, fitted):
    name = data.partition(",")[0]
    return divergence(DENSITIES[name], fitted.score_samples)


def divergences(rows, n_rows):
    """Return the mean over the seeds of each density and contender; a failed fit's is infinite."""
    found = defaultdict(lambda: defaultdict(list))
    names = {data_name(name, n_rows): name for name in DENSITIES}
    for row in rows:
        if row["data"] in names:
            value = float(row["divergence"] or np.inf)
            found[names[row["data"]]][row["estimator"]].append(value)
    return {
        name: {estimator: np.mean(values) for estimator, values in of_density.items()}
        for name, of_density in found.items()
    }


def summarize(rows, sizes):
    """Print the mean divergences, their means over the densities, and how often ours is least."""
    for n_rows in sizes:
        found = divergences(rows, n_rows)
        estimators = list(dict.fromkeys(key for means in found.values() for key in means))
        print(f"\n{n_rows} rows: mean divergence in nats, over the seeds")
        print(f"{'':24}" + "".join(f"{estimator:>23}" for estimator in estimators))
        for name, means in found.items():
            cells = [f"{means[key]:.4f}" if key in means else "" for key in estimators]
            print(f"{name:24}" + "".join(f"{cell:>23}" for cell in cells))
        full = [means for means in found.values() if set(means) == set(estimators)]
        if not full:
            continue
        cells = [f"{np.mean([means[key] for means in full]):.4f}" for key in estimators]
        print(f"{f'mean of {len(full)}':24}" + "".join(f"{cell:>23}" for cell in cells))
        least = sum(min(means, key=means.get) == LEADER for means in full)
        print(f"{LEADER} is least on {least} of {len(full)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV file")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows to fit")
    parser.add_argument("--seeds", type=int, nargs="+", default=range(N_SEEDS))
    parser.add_argument("--densities", nargs="+", choices=DENSITIES, default=list(DENSITIES))
    parser.add_argument("--only", nargs="+", choices=MARGIN_CONTENDERS, default=MARGIN_CONTENDERS)
    parser.add_argument("--summary", action="store_true", help="print what there is, and end")
    arguments = parser.parse_args()
    path = arguments.results / "margins.csv"
    if not arguments.summary:
        contenders = {name: MARGIN_CONTENDERS[name] for name in arguments.only}
        torch.set_num_threads(1)
        with threadpool_limits(1):
            for seed in arguments.seeds:
                loaders = {
                    data_name(name, n_rows): partial(load, name, n_rows, seed)
                    for n_rows in arguments.sizes
                    for name in arguments.densities
                }
                run(
                    path,
                    loaders,
                    contenders,
                    seeds=(seed,),
                    n_threads=1,
                    judged=JUDGED,
                    judge=judge,
                )
    summarize(Rows(path, (*FIELDS, *JUDGED)).rows, arguments.sizes)


if __name__ == "__main__":
    main()
