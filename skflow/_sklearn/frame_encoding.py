"""The types of columns of pandas and of polars in model files."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from skflow.storage.encoding import Decoder, Encoder

__all__ = ["FRAME_KINDS", "described_column_type"]

# The attributes that make a type of polars again. All others have none.
_POLARS_ARGUMENTS = {
    "Datetime": ("time_unit", "time_zone"),
    "Decimal": ("precision", "scale"),
    "Duration": ("time_unit",),
    "Enum": ("categories",),
}


def described_column_type(encoder: Encoder, value: Any, where: str) -> dict[str, Any] | None:
    """Return a description of the type of a column, or None if it is no such type.

    Parameters
    ----------
    encoder : Encoder
        What describes its parts.
    value : object
        What to describe.
    where : str
        What it is called in error messages.

    Raises
    ------
    TypeError
        If its name does not say all of it.
    """
    cls = value if isinstance(value, type) else type(value)
    library = cls.__module__.partition(".")[0]
    if library == "pandas" and hasattr(value, "construct_array_type"):
        if hasattr(value, "categories"):
            parts = (_listed(value.categories), _type_of(value.categories), bool(value.ordered))
            return {"pandas_categories": encoder.encode(parts, where)}
        if cls.__name__ == "StringDtype":
            return {"pandas_string": [value.storage, isinstance(value.na_value, float)]}
        return _checked({"pandas_type": str(value)}, value, where)
    if library == "polars" and hasattr(value, "is_numeric"):
        arguments = [getattr(value, name) for name in _POLARS_ARGUMENTS.get(cls.__name__, ())]
        if cls.__name__ == "Enum":
            arguments = [arguments[0].to_list()]
        return _checked({"polars_type": [cls.__name__, arguments]}, value, where)
    return None


def _checked(described: dict[str, Any], value: Any, where: str) -> dict[str, Any]:
    (kind, content), *_ = described.items()
    try:
        again = FRAME_KINDS[kind](Decoder({}), content, 0)
    except (AttributeError, TypeError, ValueError):
        again = None
    if again != value:
        raise TypeError(f"{where} is {value!r}, which only a pickle can keep.")
    return described


def _listed(categories: Any) -> Any:
    return None if categories is None else categories.tolist()


def _type_of(categories: Any) -> Any:
    return None if categories is None else categories.dtype


def _pandas_type(decoder: Decoder, value: Any, number: int) -> Any:
    return import_module("pandas.api.types").pandas_dtype(str(value))


def _pandas_string(decoder: Decoder, value: Any, number: int) -> Any:
    pandas = import_module("pandas")
    storage, has_nan = value
    missing = float("nan") if has_nan else pandas.NA
    try:
        return pandas.StringDtype(str(storage), na_value=missing)
    except ImportError:  # pyarrow is where the model was saved, and not here
        return pandas.StringDtype(na_value=missing)


def _pandas_categories(decoder: Decoder, value: Any, number: int) -> Any:
    pandas = import_module("pandas")
    categories, dtype, ordered = decoder.decode(value)
    index = None if categories is None else pandas.Index(categories, dtype=dtype)
    return pandas.CategoricalDtype(index, ordered)


def _polars_type(decoder: Decoder, value: Any, number: int) -> Any:
    name, arguments = value
    polars = import_module("polars")
    cls = getattr(polars, name)
    if not (isinstance(cls, type) and issubclass(cls, polars.DataType)):
        raise TypeError(f"{name!r} is no type of polars.")
    return cls(*arguments)


FRAME_KINDS = {
    "pandas_categories": _pandas_categories,
    "pandas_string": _pandas_string,
    "pandas_type": _pandas_type,
    "polars_type": _polars_type,
}
"""What makes each kind, for :attr:`Decoder.kinds`."""
