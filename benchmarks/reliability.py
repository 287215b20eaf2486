"""Look for faults: kills, Ctrl-C, altered files, fuzzed calls, random fits, long runs, processors.

Each campaign is a command of its own, and writes its figures to results/reliability_NAME.csv:

    python benchmarks/reliability.py kills
"""

import argparse
from importlib import import_module
from pathlib import Path

from _common import RESULTS, run_by_one_thread

CAMPAIGNS = {
    "kills": "fits that are killed, and resumed from their checkpoints",
    "files": "model files and checkpoints with altered bytes",
    "calls": "calls of the public interface with input of every kind",
    "fits": "random parameters, tables and scales",
    "round_trips": "rows to latents and back, by the models of the likelihood benchmark",
    "interrupts": "Ctrl-C at random moments of fits",
    "soak": "a million steps, and scores from many threads",
    "processors": "scores of a saved model by the instructions of other processors",
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, what in CAMPAIGNS.items():
        command = commands.add_parser(name, help=what, description=what)
        campaign = import_module(f"_reliability.{name}")
        campaign.add_arguments(command)
        command.add_argument(
            "--results", type=Path, default=RESULTS, help="folder of the CSV file"
        )
        command.set_defaults(run=campaign.run)
    run_by_one_thread(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
