"""Input of every kind, made from arguments that are as they should be."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import torch
from scipy import sparse

__all__ = ["Mutated", "mutated"]


class Mutated(NamedTuple):
    """An argument, and what it is as a plain array, if it says the same numbers."""

    value: Any
    plain: Any = None


class _Subclass(np.ndarray):
    """Rows of another library that derive from NumPy's."""


class _WithArray:
    """What is an array only by `__array__`."""

    def __init__(self, values):
        self._values = values

    def __array__(self, dtype=None, copy=None):
        return self._values if dtype is None else self._values.astype(dtype)


class _WithDLPack:
    """What is an array only by DLPack."""

    def __init__(self, values):
        self._values = values

    def __dlpack__(self, **kwargs):
        return self._values.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


def _memory_map(values):
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, values.dtype, "w+", shape=values.shape)
    mapped[...] = values
    return mapped


def _read_only(values):
    values = values.copy()
    values.flags.writeable = False
    return values


def _spread(values):
    wide = np.full(tuple(2 * n for n in values.shape), np.nan)
    view = wide[tuple(slice(1, None, 2) for _ in values.shape)]
    view[...] = values
    return view


def _named(values):
    return [f"c{j}" for j in range(values.shape[1])]


def _nullable(values):
    return pd.DataFrame(values, columns=_named(values)).astype("Float64")


# The same numbers in other clothes.
CONTAINERS = {
    "Fortran's order": np.asfortranarray,
    "every other entry": _spread,
    "backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "read-only": _read_only,
    "lists": lambda x: x.tolist(),
    "tuples": lambda x: tuple(map(tuple, x.tolist())) if x.ndim == 2 else tuple(x.tolist()),
    "objects": lambda x: x.astype(object),
    "subclass": lambda x: x.view(_Subclass),
    "memory map": _memory_map,
    "masked, but nowhere": np.ma.masked_array,
    "long double": lambda x: x.astype(np.longdouble),
    "tensor": lambda x: torch.from_numpy(x.copy()),
    "tensor with history": lambda x: torch.from_numpy(x.copy()).requires_grad_() * 1.0,
    "transposed tensor": lambda x: torch.from_numpy(x.T.copy()).mT if x.ndim == 2 else x,
    "only __array__": _WithArray,
    "only DLPack": _WithDLPack,
    "list of arrays": list,
    "list of tensors": lambda x: list(torch.from_numpy(x.copy())),
}
FRAMES = {
    "pandas": lambda x: pd.DataFrame(x, columns=_named(x)),
    "pandas, numbered": pd.DataFrame,
    "pandas, nullable": _nullable,
    "pandas, objects": lambda x: pd.DataFrame(x.astype(object), columns=_named(x)),
    "pandas, other index": lambda x: pd.DataFrame(x, index=[7] * len(x)),
    "polars": lambda x: pl.DataFrame(x, schema=_named(x)),
    "matrix": lambda x: x.view(np.matrix),
    "sparse rows": sparse.csr_matrix,
    "sparse array": sparse.coo_array,
}
SERIES = {
    "pandas series": pd.Series,
    "nullable series": lambda x: pd.Series(x).astype("Float64"),
    "polars series": pl.Series,
}

# Other types, by which numbers may change.
TYPES = {
    name: lambda x, name=name: x.astype(name)
    for name in ("f2", "f4", "i1", "i8", "u8", "?", "c16", "U", "S", "M8[s]", "m8[s]", ">f4")
} | {
    "tensor of halves": lambda x: torch.from_numpy(x.copy()).half(),
    "tensor of bfloat16": lambda x: torch.from_numpy(x.copy()).bfloat16(),
    "tensor of ints": lambda x: torch.from_numpy(x.copy()).int(),
    "tensor of bools": lambda x: torch.from_numpy(x.copy()).bool(),
    "complex tensor": lambda x: torch.from_numpy(x.copy()).to(torch.complex64),
    "sparse tensor": lambda x: torch.from_numpy(x.copy()).to_sparse(),
    "decimals": np.vectorize(lambda v: Decimal(str(v)), otypes=[object]),
    "fractions": np.vectorize(lambda v: Fraction(v) if abs(v) < 9 else v, otypes=[object]),
    "numbers as text": lambda x: x.astype(str).astype(object),
    "structured": lambda x: np.zeros(len(x), dtype=[("a", float), ("b", float)]),
    "categories": lambda x: pd.DataFrame(np.reshape(x, (len(x), -1))).astype("category"),
    "dates": lambda x: pd.DataFrame(np.reshape(x, (len(x), -1)).astype("M8[s]")),
    "polars decimals": lambda x: pl.DataFrame(
        {"a": [Decimal("1.5")] * len(x), "b": [1.0] * len(x)}
    ),
    "tensor of zero gradient": lambda x: torch.nn.Parameter(torch.from_numpy(x.copy())),
}

