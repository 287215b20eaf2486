"""What data larger than memory cost: their speed beside an array's, and the memory they take.

A memory map of 30 GB and a folder of Parquet files of 2 GB are written, of 64 correlated columns
in single precision: random rows, which repeat after each file. Two flows are fitted to them, the
default and a light one, which computes ten times as fast.

- Speed: some steps of training on an array in memory, then on each source, and so on in turn,
  until each has passed over more than a window; and scores of four files' rows in turn. Of
  training, the ratios are those of all seconds, in which the windows are read; of scores, of the
  medians.
- Memory: a fit of `--max-time` seconds, and the scores of all rows by the light flow, in a process
  of their own. Anonymous memory is what they allocate, above what imports take.

    python benchmarks/large_data.py --only speed
    python benchmarks/large_data.py --only memory
"""

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
from _common import RESULTS, write_csv
from _memory import Memory

from skflow import RelativeGradientFlow
from skflow._sklearn import sources
from skflow.estimators.state import own_autograd_mode
from skflow.training.checkpoint import Checkpoint

FLOWS = {
    "default": {},
    "light": {"n_layers": 2, "activation": "leaky_tanh", "coupling": None},
}
N_COLUMNS = 64
FILE_ROWS, STEP_ROWS = 2**16, 2**12
SCORED_FILES = 4
ROW_BYTES = 4 * N_COLUMNS
MEGABYTE = 1e6


def random_rows():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((N_COLUMNS, N_COLUMNS), dtype=np.float32) / N_COLUMNS**0.5
    return rng.standard_normal((FILE_ROWS, N_COLUMNS), dtype=np.float32) @ mixing


def write_map(path, n_rows):
    rows = random_rows()
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, N_COLUMNS))
    for start in range(0, n_rows, len(rows)):
        block = X[start : start + len(rows)]
        block[:] = rows[: len(block)]
    X.flush()


