"""The estimators."""

from skflow.estimators.conditional import ConditionalFlow
from skflow.estimators.density import RelativeGradientFlow
from skflow.estimators.ensemble import DensityEnsemble
from skflow.estimators.outliers import FlowOutlierDetector
from skflow.estimators.pool import LogarithmicPool

__all__ = [
    "ConditionalFlow",
    "DensityEnsemble",
    "FlowOutlierDetector",
    "LogarithmicPool",
    "RelativeGradientFlow",
]
