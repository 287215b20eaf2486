"""Every contender on every split, with noise in the targets and without."""

import warnings
from contextlib import suppress
from functools import cache

import numpy as np
from _likelihood.rows import Rows
from _likelihood.tables import EQUAL_TIME, LEAST_TIME, OWN
from _likelihood.task import LEADER

from .measure import FIELDS, measure
from .task import Task

__all__ = ["DEFAULT_TIME", "run", "terms_of"]

DEFAULT_TIME = 10.0


def terms_of(table, contender, key, default_time=DEFAULT_TIME):
    """Return on what terms a fit takes part, and the seconds that it is given.

    Parameters
    ----------
    table : Rows
    contender : Contender
    key : dict
        Its data, split and targets.
    default_time : float
        Seconds where the leader's fit has not been measured.

    Returns
    -------
    terms : str
    max_time : float or None
    """
    if not contender.timed:
        return OWN, None
    first = table.find(**key, estimator=LEADER)
    if first is None or first["status"] == "failed":
        return f"{default_time:g} s", default_time
    return EQUAL_TIME, max(float(first["fit_seconds"]), LEAST_TIME)


def run(path, load, cases, contenders, default_time=DEFAULT_TIME):
    """Measure what the file does not have yet.

    Parameters
    ----------
    path : Path
        Of the CSV file.
    load : callable
        Takes data, split and targets, and returns a `Split`.
    cases : sequence of (str, int, str)
        Data, split and targets.
    contenders : dict of str to Contender
        Those that are timed are given the seconds that the leader took, and one at least.
    default_time : float
        Seconds for them where the leader's fit has not been measured.

    Returns
    -------
    table : Rows
    """
    table = Rows(path, FIELDS)
    load = cache(load)
    warm = cache(warm_up)
    for name, contender in contenders.items():
        for data, split, targets in cases:
            key = {"data": data, "split": split, "targets": targets}
            terms, max_time = terms_of(table, contender, key, default_time)
            key |= {"estimator": name, "terms": terms}
            if table.find(**key):
                continue
            warm(contender)
            rows = load(data, split, targets)
            task = Task(rows.X, rows.y, rows.seed, max_time)
            row = measure(contender, task, rows.X_test, rows.y_test)
            if max_time is not None and terms != EQUAL_TIME:
                row["detail"] += f"; {terms}, as {LEADER} has not been measured"
            table.append(key | row)
            print(
                f"  {data:10}{split:>3}  {targets:10}{name:18}{row['status']:9}"
                f"nll {row['nll']!s:>10}  crps {row['crps']!s:>9}"
                f"{row['fit_seconds']!s:>10} s  {row['detail']}",
                flush=True,
            )
    return table


def warm_up(contender):
    """Fit a few rows, so that what a package loads at first is in no one's time."""
    rows = np.random.default_rng(0).standard_normal((100, 3))
    task = Task(rows[:, :2], rows[:, 2], 0, max_time=0.5)
    with warnings.catch_warnings(), suppress(Exception):  # it will have a row that says so
        warnings.simplefilter("ignore")
        contender.fit(task).predict(rows[:5, :2]).quantiles()
