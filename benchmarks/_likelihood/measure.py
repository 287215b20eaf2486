"""One fit, and its row."""

import subprocess
import time
import warnings
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from .task import Unattainable

__all__ = ["FIELDS", "measure"]

FIELDS = (
    *("data", "estimator", "terms", "seed", "status"),
    *("test_nats", "lowest_nats", "trimmed_nats", "validation_nats"),
    *("n_rows", "n_features", "n_test", "parameters", "fit_seconds", "score_seconds"),
    *("max_time", "threads", "warnings", "version", "date", "detail"),
)


def measure(contender, task, test):
    """Fit, score and describe. A fit that fails is a row, too.

    Parameters
    ----------
    contender : Contender
    task : Task
    test : array of shape (n_test, n_features)

    Returns
    -------
    row : dict
        All of `FIELDS` but data, estimator, terms and seed. The status is "ok", "infinite" where
        a test row has no density, "failed", or "left out" where the terms cannot be met. Beside
        the mean of the test nats are the lowest, and the mean without the lowest thousandth.
    fitted : Fitted or None
    """
    nats, score_seconds, fitted = ("", "", ""), "", None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.perf_counter()
        try:
            fitted = contender.fit(task)
            fit_seconds = time.perf_counter() - started
            log_density = np.asarray(fitted.score_samples(test), float)
            score_seconds = time.perf_counter() - started - fit_seconds
            nats = mean_and_tail(log_density)
            status, detail = "ok", fitted.detail
            if not np.isfinite(nats[0]):
                finite = log_density[np.isfinite(log_density)]
                status = "infinite"
                detail = (
                    f"{detail}; {len(finite)} of {len(test)} rows are finite, "
                    f"of mean {finite.mean() if len(finite) else np.nan:.4f}"
                )
        except Exception as error:  # of any package, and of any kind
            if fitted is None:
                fit_seconds = time.perf_counter() - started
            status = "left out" if isinstance(error, Unattainable) else "failed"
            detail = f"{type(error).__name__}: {error}".partition("\n")[0]
    return {
        "status": status,
        "test_nats": rounded(nats[0], 5),
        "lowest_nats": rounded(nats[1], 5),
        "trimmed_nats": rounded(nats[2], 5),
        "validation_nats": rounded(fitted.validation_nats, 5) if fitted else "",
        "n_rows": fitted.n_rows if fitted else "",
        "n_features": test.shape[1],
        "n_test": len(test),
        "parameters": fitted.n_parameters if fitted else "",
        "fit_seconds": rounded(fit_seconds, 3),
        "score_seconds": rounded(score_seconds, 3),
        "max_time": rounded("" if task.max_time is None else task.max_time, 3),
        "threads": task.n_threads,
        "warnings": len(caught),
        "version": version_of(contender.package),
        "date": date.today().isoformat(),
        "detail": detail,
    }, fitted


def mean_and_tail(log_density):
    """Return the mean, the lowest, and the mean without the lowest of each 1,000 rows.

    Parameters
    ----------
    log_density : array of shape (n_test,)

    Returns
    -------
    mean, lowest, trimmed : float
        The last is the first for fewer than 1,000 rows.
    """
    ordered = np.sort(log_density)
    return log_density.mean(), ordered[0], ordered[len(ordered) // 1000 :].mean()


@cache
def version_of(package):
    """Return the package's name and version, and of our own the commit, too."""
    described = f"{package} {version(package)}"
    if package == "skflow":
        command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
        answer = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        described = f"{described} {answer.stdout.strip()}".strip()
    return described


def rounded(value, digits):
    return "" if value == "" or value is None else round(float(value), digits)
