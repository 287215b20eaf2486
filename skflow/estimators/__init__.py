"""The estimators."""

from skflow.estimators.conditional import ConditionalFlow
from skflow.estimators.density import RelativeGradientFlow
from skflow.estimators.density_ratio import DensityRatio
from skflow.estimators.ensemble import DensityEnsemble
from skflow.estimators.outliers import FlowOutlierDetector
from skflow.estimators.pool import LogarithmicPool

__all__ = [
    "ConditionalFlow",
    "DensityEnsemble",
    "DensityRatio",
    "FlowOutlierDetector",
    "LogarithmicPool",
    "RelativeGradientFlow",
]
