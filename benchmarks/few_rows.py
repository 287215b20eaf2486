"""Few rows: tables cut short and scikit-learn's own, beside estimators that are made for few rows.

The 13 tables of `likelihood.py` are shuffled, cut to 100, 300 and 1,000 rows, and scored on at
most 5,000 of the others. A size that leaves fewer than 50 to score is left out. Of wine, breast
cancer, diabetes, iris and digits, four fifths are fitted; digits are dequantised, and the others
are as they are. Ten splits of each: the seed determines the split and the fit. All are nats per
row that no model has seen, in the units of the data.

- skflow: its defaults. skflow ensemble: those of `skflow.DensityEnsemble`.
- Gaussian, shrunk: with the covariance of Ledoit and Wolf.
- GaussianMixture: up to 40 components, by the BIC, which chooses the kind of covariances as well.
- KernelDensity: the bandwidth of the highest leave-one-out likelihood.
- VineDensity: nonparametric pair copulas (`pip install pyvinecopulib`).

The peers are given standardised columns. A row is written to a CSV file as soon as it is measured,
and a command that is called again does not repeat what is there.

    python benchmarks/few_rows.py --data-dir DIR
    python benchmarks/few_rows.py --sets wine iris --seeds 0 1
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _common import RESULTS
from _data import BUNDLED, TABLES, load_bundled, load_table
from _likelihood.contenders import ENSEMBLE, FEW_ROWS_CONTENDERS, SHRUNK_GAUSSIAN
from _likelihood.measure import FIELDS
from _likelihood.rows import Rows
from _likelihood.summary import paired, scores
from _likelihood.tables import run
from _likelihood.task import LEADER
from threadpoolctl import threadpool_limits

SIZES, N_SPLITS = (100, 300, 1000), 10
MOST_TEST, LEAST_TEST = 5000, 50
OURS = (LEADER, ENSEMBLE)


def cut(data_dir, name, n_rows, seed):
    """Return rows of a table to fit, none to validate on, and others to score."""
    X = np.concatenate(load_table(data_dir, name, seed))
    return X[:n_rows], X[:0], X[n_rows:][:MOST_TEST]


def bundled(name, seed):
    """Return rows of one of scikit-learn's sets to fit, none to validate on, and the others."""
    train, test = load_bundled(name, seed)
    return train, train[:0], test


def cases_of(sets, sizes, data_dir):
    """Return a function of the seed for each case, by its name."""
    cases = {}
    for name in sets:
        if name in BUNDLED:
            cases[name] = partial(bundled, name)
            continue
        total = sum(map(len, load_table(data_dir, name)))
        cases |= {
            f"{name}, {n_rows} rows": partial(cut, data_dir, name, n_rows)
            for n_rows in sizes
            if total - n_rows >= LEAST_TEST
        }
    return cases


def summarize(rows):
    """Print for each of ours where it is above each peer, how far below, and its seconds."""
    table = scores(rows)
    n_features = {row["data"]: int(row["n_features"]) for row in rows}
    estimators = list(dict.fromkeys(row["estimator"] for row in rows))
    for ours in [name for name in OURS if name in estimators]:
        mine = [row for row in rows if row["estimator"] == ours]
        seconds = np.array([float(row["fit_seconds"]) for row in mine])
        print(f"\n{ours}: {seconds.mean():.1f} s in the mean, {seconds.max():.1f} s at most")
        for peer in [name for name in estimators if name != ours]:
            gaps = gaps_of(table, n_features, ours, peer)
            if not gaps:
                continue
            won, worst = sum(gap > 0 for gap in gaps.values()), min(gaps, key=gaps.get)
            print(
                f"  above {peer:18}{won:>4} of {len(gaps)} cases ({won / len(gaps):.0%}), "
                f"least {gaps[worst]:+.3f} nats per column on {worst}"
            )
            if peer == SHRUNK_GAUSSIAN and gaps[worst] < 0:
                below = {data: gap for data, gap in gaps.items() if gap < 0}
                print("    below it: " + "; ".join(f"{d} {g:+.3f}" for d, g in below.items()))


def gaps_of(table, n_features, ours, peer):
    """Return by how much ours is above a peer in nats per column, in the mean over the splits.

    Over the splits that both have. Who failed is infinitely bad, both are level.
    """
    gaps = {}
    for data, d in n_features.items():
        pairs = paired(table.get((data, ours), {}), table.get((data, peer), {}))
        if len(pairs):
            mean_ours, mean_peer = pairs.mean(0)
            gaps[data] = 0.0 if mean_ours == mean_peer else (mean_ours - mean_peer) / d
    return gaps


def print_means(rows):
    """Print the mean over the splits of each case and contender, and how many there are."""
    table = scores(rows)
    estimators = list(dict.fromkeys(row["estimator"] for row in rows))
    print("\nmean nats over the splits, and how many there are")
    print(f"{'':24}" + "".join(f"{name:>20}" for name in estimators))
    for data in dict.fromkeys(row["data"] for row in rows):
        found = [list(table.get((data, name), {}).values()) for name in estimators]
        cells = [f"{np.mean(nats):.3f} ({len(nats)})" if nats else "" for nats in found]
        print(f"{data:24}" + "".join(f"{cell:>20}" for cell in cells))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="with the tables; without it, none of them")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV file")
    parser.add_argument("--sets", nargs="+", choices=[*BUNDLED, *TABLES], help="all by default")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows of tables")
    parser.add_argument("--seeds", type=int, nargs="+", default=range(N_SPLITS))
    parser.add_argument(
        "--only", nargs="+", choices=FEW_ROWS_CONTENDERS, default=FEW_ROWS_CONTENDERS
    )
    parser.add_argument("--summary", action="store_true", help="print what there is, and end")
    arguments = parser.parse_args()
    if arguments.sets is None:
        arguments.sets = [*BUNDLED, *(TABLES if arguments.data_dir else ())]
    if arguments.data_dir is None and not set(arguments.sets) <= set(BUNDLED):
        parser.error("--data-dir is needed for the tables")
    return arguments


def main():
    arguments = parse()
    path = arguments.results / "few_rows.csv"
    if not arguments.summary:
        contenders = {name: FEW_ROWS_CONTENDERS[name] for name in arguments.only}
        cases = cases_of(arguments.sets, arguments.sizes, arguments.data_dir)
        torch.set_num_threads(1)
        with threadpool_limits(1):
            for seed in arguments.seeds:
                loaders = {name: partial(load, seed) for name, load in cases.items()}
                run(path, loaders, contenders, seeds=(seed,), n_threads=1)
    rows = Rows(path, FIELDS).rows
    print_means(rows)
    summarize(rows)


if __name__ == "__main__":
    main()
