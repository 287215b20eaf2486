"""One fit, and its row."""

import time
import warnings
from datetime import date

import numpy as np
from _likelihood.measure import rounded, version_of
from scipy.stats import kstest

from .task import LEVELS

__all__ = ["COVERAGES", "FIELDS", "MEASURES", "crps", "measure"]

COVERAGES = (50, 80, 90, 95)
MEASURES = (
    *("nll", "highest_nll", "crps", "pit_p"),
    *(f"coverage_{percent}" for percent in COVERAGES),
    "width_90",
)
KEYS = ("data", "split", "targets", "estimator", "terms")
FIELDS = (
    *(*KEYS, "status", *MEASURES),
    *("n_rows", "n_features", "n_test", "fit_seconds", "predict_seconds"),
    *("max_time", "warnings", "version", "date", "detail"),
)


def crps(quantiles, y):
    """Return the continuous ranked probability score of each row, from its quantiles.

    It is twice the integral of the pinball loss over the levels, which is zero at both ends, by
    the trapezoidal rule.

    Parameters
    ----------
    quantiles : array of shape (n_rows, n_levels)
        At `LEVELS`.
    y : array of shape (n_rows,)

    Returns
    -------
    crps : array of shape (n_rows,)
    """
    above = y[:, None] - quantiles
    pinball = np.maximum(LEVELS * above, (LEVELS - 1) * above)
    return 2 * pinball.sum(1) / (len(LEVELS) + 1)


def quality(prediction, y):
    """Return `MEASURES` of a prediction, where it has them.

    Parameters
    ----------
    prediction : Prediction
    y : array of shape (n_rows,)

    Returns
    -------
    measures : dict
    """
    found = dict.fromkeys(MEASURES, "")
    log_density, levels = prediction.log_density(y), prediction.cdf(y)
    if log_density is not None:
        found["nll"], found["highest_nll"] = -np.mean(log_density), -np.min(log_density)
    if levels is not None:
        found["pit_p"] = kstest(np.clip(levels, 0, 1), "uniform").pvalue
    quantiles = np.asarray(prediction.quantiles(), float)
    if not np.isfinite(quantiles).all():
        raise ValueError("a quantile is not finite")
    found["crps"] = crps(quantiles, y).mean()
    for percent in COVERAGES:
        lower, upper = prediction.interval(percent) or interval(quantiles, percent)
        found[f"coverage_{percent}"] = np.mean((lower <= y) & (y <= upper))
        if percent == 90:
            found["width_90"] = np.mean(upper - lower)
    return found


def interval(quantiles, percent):
    """Return the central interval of a coverage, whose ends are among the quantiles."""
    first = (100 - percent) - 1  # of levels half a percent apart
    return quantiles[:, first], quantiles[:, -1 - first]


def measure(contender, task, X_test, y_test):
    """Fit, predict and describe. A fit that fails is a row, too.

    Parameters
    ----------
    contender : Contender
    task : Task
    X_test : array of shape (n_test, n_features)
    y_test : array of shape (n_test,)

    Returns
    -------
    row : dict
        All of `FIELDS` but those that name it. The status is "ok", "infinite" where a test row has
        no density, or "failed".
    """
    found, status, fit_seconds, predict_seconds = dict.fromkeys(MEASURES, ""), "ok", "", ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.perf_counter()
        try:
            fitted = contender.fit(task)
            fit_seconds = time.perf_counter() - started
            found = quality(fitted.predict(X_test), y_test)
            predict_seconds = time.perf_counter() - started - fit_seconds
            detail = fitted.detail
            if found["nll"] != "" and not np.isfinite(found["nll"]):
                status = "infinite"
        except Exception as error:  # of any package, and of any kind
            status, detail = "failed", f"{type(error).__name__}: {error}".partition("\n")[0]
    return {
        "status": status,
        **{name: rounded(value, 5) for name, value in found.items()},
        "n_rows": len(task.X),
        "n_features": task.X.shape[1],
        "n_test": len(y_test),
        "fit_seconds": rounded(fit_seconds, 3),
        "predict_seconds": rounded(predict_seconds, 3),
        "max_time": rounded(task.max_time, 3),
        "warnings": len(caught),
        "version": version_of(contender.package),
        "date": date.today().isoformat(),
        "detail": detail,
    }
