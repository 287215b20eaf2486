"""Deep density estimation that behaves like scikit-learn."""

from skflow import datasets, exceptions, inspection, metrics, preprocessing
from skflow._architecture import default_bijections
from skflow._estimator import RelativeGradientFlow
from skflow._outliers import FlowOutlierDetector
from skflow.flow import LeakyTanh, NormalMixture, SmoothLeakyReLU

__version__ = "0.1.0"

__all__ = [
    "FlowOutlierDetector",
    "LeakyTanh",
    "NormalMixture",
    "RelativeGradientFlow",
    "SmoothLeakyReLU",
    "datasets",
    "default_bijections",
    "exceptions",
    "inspection",
    "metrics",
    "preprocessing",
]
