"""Synthetic tables, beside those of other packages.

- `measure`: learns from three fifths of the rows, draws others, and compares them with a fifth.
- `summary`: prints what there is.

Tables are mixed ones of `mixed.py`, and numeric ones of the ADBench collection, of at most 2,000
rows and without their atoms. Each contender draws five tables of as many rows as are held out.
`_synthesis/peers.py` says who takes part.

- wasserstein: distance to the held-out rows, as the paper of Forest-Flow has it: numbers in shares
  of the fitted range, levels of categories as columns of 0 and 1/2, and L1 cost, by an exact
  assignment. The paper draws as many rows as were fitted, from four fifths of the table.
- area: under the ROC curve of a random forest that tells synthetic rows from held-out ones, on
  rows that it has not seen. 0.5 is by chance. Below 0.5 is chance, too.
- outside: the share of rows outside the supports: with a level that was not there, a part of a
  whole number, or a negative number where there are none.
- nearest_fitted: the share of rows that are nearer to a fitted row than to any that is held out.
  nearest_expected is that if nothing was copied, and nearest_pvalue belongs to it.

The other fifth of the rows are a reference, "real rows": what perfect synthetic rows would have.
"fitted rows drawn again" are another one, in which all is copied. References have no ranks.

All are fitted by one thread. A row is written to `benchmarks/results/synthesis.csv` as soon as it
is measured, and what is there is not repeated. A fit that fails has a row that says so. It needs
what `mixed.py` needs for its tables, and

    pip install ctgan sdv utrees ForestDiffusion

    python benchmarks/synthesis.py measure --data-dir DIR
    python benchmarks/synthesis.py measure --data-dir DIR --tables wilt --seeds 0 --only vine
"""

import argparse
from pathlib import Path

from _common import RESULTS, run_by_one_thread
from _likelihood.rows import Rows
from _synthesis.data import MIXED, NUMERIC, WITH_HOLES
from _synthesis.peers import PEERS
from _synthesis.run import FIELDS, run
from _synthesis.summary import summarize


def run_measure(arguments):
    run(arguments, {name: PEERS[name] for name in PEERS if name in arguments.only})
    run_summary(arguments)


def run_summary(arguments):
    """Print what has been measured."""
    summarize(Rows(arguments.results / "synthesis.csv", FIELDS).rows)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, run):
        sub = commands.add_parser(name)
        sub.set_defaults(run=run)
        sub.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV file")
        return sub

    names = [*MIXED, *WITH_HOLES, *NUMERIC]
    sub = command("measure", run_measure)
    sub.add_argument("--data-dir", type=Path, required=True)
    sub.add_argument("--tables", nargs="+", choices=names, default=names, help="all by default")
    sub.add_argument("--seeds", type=int, nargs="+", default=[0])
    sub.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS))
    command("summary", run_summary)
    return parser.parse_args()


def main():
    run_by_one_thread(parse())


if __name__ == "__main__":
    main()
