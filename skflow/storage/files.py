r"""The bytes of a file: those of safetensors, with a checksum.

A file has, one after the other,

- the length of the header, in 8 bytes, the lowest first;
- the header: JSON in ASCII, which spaces fill up to a multiple of 8 bytes. It says of each array
  its type, its shape, and where its entries begin and end. ``__metadata__`` holds strings: the
  checksum, the kind of the file, the version of its format, and the content, as JSON in JSON;
- the entries of the arrays, without gaps.

The checksum is the SHA-256 of the whole file with zeros in the checksum's own place. It tells
accidents, and not attacks: whoever alters a file can alter its checksum. So nothing in a file is
believed. All sizes are compared with that of the file before anything is allocated.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from skflow.exceptions import FileFormatError

__all__ = ["FORMAT", "ITEM_SIZES", "Entry", "Opened", "parts_of_file", "read_bytes", "read_file"]

FORMAT = 1
"""The version of the format that is written. Files of this one and of older ones are read."""

ITEM_SIZES = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "C64": 8, "BOOL": 1},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1},
}
"""The bytes of an entry of each type, by the names of safetensors."""

_NO_CHECKSUM = "0" * 64
_BEGIN = b'{"__metadata__":{"checksum":"'
_ALIGNMENT = 8

# Each value in JSON takes up to a hundred bytes in memory, and as few as two in a file.
_MOST_VALUES = 2**23


@dataclass(frozen=True)
class Entry:
    """An array as bytes."""

    dtype: str
    """One of :data:`ITEM_SIZES`."""

    shape: tuple[int, ...]

    data: memoryview
    """Of bytes, the last index first."""


@dataclass(frozen=True)
class Opened:
    """What was in a file."""

    content: Any
    """Plain data."""

    entries: dict[str, Entry]
    """The arrays by their names."""


def parts_of_file(
    kind: str, content: Any, entries: Mapping[str, Entry]
) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a file, part by part.

    Parameters
    ----------
    kind : str
        What the file is, such as "model".
    content : object
        Plain data, as JSON has them.
    entries : mapping of str to Entry
        The arrays by their names.

    Yields
    ------
    part : bytes or memoryview
        The next ones.
    """
    metadata = {
        "checksum": _NO_CHECKSUM,
        "kind": kind,
        "format": str(FORMAT),
        "content": json.dumps(content, allow_nan=False, separators=(",", ":")),
    }
    table: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, entry in entries.items():
        begin, end = end, end + entry.data.nbytes
        table[name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": [begin, end]}
    header = json.dumps(table, separators=(",", ":")).encode("ascii")
    header += b" " * (-len(header) % _ALIGNMENT)
    length = len(header).to_bytes(8, "little")
    digest = hashlib.sha256(length + header)
    for entry in entries.values():
        digest.update(entry.data)
    at = len(_BEGIN)
    yield length
    yield header[:at] + digest.hexdigest().encode("ascii") + header[at + len(_NO_CHECKSUM) :]
    for entry in entries.values():
        yield entry.data


def read_file(path: Path, kind: str) -> Opened:
    """Read a file. Nothing in it is run.

    Parameters
    ----------
    path : Path
        Where the file is.
    kind : str
        What it has to be.

    Returns
    -------
    opened : Opened
        Takes as much memory as the file.

    Raises
    ------
    FileFormatError
        If the file is cut off or altered, of another kind, or of a newer format.
    OSError
        If the file cannot be read.
    """
    if not path.is_file():  # to open a pipe may take for ever
        raise FileNotFoundError(f"There is no file {path}.")
    with path.open("rb", buffering=0) as file:
        return _Reader(file, path.name, os.fstat(file.fileno()).st_size).read(kind)


def read_bytes(data: bytes, kind: str) -> Opened:
    """Read a file that is in memory, as :func:`read_file` reads one.

    Parameters
    ----------
    data : bytes
        The file.
    kind : str
        What it has to be.
    """
    return _Reader(io.BytesIO(data), "A model", len(data)).read(kind)


class _Reader:
    """Reads one file, and compares all that it says with the size that it has."""

    def __init__(self, file: io.FileIO | io.BytesIO, name: str, size: int) -> None:
        self.file = file
        self.name = name
        self.size = size
        self.digest = hashlib.sha256()

    def read(self, kind: str) -> Opened:
        table, checksum = self._header()
        metadata = table.pop("__metadata__")
        self._check_kind(metadata, kind)
        entries = dict(self._entries(table))
        if self.digest.hexdigest() != checksum:
            self._refuse("its checksum is another one: it was altered, or damaged")
        return Opened(self._parsed(metadata["content"]), entries)

    def _header(self) -> tuple[dict[str, Any], str]:
        length = self._bytes(8)
        n = int.from_bytes(length, "little")
        if n > self.size - 8:
            self._refuse("it is cut off, or no such file at all")
        header = self._bytes(n)
        at, end = len(_BEGIN), len(_BEGIN) + len(_NO_CHECKSUM)
        if header[:at] != _BEGIN or len(header) < end:
            self._refuse("it has no checksum, so that another program wrote it")
        checksum = header[at:end]
        self.digest.update(length)
        self.digest.update(_BEGIN + _NO_CHECKSUM.encode("ascii"))
        self.digest.update(memoryview(header)[end:])
        try:
            table = self._parsed(header.decode("ascii"))
            return table, checksum.decode("ascii")
        except UnicodeDecodeError:
            self._refuse("its header is damaged")

    def _parsed(self, text: str) -> Any:
        if sum(map(text.count, ",:[{")) > _MOST_VALUES:
            self._refuse(f"it says that it has more than {_MOST_VALUES} values beside arrays")
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            self._refuse("its header is damaged")

    def _check_kind(self, metadata: Any, kind: str) -> None:
        if not _is_mapping_of(metadata, str) or not {"kind", "format", "content"} <= set(metadata):
            self._refuse("its header is damaged")
        if not metadata["format"].isdecimal() or len(metadata["format"]) > 9:
            self._refuse("its header is damaged")
        if int(metadata["format"]) > FORMAT:
            self._refuse(
                f"it has format {metadata['format']}, and this version of skflow reads up to "
                f"format {FORMAT}. Install the version that wrote it, or a newer one"
            )
        if metadata["kind"] != kind:
            self._refuse(f"it is a {metadata['kind'][:40]!r}, and not a {kind!r}")

    def _entries(self, table: dict[str, Any]) -> Iterator[tuple[str, Entry]]:
        """Yield the arrays, in the order in which they stand in the file."""
        end, last = 0, self.size - self.file.tell()
        for name, told in table.items():
            if not isinstance(told, dict) or set(told) != {"dtype", "shape", "data_offsets"}:
                self._refuse("its header is damaged")
            dtype, shape, offsets = told["dtype"], told["shape"], told["data_offsets"]
            if not isinstance(dtype, str) or not _are_sizes(shape) or not _are_sizes(offsets):
                self._refuse("its header is damaged")
            n_bytes = ITEM_SIZES.get(dtype, -1) * math.prod(shape)
            if offsets != [end, end + n_bytes] or end + n_bytes > last:
                self._refuse(f"array {name[:40]!r} does not fit into it")
            end += n_bytes
            data = self._bytes(n_bytes)
            self.digest.update(data)
            yield name, Entry(dtype, tuple(shape), memoryview(data))
        if end != last:
            self._refuse("it has more bytes than it says")

    def _bytes(self, n: int) -> bytearray:
        """Return the next bytes. That there are so many is known, but for the first eight."""
        data, n_read = bytearray(n), 0
        while n_read < n:
            n_more = self.file.readinto(memoryview(data)[n_read:])
            if not n_more:
                self._refuse("it is cut off")
            n_read += n_more
        return data

    def _refuse(self, why: str) -> NoReturn:
        raise FileFormatError(f"{self.name} cannot be opened: {why}.")


def _is_mapping_of(value: Any, kind: type) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, kind) for entry in value.values())


def _are_sizes(value: Any) -> bool:
    """Whether a value is a list of a few sizes, none of which is beyond any machine."""
    return (
        isinstance(value, list)
        and len(value) <= 64
        and all(type(size) is int and 0 <= size < 2**62 for size in value)
    )
