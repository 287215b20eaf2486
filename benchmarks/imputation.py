"""Filling holes of tables, and what holes cost a fit, beside other imputers.

- `measure`: takes a fifth of the entries away, at random, and compares what is filled in.
- `summary`: prints what there is.

Tables are numeric ones of the ADBench collection, of at most 2,000 rows and without their atoms,
and mixed ones of `mixed.py`. Four fifths of the rows have holes and are fitted and filled.

- mae: absolute error of the median, in standard deviations of a column, mean over columns. The
  file has it in shares of the range as well.
- error_share: how many categories are wrong, mean over columns.
- wasserstein: distance between draws and truth, in standard deviations, mean over columns. Who
  has no draws is measured by what is filled in.
- coverage: how many true numbers lie between the least and the greatest of 20 draws. If draws are
  like the truth, it is 19/21 = 0.905: these are intervals of 90 %.

Published figures (mean error 0.12 and Wasserstein distance 0.32 on 27 tables) are of other tables,
of columns scaled to their range, and of the mean over imputations.

What holes cost is the mean log-likelihood of rows without holes, after a fit of TableFlow to the
rows with holes, to those among them that are complete, and to all of them before the holes. Where
fewer than two rows are complete, there is no such fit.

All are fitted by one thread. A row is written to `benchmarks/results/imputation.csv` and
`imputation_likelihood.csv` as soon as it is measured, and what is there is not repeated. A fit
that fails has a row that says so. It needs what `mixed.py` needs for its tables, and

    pip install miceforest "lightgbm<4.7"

    python benchmarks/imputation.py measure --data-dir DIR
    python benchmarks/imputation.py measure --data-dir DIR --tables wilt --seeds 0 --only mean
"""

import argparse
from pathlib import Path

import numpy as np
from _common import RESULTS, run_by_one_thread
from _imputation.data import MIXED, NUMERIC
from _imputation.measure import MEASURES
from _imputation.peers import PEERS
from _imputation.run import FIELDS, LIKELIHOOD_FIELDS, LIKELIHOOD_FITS, run
from _likelihood.rows import Rows
from _tables.summary import means, print_means

N_SEEDS = 3


def run_measure(arguments):
    run(arguments, {name: PEERS[name] for name in PEERS if name in arguments.only})
    summarize(arguments)


def summarize(arguments):
    """Print what has been measured."""
    rows = Rows(arguments.results / "imputation.csv", FIELDS).rows
    for measure in (*MEASURES, "fit_seconds"):
        if found := means(rows, measure, case="seed"):
            print_means(found, measure)
    scored = Rows(arguments.results / "imputation_likelihood.csv", LIKELIHOOD_FIELDS).rows
    if found := means(scored, "nats", case="seed"):
        print_means(found, "mean log-likelihood of rows without holes", highest=True)
        for data, share in costs(found).items():
            print(f"  {data:22}holes cost {share:.3f} of what complete rows alone cost")
    for row in rows + scored:
        if row["status"] != "ok":
            print("{data}, seed {seed}, {estimator}: {status} {detail}".format(**row))


def costs(values):
    """Return by table what fits to holes lose, as a share of what fits to complete rows lose.

    Parameters
    ----------
    values : dict
        Likelihoods, of `means`. Of seeds without all fits, there is no loss.

    Returns
    -------
    shares : dict of str to float
        The losses are sums over the seeds.
    """
    shares = {}
    for data, found in values.items():
        if set(found) != set(LIKELIHOOD_FITS):
            continue
        holed, complete, full = (found[name] for name in LIKELIHOOD_FITS)
        seeds = holed.keys() & complete.keys() & full.keys()
        if seeds:
            lost, lost_by_complete = (
                np.sum([full[seed] - part[seed] for seed in seeds]) for part in (holed, complete)
            )
            shares[data] = lost / lost_by_complete
    return shares


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, run):
        sub = commands.add_parser(name)
        sub.set_defaults(run=run)
        sub.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV files")
        return sub

    names = [*MIXED, *NUMERIC]
    sub = command("measure", run_measure)
    sub.add_argument("--data-dir", type=Path, required=True)
    sub.add_argument("--tables", nargs="+", choices=names, default=names, help="all by default")
    sub.add_argument("--seeds", type=int, nargs="+", default=range(N_SEEDS))
    sub.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS))
    sub.add_argument(
        "--no-likelihood",
        dest="likelihood",
        action="store_false",
        help="leave out what holes cost",
    )
    command("summary", summarize)
    return parser.parse_args()


def main():
    run_by_one_thread(parse())


if __name__ == "__main__":
    main()
