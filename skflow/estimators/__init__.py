"""The estimators."""

from skflow.estimators.density import RelativeGradientFlow
from skflow.estimators.outliers import FlowOutlierDetector

__all__ = ["FlowOutlierDetector", "RelativeGradientFlow"]
