"""Every contender on every split of every table, and its row."""

import time
import warnings
from datetime import date

import numpy as np
from _likelihood.measure import rounded, version_of
from _likelihood.rows import Rows
from _likelihood.task import Unattainable

from .data import HOLES, load, split
from .densities import LEADER
from .task import Task

__all__ = ["FIELDS", "measure", "run"]

FIELDS = (
    *("data", "split", "estimator", "status", "nats", "lowest_nats", "highest_error"),
    *("n_rows", "n_test", "n_categories", "n_whole", "n_continuous"),
    *("fit_seconds", "score_seconds", "warnings", "version", "date", "detail"),
)


def run(path, names, splits, contenders):
    """Measure what the file does not have yet.

    Parameters
    ----------
    path : Path
        Of the CSV file.
    names : sequence of str
        Tables. On those with holes, the leader alone takes part.
    splits : sequence of int
    contenders : dict of str to Contender

    Returns
    -------
    table : Rows
    """
    rows = Rows(path, FIELDS)
    for data in names:
        for seed in splits:
            for name, contender in contenders.items():
                key = {"data": data, "split": seed, "estimator": name}
                if rows.find(**key) or (data in HOLES and name != LEADER):
                    continue
                table = load(data)
                train, test = split(table, seed)
                row = measure(contender, Task(train, table, seed), test)
                rows.append(key | row)
                print(
                    f"  {data:22}{seed:>2}  {name:14}{row['status']:10}{row['nats']!s:>11}"
                    f"{row['fit_seconds']!s:>10} s  {row['detail']}",
                    flush=True,
                )
    return rows


def measure(contender, task, test):
    """Fit, score and describe. A fit that fails is a row, too.

    Parameters
    ----------
    contender : Contender
    task : Task
    test : DataFrame

    Returns
    -------
    row : dict
        All of `FIELDS` but those that name it. The status is "ok", "infinite" where a row has no
        mass, "failed", or "left out" where the fit would take too long.
    """
    found, fit_seconds, score_seconds = ("", "", ""), "", ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.perf_counter()
        try:
            fitted = contender.fit(task)
            fit_seconds = time.perf_counter() - started
            nats = fitted.score_samples(test)
            score_seconds = time.perf_counter() - started - fit_seconds
            nats, errors = nats if isinstance(nats, tuple) else (np.asarray(nats, float), 0.0)
            found = nats.mean(), nats.min(), np.max(errors)
            status, detail = "ok", fitted.detail
            if not np.isfinite(found[0]):
                finite = nats[np.isfinite(nats)]
                status = "infinite"
                detail += f"{len(finite)} of {len(nats)} rows are finite, of mean "
                detail += f"{finite.mean() if len(finite) else np.nan:.4f}"
        except Exception as error:  # of any package, and of any kind
            status = "left out" if isinstance(error, Unattainable) else "failed"
            detail = f"{type(error).__name__}: {error}".partition("\n")[0]
    return {
        "status": status,
        "nats": rounded(found[0], 5),
        "lowest_nats": rounded(found[1], 5),
        "highest_error": rounded(found[2], 5),
        "n_rows": len(task.train),
        "n_test": len(test),
        "n_categories": task.table.count("category"),
        "n_whole": task.table.count("whole"),
        "n_continuous": task.table.count("continuous"),
        "fit_seconds": rounded(fit_seconds, 3),
        "score_seconds": rounded(score_seconds, 3),
        "warnings": len(caught),
        "version": version_of(contender.package),
        "date": date.today().isoformat(),
        "detail": detail,
    }
