"""Displays of fits, densities, samples, latents and calibration, in scikit-learn's manner."""

from skflow.inspection.calibration import QuantileCalibrationDisplay
from skflow.inspection.conditional import ConditionalDensityDisplay
from skflow.inspection.density import DensityDisplay
from skflow.inspection.integral_transform import PITDisplay
from skflow.inspection.latents import LatentDisplay
from skflow.inspection.pairs import PairDisplay
from skflow.inspection.training_curve import TrainingCurveDisplay

__all__ = [
    "ConditionalDensityDisplay",
    "DensityDisplay",
    "LatentDisplay",
    "PITDisplay",
    "PairDisplay",
    "QuantileCalibrationDisplay",
    "TrainingCurveDisplay",
]