def write_parquet(folder, n_rows):
    folder.mkdir()
    table = pa.table({f"x{j}": column for j, column in enumerate(random_rows().T)})
    for k in range(max(1, n_rows // FILE_ROWS)):
        pq.write_table(table, folder / f"part-{k:03d}.parquet")


def opened(path):
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    return ds.dataset(path, format="parquet")


def part(X, k):
    """Return as many rows as some files have, from one place after the other."""
    if isinstance(X, ds.Dataset):
        n_files = len(X.files)
        files = [X.files[(k + j) % n_files] for j in range(min(SCORED_FILES, n_files))]
        return ds.dataset(files, format="parquet")
    n_rows = SCORED_FILES * FILE_ROWS
    start = 7919 * k * FILE_ROWS % max(1, len(X) - n_rows)
    return X[start : start + n_rows]


class Steps:
    """Steps of a fit, some at a time."""

    def __init__(self, X, parameters):
        flow = RelativeGradientFlow(random_state=0, max_iter=10**6, **parameters)
        started = time.perf_counter()
        with own_autograd_mode():
            plan = flow._plan(flow._rows(X, None), Checkpoint(None))
            self.fit = plan.fit(started)
        self.fit.steps.begin_epoch()
        self.batches = iter(())

    def take(self, n_rows):
        """Take steps of so many rows in all, and return the seconds that they took."""
        started, n_left = time.perf_counter(), n_rows
        with own_autograd_mode():
            while n_left > 0:
                batch = next(self.batches, None)
                if batch is None:
                    self.batches = iter(self.fit.training.batches)
                    continue
                self.fit.steps.take(batch, 1.0, penalty=0.0)
                n_left -= len(batch.x)
        return time.perf_counter() - started


def seconds_to_score(flow, X):
    started = time.perf_counter()
    flow.score_samples(X)
    return time.perf_counter() - started


def speeds(paths, parameters, n_rounds):
    """Return the rows a second of training and of scores, of each source and of an array."""
    data = {"array": np.tile(random_rows(), (16, 1))} | {k: opened(p) for k, p in paths.items()}
    steps = {name: Steps(X, parameters) for name, X in data.items()}
    flows = {
        name: RelativeGradientFlow(max_time=0.5, random_state=0, **parameters).fit(part(X, 0))
        for name, X in data.items()
    }
    train, score = {name: [] for name in data}, {name: [] for name in data}
    for k in range(n_rounds + 1):
        for name, X in data.items():
            train[name].append(steps[name].take(STEP_ROWS))
            if k % 8 == 0:
                score[name].append(seconds_to_score(flows[name], part(X, k)))
    # The first round is left out: it compiles, and waits for the first window.
    return {
        name: {
            "train": STEP_ROWS / np.mean(train[name][1:]),
            "score": SCORED_FILES * FILE_ROWS / np.median(score[name][1:]),
        }
        for name in data
    }


def speed_table(paths, arguments):
    rows = []
    for name, parameters in FLOWS.items():
        # A part of the map is read as the whole is.
        with patch.object(sources, "_SHARE_OF_MEMORY", 0.0):
            found = speeds(paths, parameters, arguments.rounds)
        for source in paths:
            row = {"flow": name, "source": source}
            for what, of_array in found["array"].items():
                row[f"{what}_rows_per_second"] = round(found[source][what])
                row[f"{what}_ratio"] = round(float(found[source][what] / of_array), 3)
            print(row, flush=True)
            rows.append(row)
    return rows


def memory_of(path, parameters, max_time, scores):
    """Return the most memory of a fit and of all scores, and the seconds of each."""
    torch.set_num_threads(1)
    few = np.random.default_rng(0).standard_normal((3000, N_COLUMNS), dtype=np.float32)
    RelativeGradientFlow(max_iter=1, **parameters).fit(few).score_samples(few)
    flow = RelativeGradientFlow(max_time=max_time, random_state=0, **parameters)
    X, started = opened(path), time.perf_counter()
    with Memory() as memory:
        flow.fit(X)
    row = {
        "fit_seconds": round(time.perf_counter() - started, 1),
        "fit_anonymous_mb": round(memory.peaks["RssAnon"] / MEGABYTE, 1),
        "fit_resident_mb": round(memory.peaks["VmRSS"] / MEGABYTE, 1),
    }
    row |= {"score_seconds": "", "score_anonymous_mb": ""}
    if scores:
        with Memory() as memory:
            seconds = seconds_to_score(flow, X)
        row |= {
            "score_seconds": round(seconds, 1),
            "score_anonymous_mb": round(memory.peaks["RssAnon"] / MEGABYTE, 1),
        }
    return row


def in_new_process(function, *arguments):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def memory_table(paths, arguments):
    rows = []
    for name, parameters in FLOWS.items():
        for source, path in paths.items():
            scores = name == "light"
            found = in_new_process(memory_of, path, parameters, arguments.max_time, scores)
            rows.append({"flow": name, "source": source} | found)
            print(rows[-1], flush=True)
    return rows


TABLES = {"speed": speed_table, "memory": memory_table}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=30.0, help="of the memory map")
    parser.add_argument("--parquet-gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=80, help="of the speeds")
    parser.add_argument("--max-time", type=float, default=90.0, help="seconds of a fit")
    parser.add_argument("--folder", type=Path, help="where the data are written and kept")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV files")
    parser.add_argument("--only", choices=TABLES, nargs="+", default=list(TABLES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if arguments.folder is None else arguments.folder
        paths = {"memory map": folder / "rows.npy", "Parquet": folder / "parquet"}
        if not paths["memory map"].exists():
            write_map(paths["memory map"], round(1e9 * arguments.gigabytes / ROW_BYTES))
        if not paths["Parquet"].exists():
            write_parquet(paths["Parquet"], round(1e9 * arguments.parquet_gigabytes / ROW_BYTES))
        for name in arguments.only:
            rows = TABLES[name](paths, arguments)
            write_csv(arguments.results / f"large_data_{name}.csv", rows)


if __name__ == "__main__":
    main()
