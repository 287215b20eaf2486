"""Validation nats over seconds: fits of several lengths, each with a schedule of its own."""

from datetime import date

from .contenders import (
    CONTENDERS,
    GAUSSIAN,
    PAPER_LAYERS,
    PUBLISHED,
    REDRAWN,
    skflow_contender,
)
from .measure import measure
from .rows import Rows
from .tables import warm_up
from .task import LEADER, NO_LIMIT, Task

__all__ = ["FIELDS", "contenders", "run"]

FIELDS = (
    *("data", "estimator", "seed", "budget", "point", "seconds", "validation_nats"),
    *("lowest_nats", "trimmed_nats"),
    *("n_validation", "n_rows", "n_features", "parameters", "status"),
    *("threads", "version", "date", "detail"),
)

N_ALONG = 2000  # validation rows while a fit is running


def contenders(data):
    """Return who takes part: of other packages, masked autoregressive and spline flows."""
    chosen = {
        "Gaussian": GAUSSIAN,
        LEADER: skflow_contender(timed=True, max_iter=NO_LIMIT),
        **{
            name: CONTENDERS[name]
            for name in ("zuko MAF", "zuko MAF, wide", "zuko NSF", "zuko NSF, wide")
        },
    }
    if data == "mnist":
        chosen["skflow, redrawn noise"] = REDRAWN
        chosen["skflow, the paper's layers"] = skflow_contender(timed=True, **PAPER_LAYERS)
    chosen["published, 2 layers"] = skflow_contender(timed=True, n_layers=2, **PUBLISHED)
    return chosen


def run(path, data, load, contenders, *, budgets, seeds, n_threads, groups_of=None):
    """Measure what the file does not have yet.

    A fit has one row with the point "end", which is scored on all validation rows when it is
    over. Networks of zuko have a row for each validation on the way before it, on `N_ALONG` of the
    rows, and keep the weights that were best on these. Our estimator holds rows out of those to
    train on. The Gaussian takes no time worth mentioning and has one row.

    Parameters
    ----------
    path : Path
        Of the CSV file.
    data : str
    load : callable
        Returns rows to train on and to validate on.
    contenders : dict of str to Contender
    budgets : sequence of float
        Seconds of a fit.
    seeds : sequence of int
    n_threads : int
    groups_of : callable, optional
        Returns the groups of the rows to train on. Who holds rows out by itself holds out groups.
    """
    table = Rows(path, FIELDS)
    wanted = [
        (budget, seed, name)
        for budget in sorted(budgets)
        for seed in seeds
        for name, contender in contenders.items()
        if contender.timed or (budget, seed) == (min(budgets), min(seeds))
        if not find_end(table, data, name, seed, budget if contender.timed else "")
    ]
    if not wanted:
        return table
    train, validation = load()
    groups = None if groups_of is None else groups_of(train)
    along = validation[:: -(-len(validation) // N_ALONG)]
    print(f"\n{data}: {len(train)} + {len(validation)} rows, {train.shape[1]} columns", flush=True)
    warm_up([contenders[name] for name in {name for _, _, name in wanted}], n_threads)
    for budget, seed, name in wanted:
        contender = contenders[name]
        # Who holds rows out by itself is not given those that it is scored on.
        held_out = along if contender.validates else validation[:0]
        limit = budget if contender.timed else None
        task = Task(train, held_out, seed, n_threads, limit, groups=groups)
        row, fitted = measure(contender, task, validation)
        common = {
            "data": data,
            "estimator": name,
            "seed": seed,
            "budget": "" if limit is None else float(limit),
            "n_rows": len(train),
            "date": date.today().isoformat(),
            **{key: row[key] for key in ("n_features", "parameters", "status", "threads")},
            **{key: row[key] for key in ("version", "detail")},
        }
        for seconds, nats in fitted.scores if fitted else ():
            point = {"point": "along", "seconds": round(seconds, 3)}
            score = {"validation_nats": round(float(nats), 4), "n_validation": len(along)}
            table.append({**common, **point, **score})
        point = {"point": "end", "seconds": row["fit_seconds"]}
        score = {"validation_nats": row["test_nats"], "n_validation": len(validation)}
        score |= {key: row[key] for key in ("lowest_nats", "trimmed_nats")}
        table.append({**common, **point, **score})
        print(
            f"  {budget:7.0f} s  seed {seed}  {name:30}{row['status']:9}{row['test_nats']!s:>12}"
            f"  lowest {row['lowest_nats']!s:<14}{row['fit_seconds']:>10} s  {row['detail']}",
            flush=True,
        )
    return table


def find_end(table, data, name, seed, budget):
    key = {"data": data, "estimator": name, "seed": seed, "point": "end"}
    return table.find(**key, budget=budget if budget == "" else float(budget))
