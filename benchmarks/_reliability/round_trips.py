"""Rows to latents and back, by the models of the likelihood benchmark."""

import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _common import write_csv
from _data import TABLES, load_table

from skflow import RelativeGradientFlow

# The largest error that counts as none.
MOST_ERROR = 1e-6


def add_arguments(parser):
    """Add what the campaign takes to its command."""
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=TABLES, help="tables; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--samples", type=int, default=10_000, help="rows to draw and map back")


def run(arguments):
    """Fit each table with each seed, map rows there and back, and write each row as it comes."""
    names = arguments.sets or TABLES
    loaded = {name: load_table(arguments.data_dir, name) for name in names}
    rows = []
    for seed in arguments.seeds:
        for name in sorted(names, key=lambda name: loaded[name][0].size):
            train, validation, test = loaded[name]
            X = np.concatenate([train, validation])
            rows.append({"data": name, "seed": seed} | measure(X, test, seed, arguments.samples))
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            write_csv(arguments.results / "reliability_round_trips.csv", rows)
    errors = [max(row["held_out_error"], row["sampled_error"]) for row in rows]
    n_bad = sum(not error <= MOST_ERROR for error in errors)
    print(f"{n_bad} of {len(rows)} models are above {MOST_ERROR}; the most is {max(errors):.2g}")


def measure(X, test, seed, n_samples):
    """Fit a default flow; return its largest errors in float64, and its singular values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = time.perf_counter()
        flow = RelativeGradientFlow(random_state=seed).fit(X)
        seconds = time.perf_counter() - started
    scale = X.std(0, dtype=float)
    samples = flow.sample(n_samples, random_state=seed).astype(float)
    values = singular_values(flow.flow_)
    return {
        "n_rows": len(X),
        "n_features": X.shape[1],
        "fit_seconds": round(seconds, 2),
        "held_out_error": error(flow, test.astype(float), scale),
        "sampled_error": error(flow, samples, scale),
        "largest_singular_value": float(values[:, 0].max()),
        "smallest_singular_value": float(values[:, -1].min()),
        "condition_number": float((values[:, 0] / values[:, -1]).max()),
    }


def error(flow, X, scale):
    """Return the largest error of rows that went to their latents and back.

    It is relative to the size of the entry, or to the standard deviation of its column if that is
    larger.
    """
    back = flow.inverse_transform(flow.transform(X))
    return float((np.abs(back - X) / np.maximum(np.abs(X), scale)).max())


def singular_values(flow):
    """Return those of each dense layer, in descending order, by a decomposition."""
    weights = torch.cat([layer.weight.detach() for layer in flow.relative_layers])
    return torch.linalg.svdvals(weights.double()).numpy()
