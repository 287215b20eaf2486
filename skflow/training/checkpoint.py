"""The state of a fit in a file, which the same fit goes on from after it was killed."""

from __future__ import annotations

import hashlib
import os
import re
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skflow._version import __version__
from skflow.exceptions import FileFormatError
from skflow.flow import Flow
from skflow.storage.encoding import Decoder, Encoder
from skflow.storage.files import parts_of_file, read_file
from skflow.storage.replacing import remove_parts, replace_file
from skflow.training.exchange import Exchange
from skflow.training.fits import Fit
from skflow.training.streams import AnyRows

__all__ = ["Checkpoint", "shown"]

_KIND = "checkpoint"

# The most of a fit's time that goes into writing.
_SHARE_OF_TIME = 0.05

# Parameters that do not change what a fit does, or that the file itself has: the seed.
_NOT_COMPARED = {"checkpoint_path", "random_state", "verbose"}

_HASHED_ENTRIES = 2**20


class Checkpoint:
    """Where the state of one fit is kept while it runs.

    It is written as epochs end, as often as takes a twentieth of the fit's time. The file before
    the last one stays beside it, with ``.previous`` at the end of its name: a machine that stops
    leaves one of them whole.

    Parameters
    ----------
    path : str, path-like or None
        Where the file is. With None, nothing is kept.

    Raises
    ------
    FileFormatError
        If there are files, and none of them can be read.
    ValueError
        If `path` is a folder, or in one that is not there.

    Warns
    -----
    RuntimeWarning
        If the last file cannot be read, but the one before it can.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.path = None if path is None else Path(path)
        self._facts: dict[str, Any] = {}
        self._seed: int | None = None
        self._state: dict[str, Any] | None = None
        self._owned: tuple[int, int] | None = None
        self._written_at, self._seconds = -float("inf"), 0.0
        self._has_warned = False
        if self.path is not None:
            self._open(self.path)

    @classmethod
    def opened(cls, path: str | os.PathLike[str] | None, exchange: Exchange) -> Checkpoint:
        """Open the checkpoint of a fit, which the first of several processes keeps for all.

        Parameters
        ----------
        path : str, path-like or None
            Where the file is.
        exchange : Exchange
            The part of this process in the fit.
        """
        checkpoint = cls(path if exchange.rank == 0 else None)
        found = checkpoint._seed, checkpoint._state
        checkpoint._seed, checkpoint._state = exchange.agreed(found)
        return checkpoint

    def seeded(self, generator: torch.Generator) -> torch.Generator:
        """Return the generator, with the seed of the fit that goes on here if there is one.

        Parameters
        ----------
        generator : torch.Generator
            Of a new fit, from which nothing was drawn.
        """
        if self._seed is None:
            self._seed = generator.initial_seed()
        return generator.manual_seed(self._seed)

    def compare(
        self, rows: AnyRows, parameters: Mapping[str, Any], start: Flow | None = None
    ) -> None:
        """Refuse to go on with the fit of other rows or parameters.

        Parameters
        ----------
        rows : Rows or StreamedRows
            What is fitted.
        parameters : mapping
            Those of the estimator.
        start : Flow or None, default=None
            What the fit goes on from, with `warm_start`.

        Raises
        ------
        ValueError
            If the file is that of another fit. It says what differs.
        """
        if self.path is None:
            return
        facts = _facts(rows, parameters, start)
        if self._state is not None and facts != self._facts:
            there = self._facts
            differences = [
                f"{name}: {there.get(name, 'nothing')} there, {facts.get(name, 'nothing')} here"
                for name in facts | there
                if facts.get(name) != there.get(name)
            ]
            raise ValueError(
                f"checkpoint_path={str(self.path)!r} holds the state of another fit. They differ "
                "in\n" + "\n".join(differences) + "\nPass what the file was made with, to go on "
                "from there, or remove the file, to begin anew."
            )
        self._facts = facts

    def resume(self, fit: Fit) -> None:
        """Put a fit where the file says that it was, if there is a file.

        Parameters
        ----------
        fit : Fit
            At its beginning.

        Raises
        ------
        FileFormatError
            If the file does not hold the state of such a fit.
        """
        if self._state is None:
            return
        state, self._state = self._state, None
        try:
            fit.load_state_dict(state)
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception as error:  # whatever says a fit to a state that is none
            raise self._unreadable(error) from error

    def keep(self, fit: Fit) -> None:
        """Write the state of a fit after an epoch, if it is time to.

        Parameters
        ----------
        fit : Fit
            Between two epochs.

        Warns
        -----
        RuntimeWarning
            If the file cannot be written, or if another fit writes to it, too. The fit goes on.
        """
        started = time.perf_counter()
        if self.path is None or started - self._written_at < self._seconds / _SHARE_OF_TIME:
            return
        encoder = Encoder()
        content = encoder.encode(
            {"facts": self._facts, "seed": self._seed, "fit": fit.state_dict()}, "the fit"
        )
        try:
            if self.path.exists() and self._identity(self.path) != self._owned:
                self._warn("another fit writes there, too: each needs a path of its own")
                return
            parts = parts_of_file(_KIND, content, encoder.entries)
            replace_file(self.path, parts, previous=self._previous(self.path))
            self._owned = self._identity(self.path)
        except OSError as error:
            self._warn(f"{error}. The one before it is still there, if there was one")
        self._written_at = time.perf_counter()
        self._seconds = self._written_at - started

    def remove(self) -> None:
        """Remove the files of a fit that has ended, unless another fit wrote them."""
        if self.path is None:
            return
        if self.path.exists() and self._identity(self.path) == self._owned:
            self.path.unlink()
            self._previous(self.path).unlink(missing_ok=True)

    def _open(self, path: Path) -> None:
        if path.is_dir() or not path.parent.is_dir():
            why = "is a folder" if path.is_dir() else f"is in {path.parent}, which is no folder"
            raise ValueError(f"checkpoint_path={str(path)!r} {why}. Pass a file in a folder.")
        remove_parts(path)
        previous = self._previous(path)
        try:
            if path.exists():
                self._read(path)
            elif previous.exists():
                self._read(previous)
        except FileFormatError as error:
            if not previous.exists():
                raise
            self._read(previous)
            warnings.warn(
                f"{error} The fit goes on from {previous}.", RuntimeWarning, stacklevel=4
            )
        if path.exists():
            self._owned = self._identity(path)

    def _read(self, path: Path) -> None:
        opened = read_file(path, _KIND)
        try:
            found = Decoder(opened.entries).decode(opened.content)
            self._facts, self._seed = dict(found["facts"]), int(found["seed"])
            self._state = dict(found["fit"])
            if not all(isinstance(fact, str | int) for fact in self._facts.values()):
                raise TypeError("a fact is neither a number nor a string")
        except MemoryError:
            raise
        except Exception as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> FileFormatError:
        return FileFormatError(
            f"checkpoint_path={str(self.path)!r} does not hold the state of a fit: a "
            f"{type(error).__name__} came of it. Remove the file to begin anew."
        )

    def _warn(self, why: str) -> None:
        if not self._has_warned:
            warnings.warn(
                f"The state of the fit was not written to checkpoint_path={str(self.path)!r}: "
                f"{why}. The fit goes on.",
                RuntimeWarning,
                stacklevel=5,
            )
            self._has_warned = True

    @staticmethod
    def _previous(path: Path) -> Path:
        return path.with_name(f"{path.name}.previous")

    @staticmethod
    def _identity(path: Path) -> tuple[int, int]:
        status = path.stat()
        return status.st_ino, status.st_mtime_ns


def _facts(rows: AnyRows, parameters: Mapping[str, Any], start: Flow | None) -> dict[str, Any]:
    """Return what makes a fit another one."""
    facts: dict[str, Any] = {
        "version of skflow": __version__,
        "number of rows": len(rows),
        "number of columns": rows.n_features,
        "rows": _digest(rows.traits),
        "weights, groups and those of no weight": _digest(rows.attributes),
    }
    if start is not None:
        facts["the flow before"] = _digest([*start.parameters(), *start.buffers()])
    compared = sorted(set(parameters) - _NOT_COMPARED)
    return facts | {name: shown(parameters[name]) for name in compared}


def shown(value: Any) -> str:
    """Return a description of a parameter that is the same in another process.

    Parameters
    ----------
    value : object
        The value of the parameter.
    """
    if isinstance(value, str | int | float | None):
        return repr(value)
    name = getattr(value, "__qualname__", None) or repr(value)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", name)


def _digest(tensors: list[Tensor | None]) -> str:
    """Return a digest of tensors, block by block, so that no copy of them is made."""
    digest = hashlib.sha256()
    for tensor in tensors:
        if tensor is None:
            digest.update(b"none")
            continue
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        rows = tensor.detach().reshape(len(tensor) if tensor.ndim else 1, -1)
        for block in rows.split(max(1, _HASHED_ENTRIES // max(1, rows.shape[1]))):
            flat = block.cpu().contiguous().reshape(-1)
            if len(flat):
                digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
