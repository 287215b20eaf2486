"""Deep density estimation that behaves like scikit-learn."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from skflow import datasets, exceptions, inspection, metrics, preprocessing, tables
from skflow._sklearn.persistence import load, save
from skflow._version import __version__ as __version__
from skflow.estimators import (
    ConditionalFlow,
    DensityEnsemble,
    DensityRatio,
    FlowOutlierDetector,
    LogarithmicPool,
    RelativeGradientFlow,
)
from skflow.flow import LeakyTanh, NormalMixture, SmoothLeakyReLU
from skflow.tables import FlowClassifier, FlowImputer, TableFlow
from skflow.training.architecture import default_bijections

if TYPE_CHECKING:
    from skflow import callbacks
    from skflow import skpro as skpro

__all__ = [
    "ConditionalFlow",
    "DensityEnsemble",
    "DensityRatio",
    "FlowClassifier",
    "FlowImputer",
    "FlowOutlierDetector",
    "LeakyTanh",
    "LogarithmicPool",
    "NormalMixture",
    "RelativeGradientFlow",
    "SmoothLeakyReLU",
    "TableFlow",
    "callbacks",
    "datasets",
    "default_bijections",
    "exceptions",
    "inspection",
    "load",
    "metrics",
    "preprocessing",
    "save",
    "tables",
]


def __getattr__(name: str) -> ModuleType:
    # Imported when they are asked for: they take scikit-learn 1.9, and skpro. The latter is not in
    # __all__, as few have it.
    if name in {"callbacks", "skpro"}:
        return import_module(f"skflow.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
