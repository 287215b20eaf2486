"""What a call did, and whether it may do that."""

from __future__ import annotations

import linecache
import pickle
import re
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError

import skflow
from skflow.exceptions import ColumnWarning, DivergenceError, InversionError

__all__ = [
    "Outcome",
    "fault_of_error",
    "fault_of_value",
    "fault_of_warning",
    "fingerprint",
    "watched",
]

ALLOWED_ERRORS = (ValueError, TypeError, NotFittedError, DivergenceError, InversionError)
ALLOWED_WARNINGS = (ColumnWarning, ConvergenceWarning, DataConversionWarning)

# What skflow and scikit-learn say on purpose by a warning of a general class.
KNOWN_WARNINGS = re.compile(
    r"The fit ended at|step\(s\) were not finite|they pass through unchanged|calls for \d+ rows|"
    r"mapped to latents and back|"
    r"X has feature names, but|X does not have valid feature names|"
    r"The least populated class in y|The number of unique classes is greater|"
    r"Number of distinct clusters|DataFrame with sparse columns found|A column-vector y was passed"
)

_OURS, _SKLEARN = (str(Path(module.__file__).parent) for module in (skflow, __import__("sklearn")))
_SHORTEST_MESSAGE = 15


class Outcome(NamedTuple):
    """What a call returned or raised, what it warned of, and how long it took."""

    value: Any
    error: BaseException | None
    warnings: list[warnings.WarningMessage]
    seconds: float


def watched(function, arguments):
    """Call a function.

    Parameters
    ----------
    function : callable
        What is called.
    arguments : dict
        By their names.
    """
    value = error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.perf_counter()
        try:
            value = function(**arguments)
        except Exception as raised:
            error = raised
        seconds = time.perf_counter() - started
    return Outcome(value, error, caught, seconds)


def fault_of_error(error):
    """Return what is wrong with an error, or nothing if it is one of those that are promised.

    The message has to come from a check: a line of skflow that raises, or scikit-learn's own.

    Parameters
    ----------
    error : Exception
        What was raised.
    """
    if isinstance(error, MemoryError):
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return "" if frame.filename.startswith(_OURS) and str(error) else "foreign MemoryError"
    if not isinstance(error, ALLOWED_ERRORS):
        return f"{type(error).__name__}"
    if len(str(error)) < _SHORTEST_MESSAGE:
        return "short message"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(_SKLEARN):
            return ""
        if frame.filename.startswith(_OURS):
            line = linecache.getline(frame.filename, frame.lineno).strip()
            return "" if line.startswith("raise") else "message of no check"
    return "" if "argument" in str(error) else "message of no check"


def fault_of_warning(warning, error=None):
    """Return what is wrong with a warning, or nothing if it is a known one.

    scikit-learn may overflow by itself, as may what looks at a call that is refused then.
    """
    if issubclass(warning.category, RuntimeWarning) and (
        error is not None or warning.filename.startswith(_SKLEARN)
    ):
        return ""
    if isinstance(warning.message, ALLOWED_WARNINGS) or KNOWN_WARNINGS.search(
        str(warning.message)
    ):
        return ""
    return f"{warning.category.__name__}: {str(warning.message)[:80]}"


def _arrays(value):
    """Give the numbers in what was returned."""
    if isinstance(value, torch.Tensor):
        yield value.detach().numpy()
    elif isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, float | np.floating):
        yield np.asarray(value)
    elif hasattr(value, "to_numpy"):
        yield value.to_numpy()
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _arrays(part)
    elif type(value).__module__.startswith("skflow.metrics"):
        for name, part in vars(value).items():
            if not (name == "standard_error" and np.isinf(getattr(value, "value", 0))):
                yield from _arrays(part)  # NaN is documented there


def fault_of_value(value):
    """Say whether there is a NaN in what was returned."""
    for array in _arrays(value):
        try:
            numbers = np.asarray(array, dtype=float)
        except (TypeError, ValueError):
            numbers = np.array([entry for entry in array.flat if isinstance(entry, float)])
        if np.isnan(numbers).any():
            return "NaN returned"
    return ""


def fault_of_difference(value, plain):
    """Say whether what was returned differs from what the plain array gave."""
    both = list(_arrays(value)), list(_arrays(plain))
    for one, other in zip(*both, strict=False):
        if one.dtype.kind in "fiu" and other.dtype.kind in "fiu":
            same = one.shape == other.shape and np.allclose(one, other, 1e-4, 1e-6, equal_nan=True)
            if not same:
                return "not what the plain array gives"
    return ""


def fingerprint(thing):
    """Return what tells whether an object changed, or None if it cannot be had."""
    if isinstance(
        thing, BaseException | np.ma.MaskedArray
    ):  # which change if they are raised or shown
        return None
    try:
        # Of frames the entries alone, as they keep more. One that is not computed has none.
        if type(thing).__name__ != "LazyFrame" and hasattr(thing, "columns"):
            thing = thing.to_numpy()
        return joblib.hash(pickle.dumps(vars(thing) if hasattr(thing, "flow_") else thing))
    except Exception:
        return None
