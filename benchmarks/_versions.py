"""Versions of this package side by side, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["Version", "checked_out"]

ROOT = Path(__file__).parents[1]


class Version:
    """A version of the package, installed from its sources, and a process that measures it.

    Parameters
    ----------
    source : path
        Where its sources are.
    worker : path
        The script that answers questions, a line of JSON each.
    threads : int
        How many threads the process has.
    """

    def __init__(self, source, worker, threads):
        self._room = tempfile.TemporaryDirectory()
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*install, self._room.name, str(source)], check=True)
        environment = os.environ | {
            "PYTHONPATH": self._room.name,
            "OMP_NUM_THREADS": str(threads),
            "NUMBA_CACHE_DIR": str(Path(self._room.name) / "cache"),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, **question):
        """Return the answer to a question."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        """End the process, and remove what was installed."""
        self._process.terminate()
        self._process.wait()
        self._room.cleanup()


def checked_out(reference, room):
    """Return where the sources of a commit are, which are put into a directory.

    Parameters
    ----------
    reference : str
        As Git takes it.
    room : path
        An empty directory.
    """
    archive = subprocess.run(
        ["git", "archive", reference], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    subprocess.run(["tar", "-x", "-C", str(room)], input=archive.stdout, check=True)
    return Path(room)
