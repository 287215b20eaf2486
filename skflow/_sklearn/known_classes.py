"""The classes and functions that a model file may name: skflow's, and harmless ones of others.

A class is harmless if its objects do nothing until they are used, and then only what its own code
says, whatever their attributes are.
"""

from __future__ import annotations

import re
from importlib import import_module
from types import FunctionType
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import nn

from skflow.exceptions import FileFormatError

__all__ = ["class_named", "function_named", "is_known_class", "is_known_function", "name_of"]

# Classes of scikit-learn that are no estimators. They have no state but Python's.
_SKLEARN_MODULES = {
    "sklearn._loss.link",
    "sklearn._loss.loss",
    "sklearn.ensemble._hist_gradient_boosting.predictor",
    "sklearn.gaussian_process.kernels",
    "sklearn.model_selection._split",
    "sklearn.utils._metadata_requests",
}

# The functions that a fit, or a parameter, may hold.
_FUNCTIONS = {
    "sklearn.utils.validation:check_array",
    "skflow.estimators.context:_nothing",
    "skflow.training.architecture:default_bijections",
}

_OF_DISTRIBUTIONS = (
    torch.distributions.Distribution,
    torch.distributions.Transform,
    torch.distributions.constraints.Constraint,
)

_MODULE = re.compile(
    r"(skflow|sklearn|torch\.nn\.modules|torch\.distributions)(\.[A-Za-z_][A-Za-z0-9_]*)*"
)
_NEVER = {"conftest", "datasets", "experimental", "externals", "tests"}


def name_of(what: Any) -> str:
    """Return the name of a class or of a function, as a file has it.

    Parameters
    ----------
    what : type or function
        The class or the function.
    """
    return f"{what.__module__}:{what.__qualname__}"


def is_known_class(cls: type) -> bool:
    """Say whether a model file may have objects of a class.

    Parameters
    ----------
    cls : type
        The class.
    """
    module = cls.__module__
    if not _may_be_imported(module):
        return False
    if module.startswith("sklearn."):
        return issubclass(cls, BaseEstimator) or module in _SKLEARN_MODULES
    if module.startswith("torch."):
        return issubclass(cls, (nn.Module, *_OF_DISTRIBUTIONS))
    return not issubclass(cls, BaseException)


def class_named(name: str) -> type:
    """Return a class that a model file names.

    Parameters
    ----------
    name : str
        What :func:`name_of` returned.

    Raises
    ------
    FileFormatError
        If objects of the class are not known to be harmless.
    """
    cls = _named(name)
    if not isinstance(cls, type) or name_of(cls) != name or not is_known_class(cls):
        raise FileFormatError(f"{name[:200]} is no class that a model file may have.")
    return cls


def is_known_function(function: Any) -> bool:
    """Say whether a model file may have a function: one of a few, or a ufunc of NumPy's.

    Parameters
    ----------
    function : callable
        The function.
    """
    if isinstance(function, np.ufunc):
        return getattr(np, function.__name__, None) is function
    return isinstance(function, FunctionType) and name_of(function) in _FUNCTIONS


def function_named(name: str) -> Any:
    """Return a function that a model file names.

    Parameters
    ----------
    name : str
        That of a function of NumPy, or what :func:`name_of` returned.

    Raises
    ------
    FileFormatError
        If it is none that :func:`is_known_function` takes.
    """
    function = _named(name) if name in _FUNCTIONS else getattr(np, name, None)
    if not is_known_function(function):
        raise FileFormatError(f"{name[:200]} is no function that a model file may have.")
    return function


def _may_be_imported(module: str) -> bool:
    """Whether a module has classes that may be known, and does nothing when it is imported."""
    library, *parts = module.split(".")
    return bool(_MODULE.fullmatch(module)) and not (library == "sklearn" and _NEVER & set(parts))


def _named(name: str) -> Any:
    """Return what has a name, or None."""
    module, _, path = name.partition(":")
    if not _may_be_imported(module):
        return None
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = vars(found).get(part)
    except (ImportError, TypeError, ValueError):
        return None
    return found
