"""Make files of the present format, for later versions to read; run once for each format.

    python tests/saved/make.py

A file that is here stays as it is: what reads it has to give the scores that stand beside it.
"""

import json
from pathlib import Path

import numpy as np

from skflow import LeakyTanh, NormalMixture, RelativeGradientFlow
from skflow.storage.files import FORMAT

FOLDER = Path(__file__).parent

ESTIMATORS = {
    "default": {},
    "leaky_tanh": {"activation": LeakyTanh(), "base_distribution": NormalMixture(2)},
    "affine": {"coupling": "affine", "base_distribution": "student_t", "dtype": "float64"},
}


def main():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    X[:, 1] += X[:, 0] ** 2
    rows = np.vstack([X[:5], [[10.0, -20.0], [0.0, 1e6]]])
    for name, parameters in ESTIMATORS.items():
        path = FOLDER / f"format_{FORMAT}_{name}.skflow"
        if path.exists():
            continue
        flow = RelativeGradientFlow(2, max_iter=3, random_state=0, **parameters).fit(X)
        flow.save(path)
        scores = flow.score_samples(rows)
        expected = {"rows": rows.tolist(), "scores": scores.tolist()}
        path.with_suffix(".json").write_text(json.dumps(expected), encoding="utf-8")


if __name__ == "__main__":
    main()
