"""Fits that are killed at random moments, and resumed.

Each life of a fit is killed some times by SIGKILL, and then left to end. Every other kill comes
while a checkpoint is written: between two writes, before the file is on the disk, or between the
two renames. A life is well if its fit ends with the same bits as one that was never killed.
"""

import hashlib
import os
import random
import signal
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
from _common import write_csv

from skflow import ConditionalFlow, RelativeGradientFlow
from skflow.storage import replacing
from skflow.training import checkpoint

# So many steps of writing are at most counted before the process kills itself. A file takes some
# two hundred, and a fit here writes a few.
_STEPS_OF_WRITING = 250


def add_arguments(parser):
    """Add what the campaign takes to its command."""
    parser.add_argument("--kills", type=int, default=200, help="how many fits to kill")
    parser.add_argument("--most", type=int, default=4, help="the most kills in one life")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")


def run(arguments):
    """Run the campaign, and write its figures."""
    chance = random.Random(arguments.seed)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        known = {name: _digest(make(None)) for name, make in SCENARIOS.items()}
        n_kills = 0
        while n_kills < arguments.kills:
            name = list(SCENARIOS)[len(rows) % len(SCENARIOS)]
            life = _Life(name, Path(folder) / f"{len(rows)}.checkpoint", chance)
            n_asked = min(arguments.most, arguments.kills - n_kills)
            row = {"life": len(rows), "fit": name, **life.lived(n_asked, known[name])}
            n_kills += row["killed"]
            print(row, flush=True)
            rows.append(row)
    n_well = sum(row["same_bits"] for row in rows)
    print(f"{n_kills} kills, {n_well} of {len(rows)} lives ended with the same bits")
    write_csv(arguments.results / "reliability_kills.csv", rows)
    return rows


class _Life:
    """One fit, in one process after the other."""

    def __init__(self, name, path, chance):
        self.make, self.path, self.chance = SCENARIOS[name], path, chance
        self.seconds = None

    def lived(self, n_kills, expected):
        """Return what became of a fit that is killed so many times."""
        killed = during_writes = 0
        for k in range(n_kills):
            while_writing = (k % 2) == 0
            outcome = self._process(while_writing)
            if outcome is not None:  # it ended before it could be killed
                break
            killed += 1
            during_writes += while_writing
        else:
            outcome = self._process(None)
        return {
            "killed": killed,
            "during_writes": during_writes,
            "same_bits": int(outcome == expected),
            "what_else": "" if outcome == expected else outcome,
            "files_left": len(list(self.path.parent.glob(f"*{self.path.name}*"))),
        }

    def _process(self, while_writing):
        """Fit in a process of its own, and return its digest, or None if it was killed."""
        seed = self.chance.random()
        reader, writer = os.pipe()
        started = time.perf_counter()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _fit_and_tell(self.make, self.path, writer, seed if while_writing else None)
        os.close(writer)
        if while_writing is False:
            time.sleep(self.chance.uniform(0.02, self.seconds or 1.0))
            os.kill(child, signal.SIGKILL)
        with os.fdopen(reader) as pipe:
            told = pipe.read()
        _, status = os.waitpid(child, 0)
        if while_writing is None or not os.WIFSIGNALED(status):
            self.seconds = time.perf_counter() - started
        return None if os.WIFSIGNALED(status) and while_writing is not None else told


def _fit_and_tell(make, path, writer, seed):
    """Fit, write the digest to a pipe, and end the process."""
    if seed is not None:
        _die_while_writing(random.Random(seed))
    try:
        told = _digest(make(path))
    except BaseException:
        told = traceback.format_exc(limit=-3)
    os.write(writer, told.encode())
    os._exit(0)


def _die_while_writing(chance):
    """Have this process kill itself before some step of writing a checkpoint."""
    left = [chance.randrange(1, _STEPS_OF_WRITING)]

    def count():
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counting(parts):
        for part in parts:
            half = len(part) // 2
            count()
            yield part[:half]
            count()
            yield part[half:]

    replace_file, fsync, rename = replacing.replace_file, os.fsync, Path.replace

    def replace(path, parts, *, previous=None):
        replace_file(path, counting(parts), previous=previous)

    def flush(handle):
        count()
        fsync(handle)

    def move(path, target):
        count()
        return rename(path, target)

    checkpoint.replace_file, os.fsync, Path.replace = replace, flush, move


def _digest(fitted):
    digest = hashlib.sha256()
    estimator, arguments = fitted
    digest.update(np.ascontiguousarray(estimator.score_samples(*arguments)))
    digest.update(np.array(estimator.loss_curve_))
    return digest.hexdigest()


def _table(n_rows, n_features):
    rng = np.random.default_rng(n_rows + n_features)
    X = rng.normal(size=(n_rows, n_features))
    X[:, 1] += X[:, 0] ** 2
    return X


def _density(n_rows, n_features, weights=False, **parameters):
    X = _table(n_rows, n_features)

    def fitted(path):
        flow = RelativeGradientFlow(random_state=0, checkpoint_path=path, **parameters)
        counts = np.random.default_rng(0).integers(0, 3, len(X)) if weights else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return flow.fit(X, sample_weight=counts), (X,)

    return fitted


def _conditional(n_rows, n_targets):
    X = _table(n_rows, 4)
    y = X[:, :n_targets] ** 2 + _table(n_rows, n_targets + 1)[:, :n_targets]

    def fitted(path):
        flow = ConditionalFlow(random_state=0, max_iter=10, checkpoint_path=path)
        return flow.fit(X, y), (X, y)

    return fitted


SCENARIOS = {
    "few rows": _density(300, 3, max_iter=15),
    "few rows, from a mixture": _density(200, 2, max_iter=15),
    "many rows": _density(3000, 4, max_iter=10),
    "many rows, Adam": _density(3000, 3, optimizer="adam", dtype="float64", max_iter=8),
    "more columns than rows in a batch": _density(1200, 60, batch_size=30, max_iter=6),
    "no rows held out": _density(500, 3, early_stopping=False, max_iter=20),
    "weights": _density(400, 3, weights=True, max_iter=12),
    "one target": _conditional(300, 1),
    "two targets": _conditional(300, 2),
}
