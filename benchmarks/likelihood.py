"""Held-out log-likelihood, beside other density estimators: one command for each table.

- `tables`: 13 real tables. Each estimator is given the same rows, four fifths to train on and a
  tenth to validate on, and scored on the last tenth. Ours has its defaults. Networks of other
  packages have their authors' settings and are given the seconds that our fit took on the same
  data with the same seed, or one second if it took less. With the first seed they are fitted
  twice more: with as many parameters as ours has, and for a minute. Mixtures, kernels and vines
  take their own time; kernels and vines are fitted to a sample of a large table, whose size is
  in the results.
- `mnist`, `bsds300`: validation nats over the seconds of a fit.
- `archive`: POWER, GAS, HEPMASS, MINIBOONE and BSDS300 of the public archive, on the terms of
  `tables`; `archive --grid` searches the hyperparameters of the paper instead.
- `ablations`: our estimator with one thing changed at a time.
- `summary`: prints and draws what there is.

A fit's row is written to a CSV file in `benchmarks/results` as soon as it is measured, and a
command that is called again does not repeat what is there: move the file away when the estimator
has changed. A fit that fails has a row that says so. All scores are nats per row, in the units of
the data. Beside each mean stand the lowest score of a row, and the mean without the lowest 0.1 %
of the rows: a few rows can decide a mean.

    python benchmarks/likelihood.py tables --data-dir DIR
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from _archive import ARCHIVE
from _common import RESULTS, STATIC
from _data import TABLES, images_of_patches, load_bsds300, load_mnist, load_table
from _likelihood import ablations, curves, grid, measure, summary, tables
from _likelihood.contenders import CONTENDERS
from _likelihood.rows import Rows
from threadpoolctl import threadpool_limits

IMAGES = {"mnist": load_mnist, "bsds300": load_bsds300}
GROUPS = {"bsds300": images_of_patches}


def chosen(contenders, names):
    """Return those that were asked for; the first takes part always, for its time."""
    leader = next(iter(contenders))
    return {name: c for name, c in contenders.items() if not names or name in (leader, *names)}


def run_tables(arguments):
    tables.run(
        arguments.results / "likelihood_tables.csv",
        {name: partial(load_table, arguments.data_dir, name) for name in arguments.sets or TABLES},
        chosen(CONTENDERS, arguments.only),
        seeds=arguments.seeds,
        long_time=arguments.long_time or None,
        n_threads=arguments.threads,
        max_time=arguments.max_time,
    )
    summarize(arguments, "tables")


def run_archive(arguments):
    loaders = {
        name: partial(ARCHIVE[name], arguments.data_dir) for name in arguments.sets or ARCHIVE
    }
    if arguments.grid:
        for name, load in loaders.items():
            best = grid.search(
                arguments.results / "likelihood_grid.csv",
                name,
                load(),
                n_threads=arguments.threads,
                max_time=arguments.max_time,
            )
            print(f"\n{name}, best on the validation rows: {best}", flush=True)
        return
    tables.run(
        arguments.results / "likelihood_archive.csv",
        loaders,
        chosen(CONTENDERS, arguments.only),
        seeds=arguments.seeds,
        n_threads=arguments.threads,
        max_time=arguments.max_time,
    )
    summarize(arguments, "archive")


def run_ablations(arguments):
    tables.run(
        arguments.results / "likelihood_ablations.csv",
        {name: partial(load_table, arguments.data_dir, name) for name in arguments.sets or TABLES},
        chosen(ablations.contenders(), arguments.only),
        seeds=arguments.seeds,
        n_threads=arguments.threads,
        max_time=arguments.max_time,
    )
    summarize(arguments, "ablations")


def run_curves(arguments):
    data = arguments.command
    contenders = curves.contenders(data)
    curves.run(
        arguments.results / f"likelihood_{data}.csv",
        data,
        partial(IMAGES[data], arguments.data_dir),
        {
            name: c
            for name, c in contenders.items()
            if not arguments.only or name in arguments.only
        },
        budgets=arguments.budgets,
        seeds=arguments.seeds,
        n_threads=arguments.threads,
        groups_of=GROUPS.get(data),
    )
    summarize(arguments, data)


def summarize(arguments, only=None):
    """Print and draw what has been measured, or the part of one command."""

    def rows(part, fields):
        if only not in (None, part):
            return []
        return Rows(arguments.results / f"likelihood_{part}.csv", fields).rows

    for part in ("tables", "archive"):
        if found := rows(part, measure.FIELDS):
            summary.print_tables(found)
            summary.draw_differences(found, arguments.figures / f"likelihood_{part}.png")
    for data in IMAGES:
        if found := rows(data, curves.FIELDS):
            summary.print_curves(found)
            summary.draw_curves(found, data, arguments.figures / f"likelihood_{data}.png")
    if found := rows("ablations", measure.FIELDS):
        summary.print_ablations(found)
        summary.draw_differences(
            found, arguments.figures / "likelihood_ablations.png", leader=ablations.DEFAULT
        )


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, run, *, data=True):
        sub = commands.add_parser(name)
        sub.set_defaults(run=run)
        sub.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV files")
        sub.add_argument("--figures", type=Path, default=STATIC, help="folder of the figures")
        if data:
            sub.add_argument("--data-dir", type=Path, required=True)
            sub.add_argument("--threads", type=int, default=1)
            sub.add_argument("--only", nargs="+", help="estimators; all by default")
        return sub

    for name, run, n_seeds, sets in (
        ("tables", run_tables, 5, TABLES),
        ("archive", run_archive, 1, ARCHIVE),
        ("ablations", run_ablations, 3, TABLES),
    ):
        sub = command(name, run)
        sub.add_argument("--sets", nargs="+", choices=sets, help="data sets; all by default")
        sub.add_argument("--seeds", type=int, nargs="+", default=list(range(n_seeds)))
        sub.add_argument("--max-time", type=float, help="seconds of our fits; none by default")
        if name == "tables":
            sub.add_argument(
                "--long-time",
                type=float,
                default=60.0,
                help="seconds of the peers' longer fits; 0: none of these, nor of equal size",
            )
        if name == "archive":
            sub.add_argument("--grid", action="store_true", help="search the paper's grid")
    for name, budgets in (("mnist", (60, 120, 300, 1200, 3600)), ("bsds300", (120, 600, 3600))):
        sub = command(name, run_curves)
        sub.add_argument("--seeds", type=int, nargs="+", default=[0])
        sub.add_argument(
            "--budgets", type=float, nargs="+", default=budgets, help="seconds of the fits"
        )
    command("summary", summarize, data=False)
    return parser.parse_args()


def main():
    arguments = parse()
    if arguments.command == "summary":
        summarize(arguments)
        return
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(arguments.threads):
        arguments.run(arguments)


if __name__ == "__main__":
    main()
