"""Held-out log-likelihood on scikit-learn's bundled data, beside a full-covariance Gaussian.

Each data set is split 80/20 once for each seed; the seed also determines the fit. The flow has
its defaults but for how the first layer starts. It holds out a tenth of its training rows to
decide when to stop; the Gaussian is fitted to all of them. It is fitted twice: to the columns as
they are, and to standardised ones, where the same `reg_covar` means the same for each. Digits
are dequantised with uniform noise, once for each seed. All figures are nats per row in the units
of the data.

    python benchmarks/held_out.py
"""

import argparse
import time
import warnings
from functools import partial

import numpy as np
import torch
from _common import RESULTS, StandardizedDensity, write_csv
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split

from skflow import RelativeGradientFlow, default_bijections

LOADERS = {
    "digits": load_digits,
    "breast cancer": load_breast_cancer,
    "wine": load_wine,
    "diabetes": load_diabetes,
}


def gaussian():
    return GaussianMixture(1, reg_covar=1e-6)


MODELS = {
    "flow, orthogonal": partial(
        RelativeGradientFlow, bijections=partial(default_bijections, init="orthogonal")
    ),
    "flow, whiten": RelativeGradientFlow,
    "Gaussian": lambda random_state: gaussian(),
    "Gaussian, standardised": lambda random_state: StandardizedDensity(gaussian()),
}


def load(name, seed):
    X = LOADERS[name]().data.astype(float)
    if name == "digits":
        X += np.random.default_rng(seed).uniform(size=X.shape)
    return train_test_split(X, test_size=0.2, random_state=seed)


def measure(name, model, seed):
    train, test = load(name, seed)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = MODELS[model](random_state=seed).fit(train)
    return {
        "data": name,
        "model": model,
        "seed": seed,
        "n_train": len(train),
        "n_features": train.shape[1],
        "nats": round(fitted.score(test), 4),
        "train_nats": round(fitted.score(train), 4),
        "n_iter": getattr(fitted, "n_iter_", ""),
        "warnings": len(caught),
        "seconds": round(time.perf_counter() - started, 2),
    }


def print_summary(rows):
    print("\nheld-out nats, mean ± standard deviation over the seeds")
    print(f"{'':15}" + "".join(f"{model:>24}" for model in MODELS))
    for name in LOADERS:
        cells = []
        for model in MODELS:
            nats = [r["nats"] for r in rows if (r["data"], r["model"]) == (name, model)]
            cells.append(f"{np.mean(nats):.2f} ± {np.std(nats):.2f}")
        print(f"{name:15}" + "".join(f"{cell:>24}" for cell in cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # matrices this small are not worth a second thread
    rows = []
    for name in LOADERS:
        for seed in range(arguments.seeds):
            for model in MODELS:
                rows.append(measure(name, model, seed))
                print(
                    "{data:14} seed {seed}  {model:24}{nats:10.3f}".format(**rows[-1]), flush=True
                )
    print_summary(rows)
    write_csv(RESULTS / "held_out.csv", rows)


if __name__ == "__main__":
    main()
