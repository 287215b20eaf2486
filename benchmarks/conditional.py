"""Conditional densities p(y | x), beside other estimators of them: one command for each table.

- `sets`: one target. Concrete, energy, kin8nm, power, wine and yacht with their public splits.
- `several`: several targets. Three tables cut into features and 2, 4 and 5 targets.
- `summary`: prints what there is.

Measured of one target, on the rows of each split that are held out:

- nll: the mean of -log p(y | x), in nats, in the units of y, and the highest of a row.
- crps: the continuous ranked probability score, from quantiles at 0.005, 0.010, ..., 0.995.
- pit_p: the p-value of the Kolmogorov-Smirnov test that the distribution function at y is uniform.
- coverage and width of central intervals, which are quantiles as well.

Targets repeat, as they are recorded to so many digits: wine has six values. A density may then be
as high as it likes there. So each estimator is fitted twice: to the targets as recorded, and with
uniform noise around them as wide as the smallest gap between two of them. NLL, PIT and coverage
are to be compared on noisy targets, the CRPS on those as recorded; the file has all of both.

- skflow: `ConditionalFlow` with its defaults. With `cv=5`, its intervals are calibrated by rows
  that flows of their own have not seen.
- linear Gaussian, deep ensemble, NGBoost, quantile forest, boosted quantiles, Treeffuser: in
  `_conditional/peers.py` and `_conditional/ensemble.py`, in their own time. The forest and the
  quantiles have no density, Treeffuser none that can be evaluated.
- zuko NSF, zuko MAF: conditional flows with the settings of `likelihood.py`. They are given the
  seconds that our fit took on the same rows, or one second if it took less; ten where it has not
  been measured.

All are fitted by one thread. A row is written to a CSV file in `benchmarks/results` as soon as it
is measured, and a command that is called again does not repeat what is there. A fit that fails
has a row that says so. The peers need

    pip install zuko nflows ngboost quantile-forest
    pip install lightgbm einops jaxtyping ml-collections && pip install --no-deps treeffuser

since Treeffuser asks for older versions of NumPy and scikit-learn than it needs.

    python benchmarks/conditional.py sets --data-dir DIR
    python benchmarks/conditional.py sets --data-dir DIR --splits 0 1 --only skflow NGBoost
"""

import argparse
from functools import partial
from pathlib import Path

from _common import RESULTS, run_by_one_thread
from _conditional import several
from _conditional.contenders import CONTENDERS
from _conditional.measure import FIELDS
from _conditional.run import DEFAULT_TIME, run
from _conditional.splits import SETS, TARGETS, load_split
from _conditional.summary import print_sets
from _data import load_table
from _likelihood import measure, tables
from _likelihood.rows import Rows
from _likelihood.summary import print_tables

N_SPLITS = 20


def run_sets(arguments):
    run(
        arguments.results / "conditional.csv",
        partial(load_split, arguments.data_dir),
        [
            (data, split, targets)
            for data in arguments.sets
            for split in arguments.splits
            for targets in arguments.targets
        ],
        {name: CONTENDERS[name] for name in CONTENDERS if name in arguments.only},
        arguments.default_time,
    )
    summarize(arguments)


def run_several(arguments):
    for name in arguments.tables:
        n_targets = several.TARGETS_OF[name]
        for seed in arguments.seeds:
            load = partial(load_table, arguments.data_dir, name, seed)
            tables.run(
                arguments.results / "conditional_several.csv",
                {f"{name}, {n_targets} targets": load},
                several.contenders(n_targets),
                seeds=(seed,),
                n_threads=1,
            )
    summarize(arguments)


def summarize(arguments):
    """Print what has been measured."""
    print_sets(Rows(arguments.results / "conditional.csv", FIELDS).rows)
    if found := Rows(arguments.results / "conditional_several.csv", measure.FIELDS).rows:
        print_tables(found)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, run):
        sub = commands.add_parser(name)
        sub.set_defaults(run=run)
        sub.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV files")
        return sub

    sub = command("sets", run_sets)
    sub.add_argument("--data-dir", type=Path, required=True)
    sub.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="all by default")
    sub.add_argument("--splits", type=int, nargs="+", default=range(N_SPLITS))
    sub.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    sub.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    sub.add_argument(
        "--default-time",
        type=float,
        default=DEFAULT_TIME,
        help="seconds of the peers' flows where our fit has not been measured",
    )
    sub = command("several", run_several)
    sub.add_argument("--data-dir", type=Path, required=True)
    sub.add_argument("--tables", nargs="+", choices=several.TARGETS_OF, default=several.TARGETS_OF)
    sub.add_argument("--seeds", type=int, nargs="+", default=range(3), help="of splits and fits")
    command("summary", summarize)
    return parser.parse_args()


def main():
    run_by_one_thread(parse())


if __name__ == "__main__":
    main()
