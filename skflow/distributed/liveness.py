"""Which processes of a group live, by what each of them writes into the group's store."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from skflow.exceptions import RankError

__all__ = ["Liveness", "Store"]

# Each process says that it lives, every so many seconds.
_BEAT = 1.0

# One that has said nothing for so long, while others wait for it, has stopped. One that holds
# Python's lock, as a compiler may, says nothing for some seconds.
_SILENCE = 10.0

# The same, once a connection has broken: it tells that some process has.
_SILENCE_AFTER_BREAK = 4.0

# How long the process that keeps the store stays, for the others to read there which one stopped.
_STAY = 3.0


class Store(Protocol):
    """What :class:`torch.distributed.Store` has."""

    def add(self, key: str, amount: int) -> int: ...  # noqa: D102
    def check(self, keys: list[str]) -> bool: ...  # noqa: D102
    def get(self, key: str) -> bytes: ...  # noqa: D102
    def compare_set(self, key: str, expected: str, desired: str) -> bytes: ...  # noqa: D102


class Liveness:
    """Says that a process lives, while it does, and tells which of the others have stopped.

    Parameters
    ----------
    store : Store
        That of the process group, by a connection of its own: a thread writes to it.
    rank : int
        The number of this process.
    ranks : sequence of int
        The numbers of all of them.
    """

    def __init__(self, store: Store, rank: int, ranks: Sequence[int]) -> None:
        self._store = store
        self._rank = rank
        self._others = [other for other in ranks if other != rank]
        self._lock = threading.Lock()
        self._heard: dict[int, tuple[int, float]] = {}
        self._fit, self._note = 0, ""
        self._ended = threading.Event()
        store.add(_beat(rank), 1)
        self._thread = threading.Thread(target=self._beat, name="skflow-liveness", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say no longer that this process lives."""
        self._ended.set()
        self._thread.join()

    def begin(self, fit: int) -> None:
        """Begin a fit.

        Parameters
        ----------
        fit : int
            Its number, the same on all processes.
        """
        with self._lock:
            self._fit, self._note = fit, ""

    def report(self, error: BaseException) -> None:
        """Tell the others that this process does not go on with the fit.

        Parameters
        ----------
        error : BaseException
            Why. If that is another process, they are told of that one.
        """
        if isinstance(error, RankError):
            note = {"ranks": list(error.ranks), "why": error.why}
        else:
            why = f"{type(error).__name__}: {error}".strip().removesuffix(":")
            note = {"ranks": [self._rank], "why": why}
        try:
            with self._lock:
                if not self._note:
                    self._store.compare_set(self._key("failure"), "", json.dumps(note))
            if self._rank == 0 and isinstance(error, RankError):
                self._stay(sum(rank not in error.ranks for rank in self._others))
        except RuntimeError:  # the store is gone, by which the others know
            return

    def check(self) -> None:
        """Raise if another process has stopped.

        Raises
        ------
        RankError
            It names the process.
        """
        self._check(_SILENCE)

    def explained(self, error: Exception) -> RankError:
        """Return what says which process has broken a connection.

        Parameters
        ----------
        error : Exception
            What the connection says.
        """
        self._heard = {}
        until = time.monotonic() + 2 * _SILENCE_AFTER_BREAK
        try:
            while time.monotonic() < until:
                self._check(_SILENCE_AFTER_BREAK)
                time.sleep(_BEAT / 4)
        except RankError as found:
            return found
        return RankError([], f"a connection broke, although all of them live: {error}")

    def _check(self, silence: float) -> None:
        beats: dict[int, int] = {}
        try:
            with self._lock:
                self._read_note()
                if not self._note:
                    beats = {rank: self._store.add(_beat(rank), 0) for rank in self._others}
        except RuntimeError as error:
            why = "the store of the process group, which it keeps, is gone"
            raise RankError([0], why) from error
        if self._note:
            note = json.loads(self._note)
            raise RankError(note["ranks"], note["why"])
        now = time.monotonic()
        for rank, beat in beats.items():
            if rank not in self._heard or self._heard[rank][0] != beat:
                self._heard[rank] = beat, now
        silent = [rank for rank in self._others if now - self._heard[rank][1] > silence]
        if silent:
            raise RankError(silent, "no sign of life")

    def _read_note(self) -> None:
        """Read what another process may have told of the fit, and say that it is known here."""
        key = self._key("failure")
        if not self._note and self._store.check([key]):
            self._note = self._store.get(key).decode()
            self._store.add(self._key("known"), 1)

    def _stay(self, n_others: int) -> None:
        """Wait until so many others know, as the store may go with this process."""
        until = time.monotonic() + _STAY
        while time.monotonic() < until:
            with self._lock:
                if self._store.add(self._key("known"), 0) >= n_others:
                    return
            time.sleep(_BEAT / 4)

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            try:
                with self._lock:
                    self._store.add(_beat(self._rank), 1)
                    self._read_note()
            except RuntimeError:
                return

    def _key(self, name: str) -> str:
        return f"{name}/{self._fit}"


def _beat(rank: int) -> str:
    return f"beat/{rank}"
