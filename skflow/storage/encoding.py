"""Objects as plain data and arrays, and back.

Numbers, strings, None and lists are what they are in JSON. All else is a dict with one key that
says what it is, such as ``{"tuple": [1, 2]}``. What occurs more than once is written once, and
stays one object: lists, dicts, tensors and objects are counted in the order in which they begin,
and ``{"same": 3}`` is the one with that number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skflow.exceptions import FileFormatError
from skflow.storage.files import Entry

__all__ = ["Decoder", "Encoder"]

_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8},
    **{"C64": torch.complex64, "BOOL": torch.bool},
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

_NOT_MADE = object()

Described = dict[str, Any]


class Encoder:
    """Describes objects.

    Attributes
    ----------
    entries : dict of str to Entry
        The arrays of what was described so far.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._numbers: dict[int, int] = {}
        self._seen: list[Any] = []  # which also keeps them, as another one could have their id

    def encode(self, value: Any, where: str = "") -> Any:
        """Return a description as plain data.

        Parameters
        ----------
        value : object
            What to describe.
        where : str, default=""
            What it is called in error messages.

        Raises
        ------
        TypeError
            If it holds something that is neither plain data nor known.
        """
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": str(value)}
        if type(value) is tuple:
            return {"tuple": self._each(value, where)}
        number = self._numbers.get(id(value))
        if number is not None:
            return {"same": number}
        self._numbers[id(value)] = len(self._seen)
        self._seen.append(value)
        if type(value) is list:
            return self._each(value, where)
        if isinstance(value, dict):
            return self.dictionary(value, where)
        if isinstance(value, Tensor):
            return self._tensor(value, where)
        return self.other(value, where)

    def dictionary(self, value: dict[Any, Any], where: str) -> Described:
        """Return a description of a dict, which is taken for a plain one.

        Parameters
        ----------
        value : dict
            What to describe.
        where : str
            What it is called in error messages.
        """
        pairs = [
            [self.encode(key, f"a key of {where}"), self.encode(entry, f"{where}[{key!r}]")]
            for key, entry in value.items()
        ]
        return {"dict": pairs}

    def other(self, value: Any, where: str) -> Described:
        """Return a description of what is no plain data.

        Parameters
        ----------
        value : object
            What to describe.
        where : str
            What it is called in error messages.

        Raises
        ------
        TypeError
            If it is not known. Nothing is, by default.
        """
        kind = type(value)
        raise TypeError(
            f"{where} is a {kind.__module__}.{kind.__qualname__}, which only a pickle can keep."
        )

    def keep(self, dtype: str, shape: tuple[int, ...], data: memoryview) -> str:
        """Keep an array, and return its name.

        Parameters
        ----------
        dtype : str
            The type of its entries.
        shape : tuple of int
            Its shape.
        data : memoryview
            Its bytes.
        """
        name = f"array_{len(self.entries)}"
        self.entries[name] = Entry(dtype, shape, data)
        return name

    def _each(self, values: list[Any] | tuple[Any, ...], where: str) -> list[Any]:
        return [self.encode(value, f"{where}[{k}]") for k, value in enumerate(values)]

    def _tensor(self, tensor: Tensor, where: str) -> Described:
        if type(tensor) not in (Tensor, nn.Parameter) or tensor.dtype not in _NAMES:
            raise TypeError(f"{where} is a {type(tensor).__name__} of {tensor.dtype}.")
        entries = tensor.detach().cpu().contiguous()
        flat: Any = entries.reshape(-1).view(torch.uint8).numpy() if entries.numel() else b""
        data = memoryview(flat)
        name = self.keep(_NAMES[tensor.dtype], tuple(tensor.shape), data)
        if isinstance(tensor, nn.Parameter):
            return {"parameter": [name, tensor.requires_grad]}
        return {"tensor": name}


class Decoder:
    """Makes objects of their descriptions, which need not be believed.

    Parameters
    ----------
    entries : mapping of str to Entry
        The arrays.
    """

    kinds: ClassVar[Mapping[str, Callable[..., Any]]] = {}
    """What makes each kind of object, beside the plain ones: functions of the decoder, of the
    description, and of the object's number. They may :meth:`fill` the number early, if the object
    refers to itself."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries
        self._made: list[Any] = []

    def decode(self, described: Any) -> Any:
        """Return the object that is described.

        Parameters
        ----------
        described : object
            What :meth:`Encoder.encode` returned.

        Raises
        ------
        FileFormatError
            If nothing known is described.
        """
        if isinstance(described, list):
            made: list[Any] = []
            self.fill(self.begin(), made)
            made += map(self.decode, described)
            return made
        if not isinstance(described, dict):
            return described
        if len(described) != 1:
            raise FileFormatError("An object is described by more than one key.")
        (kind, value), *_ = described.items()
        match kind:
            case "float":
                return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[value]
            case "tuple":
                return tuple(map(self.decode, value))
            case "same":
                return self._same(value)
            case "dict":
                pairs: dict[Any, Any] = {}
                self.fill(self.begin(), pairs)
                for key, entry in value:
                    key = self.decode(key)
                    pairs[key] = self.decode(entry)
                return pairs
            case "tensor" | "parameter":
                return self._tensor(kind, value)
        if kind not in self.kinds:
            raise FileFormatError(f"There is no kind of object {kind[:40]!r}.")
        number = self.begin()
        return self.fill(number, self.kinds[kind](self, value, number))

    def begin(self) -> int:
        """Return the number of the object that begins here."""
        self._made.append(_NOT_MADE)
        return len(self._made) - 1

    def fill(self, number: int, made: Any) -> Any:
        """Say what the object of a number is, and return it.

        Parameters
        ----------
        number : int
            What :meth:`begin` returned.
        made : object
            The object.
        """
        self._made[number] = made
        return made

    def entry(self, name: str) -> Entry:
        """Return an array.

        Parameters
        ----------
        name : str
            What :meth:`Encoder.keep` returned.
        """
        return self._entries[name]

    def _same(self, number: Any) -> Any:
        made = self._made[number] if type(number) is int and number >= 0 else _NOT_MADE
        if made is _NOT_MADE:
            raise FileFormatError("An object refers to one that is not there.")
        return made

    def _tensor(self, kind: str, value: Any) -> Tensor:
        number = self.begin()
        name, requires_grad = value if kind == "parameter" else (value, False)
        entry = self.entry(name)
        dtype = _DTYPES[entry.dtype]
        if dtype == torch.bool:  # whose bytes are 0 or 1, or anything in a file that was altered
            flat = torch.frombuffer(entry.data, dtype=torch.uint8) != 0 if entry.data else None
        else:
            flat = torch.frombuffer(entry.data, dtype=dtype) if entry.data else None
        tensor = torch.empty(entry.shape, dtype=dtype) if flat is None else flat.view(entry.shape)
        if kind == "parameter":
            tensor = nn.Parameter(tensor, requires_grad is True)
        return self.fill(number, tensor)
