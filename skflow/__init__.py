"""Deep density estimation that behaves like scikit-learn."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from skflow import datasets, exceptions, inspection, metrics, preprocessing, tables
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

__version__ = "0.1.0"

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
    "metrics",
    "preprocessing",
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
