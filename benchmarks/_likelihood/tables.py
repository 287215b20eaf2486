"""Tables: every estimator on every data set, once for each seed."""

import warnings
from contextlib import suppress
from dataclasses import replace

import numpy as np

from .measure import FIELDS, measure
from .rows import Rows
from .task import Task

__all__ = ["EQUAL_PARAMETERS", "EQUAL_TIME", "OWN", "run", "warm_up"]

OWN, EQUAL_TIME, EQUAL_PARAMETERS = "own", "equal time", "equal time and parameters"
LEAST_TIME = 1.0


def run(
    path,
    loaders,
    contenders,
    *,
    seeds,
    n_threads,
    max_time=None,
    long_time=None,
    judged=(),
    judge=None,
):
    """Measure what the file does not have yet.

    Parameters
    ----------
    path : Path
        Of the CSV file.
    loaders : dict of str to callable
        Each returns rows to train on, to validate on and to test on.
    contenders : dict of str to Contender
        The first one takes its own time; those that are timed are given the seconds that it took
        on the same data with the same seed, and one second at least.
    seeds : sequence of int
        Of the models. The rows are the same for all of them.
    n_threads : int
    max_time : float, optional
        Seconds for the first contender, in place of its default.
    long_time : float, optional
        With the first seed, those that are sized have a fit with as many parameters as the
        first contender has, too, and those that validate have one of so many seconds.
    judged : sequence of str, optional
        Further columns.
    judge : callable, optional
        Takes the name of the data and a fitted density; returns a dict of these columns.
    """
    table = Rows(path, (*FIELDS, *judged))
    leader = next(iter(contenders))
    wanted = {
        data: [
            (seed, name, terms)
            for seed in seeds
            for name, terms in terms_of(contenders, long_time if seed == seeds[0] else None)
            if not table.find(data=data, seed=seed, estimator=name, terms=terms)
        ]
        for data in loaders
    }
    names = {name for fits in wanted.values() for _, name, _ in fits}
    warm_up([contenders[name] for name in names], n_threads)
    for data, fits in wanted.items():
        if not fits:
            continue
        train, validation, test = loaders[data]()
        print(
            f"\n{data}: {len(train)} + {len(validation)} + {len(test)} rows, "
            f"{train.shape[1]} columns",
            flush=True,
        )
        for seed, name, terms in fits:
            task = Task(train, validation, seed, n_threads, max_time if name == leader else None)
            first = table.find(data=data, seed=seed, estimator=leader, terms=OWN)
            if terms in (EQUAL_TIME, EQUAL_PARAMETERS):
                task = replace(task, max_time=max(float(first["fit_seconds"]), LEAST_TIME))
            elif terms != OWN:
                task = replace(task, max_time=long_time)
            if terms == EQUAL_PARAMETERS:
                if not first["parameters"]:
                    continue  # the first one failed
                task = replace(task, n_parameters=int(first["parameters"]))
            row, fitted = measure(contenders[name], task, test)
            row |= judge(data, fitted) if judge and fitted else dict.fromkeys(judged, "")
            table.append({"data": data, "estimator": name, "terms": terms, "seed": seed, **row})
            print(
                f"  seed {seed}  {name:22}{terms:28}{row['status']:9}{row['test_nats']!s:>12}"
                f"  lowest {row['lowest_nats']!s:<14}{row['fit_seconds']:>10} s  {row['detail']}",
                flush=True,
            )
    return table


def terms_of(contenders, long_time):
    """Yield what there is to fit for a seed, in order."""
    for name, contender in contenders.items():
        yield name, EQUAL_TIME if contender.timed else OWN
    if long_time is not None:
        for name, contender in contenders.items():
            if contender.sized:
                yield name, EQUAL_PARAMETERS
            if contender.validates:
                yield name, f"{long_time:g} s"


def warm_up(contenders, n_threads):
    """Fit each to a few rows, so that what a package loads at first is in no one's time."""
    rows = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    task = Task(rows[:100], rows[100:], 0, n_threads, max_time=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for contender in contenders:
            with suppress(Exception):  # it will have a row that says so
                contender.fit(task).score_samples(rows)
