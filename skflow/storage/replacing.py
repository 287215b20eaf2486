"""One file in the place of another, whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

__all__ = ["remove_parts", "replace_file"]


def replace_file(
    path: Path, parts: Iterable[bytes | memoryview], *, previous: Path | None = None
) -> None:
    """Write a file beside another one, and put it in its place once it is on the disk.

    Whenever the machine stops, there is the old file or the new one.

    Parameters
    ----------
    path : Path
        Where the file is to be.
    parts : iterable of bytes or memoryview
        What it holds, one part after the other.
    previous : Path or None, default=None
        Where the file goes that was at `path`. By default, it is lost.

    Raises
    ------
    OSError
        If the file cannot be written. The one that is there stays.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with part.open("wb") as file:
            for content in parts:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def remove_parts(path: Path) -> None:
    """Remove what processes left that were killed while they wrote a file.

    Parameters
    ----------
    path : Path
        Where the file was to be.
    """
    for part in path.parent.glob(f".{path.name}.*.part"):
        part.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where a folder can be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
