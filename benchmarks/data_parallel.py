"""Fits that several processes on this machine do together, by gloo.

    python benchmarks/data_parallel.py equality
    python benchmarks/data_parallel.py bytes
    python benchmarks/data_parallel.py kill

The first compares the weights and scores of 2 and 4 processes with those of one. The second counts
the bytes of a step on a loopback interface that nothing else uses, which takes Linux. The third
kills or stops a process, sees how the others end, and goes on with one process fewer.
"""

import argparse
import ctypes
import fcntl
import json
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _common import RESULTS, run_by_one_thread, write_csv
from _processes import environment, free_port

from skflow.distributed.traffic import (
    n_factors,
    received_by_gather,
    received_by_reduction,
    received_per_step,
    rows_of_part,
)

WORKER = Path(__file__).with_name("_data_parallel_worker.py")
RANKS = (2, 4)

# Columns, rows in a step, how many factors are exchanged (none: sums; -1: what is least), and
# whether there are splines beside the dense layers.
SIZES = (
    (64, 32, -1, True),
    (64, 256, -1, True),
    (512, 64, -1, True),
    (512, 1024, -1, True),
    (512, 64, 3, False),
    (512, 64, 2, False),
    (512, 64, 0, False),
    (2048, 256, 3, False),
    (2048, 256, 2, False),
    (2048, 256, 0, False),
)

# How many processes there are, which of them is ended, and how.
ENDS = ((2, 1, "SIGKILL"), (4, 2, "SIGKILL"), (4, 0, "SIGKILL"), (4, 3, "SIGSTOP"))

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1


def own_network():
    """Give the processes that follow a loopback interface of their own."""
    if ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NETWORK) != 0:
        raise OSError("This process may not have a network of its own.")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = fcntl.ioctl(any_socket, _GET_FLAGS, struct.pack("16sh14x", b"lo", 0))
        (flags,) = struct.unpack_from("16xh", request)
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


