"""The hyperparameters that the paper searches, in scikit-learn's grid search."""

import time
import warnings
from datetime import date
from functools import partial

import numpy as np
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid, PredefinedSplit

from skflow import LeakyTanh, RelativeGradientFlow, SmoothLeakyReLU, default_bijections

from .rows import Rows
from .task import NO_LIMIT

__all__ = ["FIELDS", "TABLE_3", "search"]

# Gresele et al. (2020), table 3: 324 fits for each data set.
ACTIVATIONS = {
    "s_L, 0.3": SmoothLeakyReLU(alpha=0.3),
    "s_L, 0.01": SmoothLeakyReLU(alpha=0.01),
    "s_T": LeakyTanh(alpha=1.0, beta=0.1),
}
TABLE_3 = {
    "activation": list(ACTIVATIONS),
    "n_layers": [25, 50, 100],
    "learning_rate": [0.001, 0.0005, 0.0001],
    "batch_size": [10, 50, 100],
    "base_distribution": ["normal", "hyperbolic_secant"],
    "bias": [True, False],
}
BIJECTIONS = {
    bias: partial(default_bijections, bias=bias, init="orthogonal") for bias in TABLE_3["bias"]
}

FIELDS = (
    *("data", "seed", *TABLE_3, "status", "validation_nats", "test_nats", "n_rows", "n_features"),
    *("n_epochs", "fit_seconds", "max_time", "threads", "date"),
)


def search(path, data, parts, *, grid=TABLE_3, seed=0, n_threads=1, max_time=None, max_iter=None):
    """Fit what the file does not have yet, choose by the validation rows, and return the best row.

    Training is the paper's: Adam, and the best weights on rows that are held out, until five
    scores with 25 epochs between them are no better. Our estimator holds a tenth of its rows out
    by itself and has a schedule for its learning rate; the validation rows only choose among
    the fits.

    Parameters
    ----------
    path : Path
        Of the CSV file.
    data : str
    parts : arrays to train on, to validate on and to test on
    grid : dict of str to list
        The activations by their names in `ACTIVATIONS`.
    seed : int
    n_threads : int
    max_time : float, optional
        Seconds of each fit.
    max_iter : int, optional
        Epochs of each fit; no limit by default.
    """
    table = Rows(path, FIELDS)
    train, validation, test = parts
    missing = [
        {name: [value] for name, value in point.items() if name != "bias"}
        | {"activation": [ACTIVATIONS[point["activation"]]]}
        | {"bijections": [BIJECTIONS[point["bias"]]]}
        for point in ParameterGrid(grid)
        if not table.find(data=data, seed=seed, **point)
    ]
    shared = {
        "data": data,
        "seed": seed,
        "n_rows": len(train),
        "n_features": train.shape[1],
        "max_time": "" if max_time is None else max_time,
        "threads": n_threads,
        "date": date.today().isoformat(),
    }
    started = time.perf_counter()

    def score(flow, X, y=None):
        """Write the row down at once, so that a search that is cut short goes on from there."""
        nonlocal started
        seconds = time.perf_counter() - started
        nats = flow.score(X)
        table.append(
            {
                **shared,
                **settings(flow),
                "status": "ok",
                "validation_nats": round(nats, 5),
                "test_nats": round(flow.score(test), 5),
                "n_epochs": flow.n_iter_,
                "fit_seconds": round(seconds, 3),
            }
        )
        print("  " + "  ".join(table.rows[-1][field] for field in FIELDS[2:11]), flush=True)
        started = time.perf_counter()
        return nats

    if missing:
        flow = RelativeGradientFlow(
            optimizer="adam",
            max_iter=NO_LIMIT if max_iter is None else max_iter,
            n_iter_no_change=125,
            max_time=max_time,
            random_state=seed,
        )
        fold = np.repeat([-1, 0], [len(train), len(validation)])  # -1 is always trained on
        searching = GridSearchCV(
            flow, missing, scoring=score, cv=PredefinedSplit(fold), refit=False, error_score=np.nan
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitFailedWarning)
            warnings.simplefilter("ignore", UserWarning)
            searching.fit(np.concatenate([train, validation]))
        results = searching.cv_results_
        for parameters, nats in zip(results["params"], results["mean_test_score"], strict=True):
            failed = settings(flow.set_params(**parameters))
            if not np.isfinite(nats) and not table.find(data=data, seed=seed, **failed):
                blank = dict.fromkeys(FIELDS, "")
                table.append({**blank, **shared, **failed, "status": "failed"})
    done = [r for r in table.rows if r["data"] == data and r["validation_nats"]]
    return max(done, key=lambda r: float(r["validation_nats"]), default=None)


def settings(flow):
    """Return the searched parameters as the file has them."""
    names = {repr(activation): name for name, activation in ACTIVATIONS.items()}
    parameters = {name: getattr(flow, name) for name in TABLE_3 if name != "bias"}
    bias = flow.bijections.keywords["bias"]
    return {**parameters, "activation": names[repr(flow.activation)], "bias": bias}