NUMBERS = [
    *(np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-300, 5e-324, 1e150, -1e39, 3.5e38, 1e20),
    *(-0.0, 0.0, 1e-45, 2.0**53 + 2, np.finfo(float).max),
]
SCALES = [1e-300, 1e-150, 1e-40, 1e-12, 1e-6, 1e6, 1e12, 1e40, 1e150, 1e300]

JUNK = [
    *(None, "text", b"bytes", 3, 3.5, True, np.nan, object(), [], [[]], [[], []], {}, (), set()),
    *([None], [[None, 1.0]], [[1.0, 2.0], [3.0]], ["a", "b"], [["a", "b"]], {"a": [1, 2]}, 1j),
    *(np.array(2.0), np.array("a"), np.empty((0, 2)), np.empty((2, 0)), np.array([None, 1.0])),
    *(dict, len, range(3), slice(2), Ellipsis, np.zeros((2, 2, 2)), torch.empty(0), ValueError()),
    *(np.datetime64("2020-01-01"), pd.NA, pd.NaT, pd.DataFrame(), pl.DataFrame(), pd.Series([1])),
    *(torch.tensor(1.0), np.zeros((1, 1, 1, 1)), [[[1.0]]], memoryview(b"ab"), float, np.float64),
]


def _entries_replaced(rng, values):
    values = np.array(values, dtype=float)
    for _ in range(rng.integers(1, 4)):
        values.flat[rng.integers(values.size)] = NUMBERS[rng.integers(len(NUMBERS))]
    return values


def _values(rng, values):
    """Return other numbers of the same shape."""
    values = np.array(values, dtype=float)
    which = rng.integers(8)
    column = rng.integers(values.shape[-1])
    if which <= 2:
        return _entries_replaced(rng, values)
    with np.errstate(all="ignore"):
        if which == 3:
            return values * rng.choice(SCALES)
        if which == 4:
            values[..., column] *= rng.choice(SCALES)
        elif which == 5:
            values[..., column] = rng.choice(NUMBERS)
        elif which == 6:
            values += rng.choice([1e6, 1e9, 1e15, -1e12])
        else:
            values[:] = values[rng.integers(len(values))]
    return values


def _shapes(rng, values):
    """Return numbers of another shape."""
    n = len(values)
    other = [
        *(values[:0], values[:1], values[:2], values[None], values.T, values.ravel()),
        *(np.concatenate([values, values]), values[: n - 1], np.squeeze(values[:1])),
    ]
    if values.ndim == 2:
        other += [values[:, :0], values[:, :1], np.c_[values, values[:, :1]], values[:, 0]]
    else:
        other += [values[:, None, None], np.c_[values, values], np.outer(values, values)]
        other += [values[:, None], pd.DataFrame({"y": values})]
    return other[rng.integers(len(other))]


def _pick(rng, made_by):
    return made_by[sorted(made_by)[rng.integers(len(made_by))]]


def _junk(rng):
    return JUNK[rng.integers(len(JUNK))]


def _masked(rng, values):
    mask = rng.random(values.shape) < 0.2
    mask.flat[rng.integers(mask.size)] = True
    hidden = np.where(mask, 1e3, values)
    return Mutated(np.ma.masked_array(hidden, mask), np.where(mask, np.nan, values))