def torchrun(n_ranks, path):
    """Return the command that starts the processes, which is the program itself for one."""
    if n_ranks == 1:
        return [sys.executable, str(WORKER), str(path)]
    local = ["--nnodes", "1", "--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    options = [*local, "--nproc-per-node", str(n_ranks)]
    return [sys.executable, "-m", "torch.distributed.run", *options, str(WORKER), str(path)]


def run_jobs(jobs, n_ranks, *, network=None):
    """Return the results of each process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "jobs")
        path.write_text(json.dumps(jobs), encoding="utf-8")
        subprocess.run(
            torchrun(n_ranks, path),
            env=environment(n_ranks),
            check=True,
            preexec_fn=network,
        )
        return [
            torch.load(path.with_suffix(f".{rank}.pt"), weights_only=False)
            for rank in range(n_ranks)
        ]


def run_equality(arguments):
    """Compare fits of several processes with those of one."""
    job = {"task": "equality", "rows": arguments.rows, "epochs": arguments.epochs}
    ((alone,),) = run_jobs([job], 1)
    rows = []
    for n_ranks in arguments.ranks:
        (first,), *others = run_jobs([job], n_ranks)
        for name, expected in alone.items():
            differences = {
                f"largest_difference_of_{kind}": f"{abs(first[name][kind] - values).max():.1e}"
                for kind, values in expected.items()
            }
            same = all(
                np.array_equal(other[name][kind], first[name][kind])
                for (other,) in others
                for kind in expected
            )
            row = {"fit": name, "ranks": n_ranks, **differences, "same_bits_on_all_ranks": same}
            rows.append(row)
            print(*row.values(), sep="  ")
    write_csv(arguments.results / "data_parallel_equality.csv", rows)


def run_bytes(arguments):
    """Compare the bytes of steps with the formula."""
    sizes = [size for size in SIZES if size[0] <= arguments.most_columns]
    rows = []
    for n_ranks in arguments.ranks:
        jobs = [
            {"task": "steps", "layers": 2, "steps": 10, "columns": d, "rows": n}
            | {"factors": n_factors(n, d) if by < 0 else by, "splines": splines}
            for d, n, by, splines in sizes
        ]
        first, *_ = run_jobs(jobs, n_ranks, network=own_network)
        for job, found in zip(jobs, first, strict=True):
            d, n, factors = job["columns"], job["rows"], job["factors"]
            layer = (
                received_by_gather(factors * rows_of_part(n, n_ranks) * d, n_ranks)
                if factors
                else received_by_reduction(d * d + d, n_ranks)
            )
            others = {"n_layers": 0, "n_others": found["others"], "n_ranks": n_ranks}
            formula = 4 * job["layers"] * layer + received_per_step(n, d, **others)
            row = {
                "columns": d,
                "rows_in_a_step": n,
                "ranks": n_ranks,
                "exchanged": f"{factors} factors" if factors else "sums",
                "other_parameters": found["others"],
                "formula_bytes": round(formula),
                "counted_bytes": round(found["counted"]),
                "wire_bytes": round(found["wire"]),
                "wire_over_formula": f"{found['wire'] / formula:.4f}",
                "processor_milliseconds": f"{found['milliseconds']:.1f}",
            }
            rows.append(row)
            print(*row.values(), sep="  ")
    write_csv(arguments.results / "data_parallel_bytes.csv", rows)


def run_kill(arguments):
    """Kill or stop processes, and go on with one fewer."""
    rows = []
    for n_ranks, which, name in ENDS:
        if n_ranks in arguments.ranks:
            rows.append(killed(n_ranks, which, name, arguments))
            print(*rows[-1].values(), sep="  ")
    write_csv(arguments.results / "data_parallel_kill.csv", rows)


def killed(n_ranks, which, name, arguments):
    """Return how the other processes ended, and what the fit comes to after all."""
    with tempfile.TemporaryDirectory() as folder:
        job = {
            "task": "killed",
            "rows": arguments.rows,
            "epochs": arguments.epochs,
            "after": arguments.after,
            "signal": name,
            "killed": which,
            "folder": folder,
            "checkpoint": str(Path(folder, "checkpoint")),
        }
        path = Path(folder, "jobs")
        path.write_text(json.dumps([job]), encoding="utf-8")
        port = free_port()
        ranks = [
            subprocess.Popen(
                [sys.executable, str(WORKER), str(path)], env=environment(n_ranks, rank, port)
            )
            for rank in range(n_ranks)
        ]
        left = [process for rank, process in enumerate(ranks) if rank != which]
        for process in left:
            process.wait()
        seconds = time.time() - Path(folder, "died").stat().st_mtime
        ranks[which].send_signal(signal.SIGKILL)
        ranks[which].wait()
        named = {
            torch.load(path.with_suffix(f".{rank}.pt"), weights_only=False)[0]["ranks"]
            for rank in range(n_ranks)
            if rank != which
        }
        job["killed"] = None
        (resumed,), *_ = run_jobs([job], n_ranks - 1)
        ((alone,),) = run_jobs([job | {"checkpoint": None}], 1)
    return {
        "ranks": n_ranks,
        "signal": name,
        "to_rank": which,
        "seconds_until_all_others_ended": f"{seconds:.1f}",
        "named_on_all_others": " and ".join(sorted(str(one) for found in named for one in found)),
        "resumed_on_ranks": n_ranks - 1,
        "largest_difference_of_scores": f"{abs(resumed['scores'] - alone['scores']).max():.1e}",
    }


def main():
    """Run the benchmark that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--ranks", type=int, nargs="+", default=list(RANKS), metavar="R")
    commands = parser.add_subparsers(required=True)
    for run in (run_equality, run_bytes, run_kill):
        command = commands.add_parser(run.__name__.removeprefix("run_"), help=run.__doc__)
        command.set_defaults(run=run)
        if run is run_bytes:
            command.add_argument("--most-columns", type=int, default=2048)
            continue
        command.add_argument("--rows", type=int, default=1000)
        command.add_argument("--epochs", type=int, default=10)
        if run is run_kill:
            command.add_argument("--after", type=int, default=30, help="steps before the signal")
    run_by_one_thread(parser.parse_args())


if __name__ == "__main__":
    main()
