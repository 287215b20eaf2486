"""Every contender on every table, and its row."""

import time
import warnings
from datetime import date
from functools import cache

from _likelihood.measure import rounded, version_of
from _likelihood.rows import Rows
from _likelihood.task import Unattainable

from .data import WITH_HOLES, load_case
from .measure import MEASURES, MOST_ROWS, quality
from .peers import LEADER, REFERENCES

__all__ = ["FIELDS", "run"]

N_DRAWS = 5
FIELDS = (
    *("data", "seed", "estimator", "status", *MEASURES),
    *("n_rows", "n_columns", "n_held_out", "fit_seconds", "sample_seconds"),
    *("warnings", "version", "date", "detail"),
)


def run(arguments, peers):
    """Measure what the file does not have yet.

    Parameters
    ----------
    arguments : Namespace
        With data_dir, results, tables and seeds.
    peers : dict of str to (callable, str)
        Each fits a case, and returns how to draw rows and a word on the fit; beside it is the
        name of its package. On tables with holes, the leader alone takes part.
    """
    rows = Rows(arguments.results / "synthesis.csv", FIELDS)
    for data in arguments.tables:
        for seed in arguments.seeds:
            case = cache(lambda data=data, seed=seed: load_case(arguments.data_dir, data, seed))
            for name, (fit, package) in peers.items():
                key = {"data": data, "seed": seed, "estimator": name}
                takes_part = data not in WITH_HOLES or name in (LEADER, *REFERENCES)
                if takes_part and not rows.find(**key):
                    row = measured(case(), fit, package)
                    rows.append(key | row)
                    show(key, row)


def measured(case, fit, package):
    """Fit, draw and describe. A fit that fails is a row, too.

    Parameters
    ----------
    case : Case
    fit : callable
    package : str

    Returns
    -------
    row : dict
        All of `FIELDS` but those that name it.
    """
    found, status, detail, seconds = dict.fromkeys(MEASURES, ""), "ok", "", ["", ""]
    n_rows = min(len(case.held_out), MOST_ROWS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.perf_counter()
        try:
            sample, detail = fit(case)
            seconds[0] = time.perf_counter() - started
            drawn = [sample(n_rows, 1000 * case.seed + k) for k in range(N_DRAWS)]
            seconds[1] = time.perf_counter() - started - seconds[0]
            found = quality(case, [each.reset_index(drop=True) for each in drawn])
        except Exception as error:  # of any package, and of any kind
            status = "left out" if isinstance(error, Unattainable) else "failed"
            detail = f"{type(error).__name__}: {error}".partition("\n")[0]
    return {
        "status": status,
        **{name: rounded(value, 5) for name, value in found.items()},
        "n_rows": len(case.fitted),
        "n_columns": case.fitted.shape[1],
        "n_held_out": len(case.held_out),
        "fit_seconds": rounded(seconds[0], 3),
        "sample_seconds": rounded(seconds[1], 3),
        "warnings": len(caught),
        "version": version_of(package),
        "date": date.today().isoformat(),
        "detail": detail,
    }


def show(key, row):
    figures = "".join(f"  {name} {row[name]!s:8}" for name in MEASURES[:4])
    print(
        "  {data:22}{seed:>2}  {estimator:24}".format(**key)
        + f"{row['status']:8}{figures}{row['fit_seconds']!s:>9} s  {row['detail']}",
        flush=True,
    )
