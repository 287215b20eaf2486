"""Fits of random configurations to random tables in random units.

A fit is good if it ends finite, and if other rows are at least as likely as by the Gaussian that
flows start from: that of standardised rows, with a covariance that is shrunk as rows that are left
out say, and with unit variance in constant columns. The mean difference may be below zero by two
of its standard errors, and by `TOLERANCE` for each column: that is what flows whose base
distribution is not the normal lose at their start.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter

import numpy as np
import torch
from _common import write_csv
from scipy.stats import norm

from _reliability.random_tables import random_table
from skflow import RelativeGradientFlow
from skflow.exceptions import ColumnWarning, DivergenceError
from skflow.flow.initialization import shrunk_whitening

TOLERANCE = 0.05
_N_TEST = 300
_FEW_ROWS = 20
_LEAST_POWER, _MOST_POWER = -12, 12

PARAMETERS = {
    "n_layers": ["auto", "auto", 1, 2, 4],
    "activation": ["auto", "auto", "spline", "leaky_tanh", "smooth_leaky_relu"],
    "coupling": ["auto", "auto", "auto", None, "affine", "spline"],
    "base_distribution": [
        *("normal", "normal", "logistic", "hyperbolic_secant", "student_t", "mixture")
    ],
    "optimizer": ["relative", "relative", "sgd", "adam"],
    "learning_rate": ["auto", "auto", 1e-4, 0.01, 0.3, 3.0, 30.0, 1000.0],
    "batch_size": ["auto", "auto", 8, 64, 10**6],
    "input_noise": ["auto", "auto", 0, 0.05, 0.5],
    "max_iter": [10, 30, 60],
    "early_stopping": [True, True, False],
    "validation_fraction": [0.1, 0.5],
    "n_iter_no_change": [30, 1],
    "dtype": ["float32", "float32", "float64"],
}


def random_case(seed, i):
    """Return the parameters of a fit, its table, rows to learn from and rows that judge.

    Parameters
    ----------
    seed, i : int
        Of the campaign, and the fit's number.
    """
    rng = np.random.default_rng([seed, i])
    parameters = {name: values[rng.integers(len(values))] for name, values in PARAMETERS.items()}
    parameters["random_state"] = int(rng.integers(2**31))
    name, train, test = random_table(rng, _N_TEST)
    if train.shape[1] == 1 and parameters["coupling"] in {"affine", "spline"}:
        parameters["coupling"] = "auto"  # takes two columns at least, and says so
    scale = 10.0 ** rng.integers(_LEAST_POWER, _MOST_POWER + 1)
    return parameters, f"{name}, scale {scale:.0e}", scale * train, scale * test


def gaussian_log_density(train, test):
    """Return the log-densities of rows by a Gaussian that was fitted to others, in nats.

    Parameters
    ----------
    train : ndarray of shape (n_rows, n_features)
        The rows to learn from.
    test : ndarray of shape (n_test, n_features)
        The rows to score.
    """
    constant = (train == train[0]).all(0)
    log_density = norm.logpdf(test[:, constant], train[0, constant]).sum(1)
    train, test = train[:, ~constant], test[:, ~constant]
    if not train.shape[1]:
        return log_density
    mean, scale = train.mean(0), train.std(0)
    # Of values so close together that rounding decides their spread.
    scale = np.maximum(scale, np.spacing(np.abs(train).max(0)))
    whitening, log_det = shrunk_whitening(torch.from_numpy((train - mean) / scale))
    z = (test - mean) / scale @ whitening.numpy()
    return log_density + norm.logpdf(z).sum(1) + float(log_det) - np.log(scale).sum()


def _finite(flow, train, test):
    """Say what of a fitted flow is not finite, and return the log-densities of test rows."""
    scores = flow.score_samples(test)
    found = {
        "scores": scores,
        "scores of fitted rows": flow.score_samples(train),
        "latents": flow.transform(train),
        "samples": flow.sample(50, random_state=0),
    }
    return ", ".join(name for name, each in found.items() if not np.isfinite(each).all()), scores


def judged(seed, i):
    """Fit one of the cases, and return a row of what came of it.

    Parameters
    ----------
    seed, i : int
        Of the campaign, and the fit's number.
    """
    parameters, table, train, test = random_case(seed, i)
    row = dict.fromkeys(("outcome", "nats", "gaussian_nats", "difference", "standard_error"), "")
    row |= {"case": f"--seed {seed} --only {i}", "table": table}
    row |= {"n_rows": len(train), "n_features": train.shape[1]}
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            flow = RelativeGradientFlow(**parameters).fit(train)
            row |= _compared(flow, train, test)
        except (ValueError, DivergenceError) as error:
            row["outcome"] = "refused"
            row["said"] = str(error)[:200]
        except Exception as error:
            row["outcome"] = f"failed: {type(error).__name__}"
            row["said"] = str(error)[:200]
    said = [w for w in caught if not issubclass(w.category, ColumnWarning)]
    row["warnings"] = " ".join(sorted({str(w.message)[:60] for w in said}))
    row["seconds"] = f"{time.perf_counter() - started:.2f}"
    row["parameters"] = " ".join(f"{k}={v}" for k, v in parameters.items() if v != "auto")
    return row


def _compared(flow, train, test):
    wrong, scores = _finite(flow, train, test)
    if wrong:
        return {"outcome": f"not finite: {wrong}"}
    gaussian = gaussian_log_density(train, test)
    difference = scores - gaussian
    mean, error = difference.mean(), difference.std() / np.sqrt(len(test))
    good = mean + 2 * error + TOLERANCE * test.shape[1] >= 0
    return {
        "outcome": "good" if good else "below",
        "nats": f"{scores.mean():.4f}",
        "gaussian_nats": f"{gaussian.mean():.4f}",
        "difference": f"{mean:.4f}",
        "standard_error": f"{error:.4f}",
    }


def kind_of_case(row):
    """Return what is special about a case, the first that holds.

    Parameters
    ----------
    row : dict
        As :func:`judged` returns it.
    """
    parameters = row["parameters"]
    if "early_stopping=False" in parameters:
        return "no early stopping"
    if "leaky" in parameters:
        return "fixed activations"
    if row["n_rows"] < _FEW_ROWS:
        return f"fewer than {_FEW_ROWS} rows"
    if row["n_rows"] < row["n_features"]:
        return "more columns than rows"
    if "base_distribution=normal" not in parameters:
        return "another base distribution"
    return "none of these (the defaults)"


def add_arguments(parser):
    """Add what the campaign takes to its command."""
    parser.add_argument("--fits", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+", help="fits to repeat, by their numbers")


def run(arguments):
    """Fit the cases, print those that are not good, and write all of them."""
    rows = []
    for i in arguments.only or range(arguments.fits):
        row = {"said": "", **judged(arguments.seed, i)}
        rows.append(row)
        if row["outcome"] != "good" or arguments.only:
            print(" | ".join(f"{name}: {value}" for name, value in row.items() if value != ""))
            sys.stdout.flush()
    print(f"\n{len(rows)} fits")
    for outcome, n in Counter(row["outcome"] for row in rows).most_common():
        print(f"{n:6d} {outcome}")
    by_kind = Counter((kind_of_case(row), row["outcome"]) for row in rows)
    for (kind, outcome), n in sorted(by_kind.items()):
        print(f"{n:6d} {kind}: {outcome}")
    if not arguments.only:
        names = ["case", "outcome", "table", "n_rows", "n_features", "nats", "gaussian_nats"]
        names += ["difference", "standard_error", "seconds", "warnings", "said", "parameters"]
        ordered = [{name: row[name] for name in names} for row in rows]
        write_csv(arguments.results / "reliability_fits.csv", ordered)
