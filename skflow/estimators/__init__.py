"""The estimators."""

from skflow.estimators.density import RelativeGradientFlow
from skflow.estimators.ensemble import DensityEnsemble
from skflow.estimators.outliers import FlowOutlierDetector

__all__ = ["DensityEnsemble", "FlowOutlierDetector", "RelativeGradientFlow"]
