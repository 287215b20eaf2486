"""What every benchmark writes: its table, and above it where the figures come from."""

from __future__ import annotations

import csv
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import skflow

__all__ = [
    "RESULTS",
    "STATIC",
    "StandardizedDensity",
    "provenance",
    "run_by_one_thread",
    "write_csv",
]

RESULTS = Path(__file__).parent / "results"
STATIC = Path(__file__).parents[1] / "docs" / "_static"


class StandardizedDensity:
    """A density estimator on standardised columns, scored in nats in the units of X.

    Parameters
    ----------
    estimator : estimator with fit, score_samples and sample
    """

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X):
        """Fit the estimator to the standardised rows of `X`."""
        self.scaler = StandardScaler().fit(X)
        self.estimator.fit(self.scaler.transform(X))
        return self

    def score_samples(self, X):
        """Return the log-density at each row of `X`, in nats."""
        log_density = self.estimator.score_samples(self.scaler.transform(X))
        return log_density - np.log(self.scaler.scale_).sum()

    def score(self, X):
        """Return the mean log-density of the rows of `X`, in nats."""
        return self.score_samples(X).mean()

    def sample(self, n_samples):
        """Draw rows. Mixtures of scikit-learn return their labels with them."""
        rows, _ = self.estimator.sample(n_samples)
        return self.scaler.inverse_transform(rows)


def run_by_one_thread(arguments):
    """Run the command that was asked for.

    Parameters
    ----------
    arguments : Namespace
        With the command as `run`.
    """
    torch.set_num_threads(1)
    with threadpool_limits(1):
        arguments.run(arguments)


def provenance():
    """Return what a reader needs to judge the figures, or to measure them again."""
    arguments = ["DIR" if os.sep in argument else argument for argument in sys.argv[1:]]
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])
    return [
        f"command: {command}",
        f"date: {date.today().isoformat()}",
        f"machine: {_cpu_model()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        f"versions: skflow {skflow.__version__}, scikit-learn {sklearn.__version__}, "
        f"torch {torch.__version__}, NumPy {np.__version__}, Python {platform.python_version()}",
    ]


def write_csv(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Write rows below the provenance, which stands in lines that begin with #."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        file.writelines(f"# {line}\n" for line in provenance())
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    root = Path(__file__).parents[1]
    print(f"\nwrote {path.relative_to(root) if path.is_relative_to(root) else path}")


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