def array(rng, values):
    """Return an argument in the place of rows, or of one number for each row."""
    values = np.asarray(values, dtype=float)
    which = rng.random()
    if which < 0.35:
        same = CONTAINERS | (FRAMES if values.ndim == 2 else SERIES)
        return Mutated(_pick(rng, same)(values), values)
    if which < 0.4:
        return _masked(rng, values)
    if which < 0.6:
        return Mutated(_values(rng, values))
    if which < 0.75:
        with np.errstate(all="ignore"):
            return Mutated(_pick(rng, TYPES)(values))
    if which < 0.9:
        return Mutated(_shapes(rng, values))
    return Mutated(_junk(rng))


COUNTS = [
    *(0, -1, 1, 2, 5, True, 1.0, 1.5, np.nan, np.inf, -np.inf, "3", None, [3], (2,), {}, 1j),
    *(10**12, 2**62, 2**63, 2**64, 10**30, -(10**30), 1e300, np.int64(3), np.uint8(2)),
    *(np.float64(2), np.array(3), np.array([2]), torch.tensor(3), b"2", Fraction(3, 1)),
]
SEEDS = [
    *(0, -1, 2**32 - 1, 2**32, 2**64, 1.5, "a", [], [1, 2], np.nan, True, object(), np.int64(3)),
    *(np.random.RandomState(0), np.random.default_rng(0), np.random, None, torch.Generator()),
]
NUMBER = [
    *(0.0, 1.0, -0.1, 1.1, 0.5, np.nan, np.inf, -np.inf, 1e-300, 1e300, 5e-324, "0.5", None),
    *([0.5], [], [0.5, np.nan], np.array([[0.1, 0.9]]), True, 1j, np.float32(0.5), 1, 0, -5),
    *(np.array(0.5), [0.1, 0.9], [0.9, 0.1, 0.1], torch.tensor([0.2]), "auto", {}),
    *(pd.Series([0.2, 0.3]), Fraction(1, 2)),
]
TEXTS = ["", "mean", "median", "sample", "auto", "Mean", None, 3, b"mean", ["mean"], True, np.nan]
NAMES = [
    *([0], [0, 0], [1, 0], [-1], [99], [], None, 0, "a", ["a"], ["a", "zz"], [None], [1.5]),
    *([[0]], [np.int64(1)], np.array([0, 1]), (0,), {0}, slice(0, 1), [True], [True, False]),
    *("ab", [object()], range(2), [0, 1, 2], pd.Index(["a", "b"]), np.nan, [np.nan]),
]


def _of(values):
    """Return what takes one of some values, as new if it may have changed in a call."""

    def of(rng, _):
        value = values[rng.integers(len(values))]
        keeps_state = isinstance(value, np.random.RandomState | np.random.Generator)
        return Mutated(deepcopy(value) if keeps_state else value)

    return of


def estimator(rng, valid):
    """Return what stands in the place of a fitted estimator."""
    other = [*JUNK, type(valid), valid.fit if hasattr(valid, "fit") else len, [valid], (valid,)]
    return Mutated(other[rng.integers(len(other))])


