"""Whether a search on Dask or on Ray ends like that of one process, also if a worker is killed.

Twelve candidates, in three folds each, are searched by one process and by two workers on this
machine. In some of the searches a fit after the fifth one kills its own process: any of these fits
on Ray, and on Dask the first one in the worker that has the rows. That is done with the engine's
defaults, and with what docs/cluster.rst advises. The rows are a table of the folder, or are
generated without one.

    python benchmarks/cluster.py --data-dir DIR
"""

import argparse
import os
import signal
import tempfile
import time
import uuid
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _common import RESULTS, write_csv
from _data import load_table
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

from skflow import RelativeGradientFlow
from skflow.datasets import half_moons

GRID = {
    "n_layers": [1, 2],
    "activation": ["leaky_tanh", "spline"],
    "learning_rate": [1e-3, 1e-2, 1e-1],
}
FITS_BEFORE = 5  # a worker is killed
RETRIES = {"max_restarts": 3, "max_task_retries": 3}


def killed_once(folder, is_victim):
    """Return a flow that kills its process in one fit, and writes down each of them."""

    class Mortal(RelativeGradientFlow):  # in a function: pickled as a whole
        def fit(self, X, y=None, sample_weight=None):
            (folder / f"fit-{uuid.uuid4().hex}").touch()
            n_fits, killed = len(list(folder.glob("fit-*"))), folder / "killed"
            if n_fits > FITS_BEFORE and is_victim() and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().fit(X, y, sample_weight)

    return Mortal


@contextmanager
def in_one_process(**_):
    """Search here."""
    yield lambda: False


@contextmanager
def on_dask(*, advised):
    """Search on two workers of Dask's, of which the first one is the victim."""
    from dask.distributed import Client, LocalCluster, get_worker

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with cluster, Client(cluster) as client:
        if advised:
            client.amm.stop()
            client.scatter = partial(client.scatter, broadcast=True)
        with parallel_config("dask"):
            yield lambda: get_worker().name == 0


@contextmanager
def on_ray(*, advised):
    """Search on two workers of Ray's, any of which is the victim."""
    import ray
    from ray.util.joblib import register_ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    try:
        with parallel_config("ray", ray_remote_args=RETRIES if advised else None):
            yield lambda: True
    finally:
        ray.shutdown()


ENGINES = {"one process": in_one_process, "Dask": on_dask, "Ray": on_ray}


def searched(X, engine, *, kill, advised, max_iter):
    """Search, and return the search, or the exception, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder, ENGINES[engine](advised=advised) as is_victim:
        kind = killed_once(Path(folder), is_victim) if kill else RelativeGradientFlow
        flow = kind(base_distribution="logistic", max_iter=max_iter, random_state=0)
        n_jobs = None if engine == "one process" else -1
        search = GridSearchCV(flow, GRID, cv=3, n_jobs=n_jobs, refit=False, error_score="raise")
        started = time.perf_counter()
        try:
            outcome = search.fit(X)
        except Exception as error:  # whatever the engine says
            outcome = error
        seconds = time.perf_counter() - started
        if kill and not (Path(folder) / "killed").exists():
            raise RuntimeError("No worker was killed: the search was too short.")
    return outcome, seconds


def row_of(reference, outcome):
    """Return how a search ended, and how its scores differ from those of one process."""
    if isinstance(outcome, Exception):
        return {"outcome": type(outcome).__name__, "best_params": "", "largest_difference": ""}
    names = [f"split{k}_test_score" for k in range(3)]
    difference = max(
        np.abs(outcome.cv_results_[name] - reference.cv_results_[name]).max() for name in names
    )
    best = " ".join(f"{name}={value}" for name, value in outcome.best_params_.items())
    return {"outcome": "ended", "best_params": best, "largest_difference": float(difference)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="folder of the tables")
    parser.add_argument("--table", default="vowels")
    parser.add_argument("--max-iter", type=int, default=10, help="epochs of a fit")
    parser.add_argument("--engines", nargs="+", choices=["Dask", "Ray"], default=["Dask", "Ray"])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as in the workers
    if arguments.data_dir is None:
        X = half_moons().sample(1000, random_state=0)
    else:
        X, *_ = load_table(arguments.data_dir, arguments.table)
    cases = [("one process", False, True)]
    for engine in arguments.engines:
        cases += [(engine, False, False), (engine, True, False), (engine, True, True)]
    rows, reference = [], None
    for engine, kill, advised in cases:
        outcome, seconds = searched(
            X, engine, kill=kill, advised=advised, max_iter=arguments.max_iter
        )
        reference = reference or outcome
        row = {
            "rows": "half moons" if arguments.data_dir is None else arguments.table,
            "engine": engine,
            "worker": "killed" if kill else "lives",
            "settings": "advised" if advised and kill else "default",
            "seconds": round(seconds, 1),
            **row_of(reference, outcome),
        }
        print(row, flush=True)
        rows.append(row)
    write_csv(arguments.results / "cluster.csv", rows)


if __name__ == "__main__":
    main()
