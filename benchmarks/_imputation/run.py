"""Every contender on every table with holes, and the likelihoods of fits to them."""

import time
import warnings
from datetime import date
from functools import cache

import numpy as np
from _likelihood.measure import rounded, version_of
from _likelihood.rows import Rows
from _tables.task import coded

from .data import load_case
from .measure import MEASURES, quality
from .peers import LEADER

__all__ = ["FIELDS", "LIKELIHOOD_FIELDS", "LIKELIHOOD_FITS", "run"]

COMMON = ("n_rows", "n_columns", "fit_seconds", "warnings", "version", "date", "detail")
FIELDS = ("data", "seed", "estimator", "status", *MEASURES, *COMMON)
LIKELIHOOD_FIELDS = ("data", "seed", "estimator", "status", "nats", "lowest_nats", *COMMON)

# Rows that TableFlow is fitted to.
LIKELIHOOD_FITS = ("rows with holes", "complete rows", "no holes")
FEWEST_ROWS = 2


def run(arguments, peers):
    """Measure what the files do not have yet.

    Parameters
    ----------
    arguments : Namespace
        With data_dir, results, tables, seeds and likelihood.
    peers : dict of str to (callable, str)
        Each imputes a case; beside it is the name of its package.
    """
    imputed = Rows(arguments.results / "imputation.csv", FIELDS)
    scored = Rows(arguments.results / "imputation_likelihood.csv", LIKELIHOOD_FIELDS)
    for data in arguments.tables:
        for seed in arguments.seeds:
            case = cache(lambda data=data, seed=seed: load_case(arguments.data_dir, data, seed))
            for name, (impute, package) in peers.items():
                key = {"data": data, "seed": seed, "estimator": name}
                if imputed.find(**key):
                    continue
                row, model = imputation(case(), impute, package)
                imputed.append(key | row)
                show(key, row, ("mae", "error_share", "wasserstein", "coverage"))
                if name == LEADER and arguments.likelihood and model is not None:
                    key["estimator"] = LIKELIHOOD_FITS[0]
                    if not scored.find(**key):
                        row = likelihood(case(), case().holed, model)
                        scored.append(key | row)
                        show(key, row, ("nats",))
            for name in LIKELIHOOD_FITS if arguments.likelihood else ():
                key = {"data": data, "seed": seed, "estimator": name}
                if not scored.find(**key):
                    row = likelihood(case(), rows_of(case(), name))
                    scored.append(key | row)
                    show(key, row, ("nats",))


def show(key, row, measures):
    figures = "".join(f"  {name} {row[name]!s:8}" for name in measures)
    print(
        "  {data:14}{seed:>2}  {estimator:24}".format(**key)
        + f"{row['status']:8}{figures}{row['fit_seconds']!s:>9} s  {row['detail']}",
        flush=True,
    )


def rows_of(case, name):
    return {"rows with holes": case.holed, "complete rows": case.complete, "no holes": case.full}[
        name
    ]


def imputation(case, impute, package):
    """Return the row of a filled table, and the model that filled it, if there is one."""
    kinds, truth = list(case.table.kinds.values()), coded(case.table, case.full)
    found, status, detail, model, seconds = dict.fromkeys(MEASURES, ""), "ok", "", None, ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.perf_counter()
        try:
            filled, draws, model = impute(case)
            seconds = time.perf_counter() - started
            found = quality(kinds, truth, case.holes, filled, draws)
        except Exception as error:  # of any package, and of any kind
            status, detail = "failed", f"{type(error).__name__}: {error}".partition("\n")[0]
    return {
        "status": status,
        **{name: rounded(value, 5) for name, value in found.items()},
        **common(case.full, seconds, caught, package),
        "detail": detail,
    }, model


def likelihood(case, rows, model=None):
    """Return the row of a fit to some rows, scored by the test rows, which have no holes."""
    from skflow import TableFlow

    nats, status, detail, seconds = None, "ok", "fitted to be filled", ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.perf_counter()
        try:
            if model is None:
                if len(rows) < FEWEST_ROWS:
                    raise ValueError(f"{len(rows)} rows")
                model, detail = TableFlow(random_state=case.seed).fit(rows), ""
                seconds = time.perf_counter() - started
            nats = model.score_samples(case.test)
            status = "ok" if np.isfinite(nats).all() else "infinite"
        except Exception as error:  # of any kind
            status, detail = "failed", f"{type(error).__name__}: {error}".partition("\n")[0]
    return {
        "status": status,
        "nats": "" if nats is None else rounded(nats.mean(), 5),
        "lowest_nats": "" if nats is None else rounded(nats.min(), 5),
        **common(rows, seconds, caught, "skflow"),
        "detail": detail,
    }


def common(rows, seconds, caught, package):
    return {
        "n_rows": len(rows),
        "n_columns": rows.shape[1],
        "fit_seconds": rounded(seconds, 3),
        "warnings": len(caught),
        "version": version_of(package),
        "date": date.today().isoformat(),
    }