def _column(rng, frame, name):
    """Return entries in the place of a column."""
    n, column = len(frame), frame[name]
    types = [
        "category",
        "string",
        "Int64",
        "Float32",
        "boolean",
        "complex",
        "int8",
        "datetime64[ns]",
    ]
    types += ["object", "timedelta64[s]", "Sparse[float]", "float16", "str", "bool", "uint64"]
    if rng.random() < 0.4:
        return column.astype(types[rng.integers(len(types))])
    entries = [
        *(None, np.nan, np.inf, -np.inf, 1e300, 5e-324, "new", "", b"x", 1.5, -1, 2**70, pd.NA),
        *(pd.NaT, pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-01", tz="UTC"), True, [1]),
        *({"a": 1}, (1, 2), Decimal("1.5"), Fraction(1, 3), 1j, pd.Interval(0, 1), object()),
        *(pd.Period("2020-01"), pd.Timedelta("1h"), np.float32(2), "1.5", 0, float, np.array([1])),
    ]
    changed = list(column)
    for row in np.flatnonzero(rng.random(n) < rng.choice([0.05, 0.5, 1.1])):
        changed[row] = entries[rng.integers(len(entries))]
    made = pd.Series(changed, dtype=object, index=frame.index)
    return made if rng.random() < 0.5 else made.infer_objects()


def _reshaped(rng, frame):
    """Return a frame of other rows and columns, or with other names."""
    first = frame.columns[0]
    other = [
        *(frame[:0], frame[:1], frame[:2], frame[[]], frame[first], frame.drop(columns=first)),
        *(
            frame[frame.columns[::-1]],
            pd.concat([frame, frame]),
            pd.concat([frame, frame], axis=1),
        ),
        *(
            frame.assign(more=1.0),
            frame.rename(columns={first: 0}),
            frame.rename(columns=str.upper),
        ),
        *(frame.T, frame.rename(columns=dict.fromkeys(frame.columns, "a")), frame.iloc[[0] * 5]),
        *(frame.set_axis([0] * len(frame), axis=0), frame.set_index(first), frame.iloc[::-1]),
        frame.set_axis(pd.MultiIndex.from_tuples([("x", c) for c in frame.columns]), axis=1),
    ]
    return other[rng.integers(len(other))]


def frame(rng, valid):
    """Return an argument in the place of a frame with columns of several kinds."""
    which = rng.random()
    if which < 0.12:
        return Mutated(_polars(rng, valid))
    if which < 0.22:
        other = [
            valid.to_numpy(),
            valid.to_numpy().tolist(),
            valid.to_dict("list"),
            valid.values.T,
        ]
        other += [valid.to_records(index=False), valid.astype("category"), valid.astype(str)]
        return Mutated(other[rng.integers(len(other))])
    if which < 0.4:
        return Mutated(_reshaped(rng, valid))
    if which < 0.5:
        return Mutated(_junk(rng))
    changed = valid.copy()
    for _ in range(rng.integers(1, 3)):
        name = valid.columns[rng.integers(len(valid.columns))]
        try:
            changed[name] = _column(rng, valid, name)
        except (TypeError, ValueError, NotImplementedError):  # no such type of these entries
            changed[name] = None
    return Mutated(changed)


def _polars(rng, frame):
    made = pl.DataFrame({name: frame[name].tolist() for name in frame.columns}, strict=False)
    name = made.columns[rng.integers(made.width)]
    n = made.height
    columns = [
        *(pl.Series([[1.0]] * n), pl.Series([{"a": 1}] * n), pl.Series([None] * n), None),
        *(pl.Series(["x"] * n, dtype=pl.Categorical), pl.Series([Decimal("1.5")] * n), None),
        *(pl.Series([b"x"] * n), pl.Series([True] * n), pl.Series([np.nan] * n), None),
        *(pl.Series(["x"] * n, dtype=pl.Enum(["x", "y"])), pl.Series([pd.Timestamp(0)] * n)),
        pl.Series([object()] * n, dtype=pl.Object),
    ]
    column = columns[rng.integers(len(columns))]
    if column is not None:
        made = made.with_columns(column.alias(name))
    return made.lazy() if rng.random() < 0.05 else made


KINDS = {
    "array": array,
    "frame": frame,
    "count": _of(COUNTS),
    "seed": _of(SEEDS),
    "number": _of(NUMBER),
    "text": _of(TEXTS),
    "names": _of(NAMES),
    "estimator": estimator,
    "parameter": _of([*NUMBER, *TEXTS, *JUNK, -1, 0, 2, [([0, 1], [2])], [([0], [99])], [5]]),
}


def mutated(rng, kind, valid):
    """Return an argument of some kind that is not as it should be, or in other clothes.

    Parameters
    ----------
    rng : numpy.random.Generator
        Chooses what.
    kind : str
        Of `KINDS`.
    valid : object
        The argument as it should be.
    """
    return KINDS[kind](rng, valid)
