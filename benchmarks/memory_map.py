"""What memory a fit to a memory map takes that is much larger than that.

A file of random float32 numbers, 8 GB by default, is written to a temporary folder, mapped and
fitted with the defaults for a given time. Sampled meanwhile, above what imports take:

- anonymous memory, which is what the fit allocates: it cannot be given up;
- resident memory, which counts pages of the file as well that the system keeps for as long as
  nobody else needs the room.

    python benchmarks/memory_map.py
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _common import RESULTS, write_csv
from _memory import Memory

from skflow import RelativeGradientFlow

BLOCK_ROWS = 10_000
MEGABYTE = 1e6


def write_rows(path, n_rows, n_features):
    """Write correlated rows, block by block."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((n_features, n_features), dtype=np.float32) / n_features**0.5
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, n_features))
    for start in range(0, n_rows, BLOCK_ROWS):
        block = X[start : start + BLOCK_ROWS]
        block[:] = rng.standard_normal(block.shape, dtype=np.float32) @ mixing
    X.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--columns", type=int, default=1000)
    parser.add_argument("--max-time", type=float, default=120.0, help="seconds of the fit")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    n_features = arguments.columns
    n_rows = round(1e9 * arguments.gigabytes / (4 * n_features))
    # What is only loaded at its first use is no part of what is measured.
    few = np.random.default_rng(0).standard_normal((100, 10), dtype=np.float32)
    RelativeGradientFlow(max_iter=1).fit(few)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        write_rows(path, n_rows, n_features)
        X = np.load(path, mmap_mode="r")
        started = time.perf_counter()
        with Memory() as memory:
            flow = RelativeGradientFlow(max_time=arguments.max_time, random_state=0).fit(X)
        seconds = time.perf_counter() - started
    row = {
        "n_rows": n_rows,
        "n_features": n_features,
        "file_mb": round(4 * n_rows * n_features / MEGABYTE),
        "parameters_mb": round(4 * sum(p.numel() for p in flow.flow_.parameters()) / MEGABYTE, 1),
        "peak_anonymous_mb": round(memory.peaks["RssAnon"] / MEGABYTE, 1),
        "peak_resident_mb": round(memory.peaks["VmRSS"] / MEGABYTE, 1),
        "fit_seconds": round(seconds, 1),
        "n_epochs": flow.n_iter_,
    }
    print(row)
    write_csv(arguments.results / "memory_map.csv", [row])


if __name__ == "__main__":
    main()
