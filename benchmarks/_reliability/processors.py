"""Scores of a saved model by the instructions of other processors.

A model is fitted and saved by the instructions of each processor, and scored by those of each. The
libraries' own switches stand for processors: they leave out what an older one does not have.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _common import write_csv

import skflow
from skflow import LeakyTanh, RelativeGradientFlow

PROCESSORS = {
    "this one": {},
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+fma",
    },
    "SSE2": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "NUMBA_CPU_NAME": "x86-64",
        "NUMBA_CPU_FEATURES": "+sse2",
    },
}

MODELS = {
    "default, 2 columns": (2, {}),
    "default, 20 columns": (20, {}),
    "300 columns": (300, {"n_layers": 2, "max_iter": 5}),
    "leaky tanh": (10, {"activation": LeakyTanh(), "max_iter": 20}),
    "a mixture as base": (5, {"base_distribution": "mixture", "max_iter": 20}),
    "affine couplings, float64": (10, {"coupling": "affine", "dtype": "float64", "max_iter": 20}),
}


def add_arguments(parser):
    """Add what the campaign takes to its command."""
    parser.add_argument("--rows", type=int, default=1500, help="the rows of each table")
    parser.add_argument("--only", nargs="*", default=list(MODELS), help="the models by name")
    parser.add_argument("--in-process", nargs=2, help="used by the campaign itself")


def run(arguments):
    """Run the campaign, and write its figures."""
    if arguments.in_process:
        _work(Path(arguments.in_process[1]), arguments)
        return []
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for fitted_by in PROCESSORS:
            _send("fit", fitted_by, Path(folder), arguments)
            scores = {}
            for scored_by in PROCESSORS:
                _send("score", scored_by, Path(folder), arguments)
                scores[scored_by] = json.loads((Path(folder) / "scores.json").read_text())
            rows += _compared(scores, fitted_by, arguments.only)
    for row in rows:
        print(row)
    write_csv(arguments.results / "reliability_processors.csv", rows)
    return rows


def _compared(scores, fitted_by, names):
    """Return how far the scores of each processor are from those of the one that fitted."""
    rows = []
    for scored_by in scores:
        for name in names:
            row = {"model": name, "fitted_by": fitted_by, "scored_by": scored_by}
            for kind in ("float32", "float64"):
                own, other = (np.array(scores[by][name][kind]) for by in (fitted_by, scored_by))
                difference = np.abs(own - other)
                row[f"largest_difference_{kind}"] = f"{difference.max():.2g}"
                # The distance of a score from the next number of its precision is the least that
                # two scores can differ by.
                spacing = np.spacing(np.abs(own).astype(kind)).astype(float)
                row[f"in_spacings_{kind}"] = f"{(difference / spacing).max():.2g}"
            rows.append(row)
    return rows


def _send(what, processor, folder, arguments):
    """Do a part of the work in a process with the instructions of a processor."""
    command = [
        *(sys.executable, str(Path(__file__).parents[1] / "reliability.py"), "processors"),
        *("--rows", str(arguments.rows), "--in-process", what, str(folder)),
        *("--only", *arguments.only),
    ]
    subprocess.run(command, env=os.environ | PROCESSORS[processor], check=True)


def _work(folder, arguments):
    if arguments.in_process[0] == "fit":
        for name in arguments.only:
            n_features, parameters = MODELS[name]
            flow = RelativeGradientFlow(random_state=0, **parameters)
            flow.fit(_table(arguments.rows, n_features)).save(folder / f"{name}.skflow")
        return
    scores = {}
    for name in arguments.only:
        flow = skflow.load(folder / f"{name}.skflow")
        X = _table(200, MODELS[name][0])
        scores[name] = {
            kind: flow.score_samples(X.astype(kind)).tolist() for kind in ("float32", "float64")
        }
    (folder / "scores.json").write_text(json.dumps(scores))


def _table(n_rows, n_features):
    """Return rows of Student's t, mixed, with some far out."""
    rng = np.random.default_rng(n_features)
    X = rng.standard_t(5, size=(n_rows, n_features))
    return X @ (np.eye(n_features) + 0.3 * rng.normal(size=(n_features, n_features)) / n_features)
