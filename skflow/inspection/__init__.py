"""Displays of fits, densities, samples and latents, in scikit-learn's manner."""

from skflow.inspection.density import DensityDisplay
from skflow.inspection.latents import LatentDisplay
from skflow.inspection.pairs import PairDisplay
from skflow.inspection.training_curve import TrainingCurveDisplay

__all__ = ["DensityDisplay", "LatentDisplay", "PairDisplay", "TrainingCurveDisplay"]
