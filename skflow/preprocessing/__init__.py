"""Transformers that keep count of densities, and the densities of whole pipelines."""

from skflow.preprocessing.dequantization import DequantizationTransformer
from skflow.preprocessing.jacobians import log_abs_det_jacobian
from skflow.preprocessing.logit import LogitTransformer
from skflow.preprocessing.samples import sample_in_original_units
from skflow.preprocessing.units import score_in_original_units, score_samples_in_original_units

__all__ = [
    "DequantizationTransformer",
    "LogitTransformer",
    "log_abs_det_jacobian",
    "sample_in_original_units",
    "score_in_original_units",
    "score_samples_in_original_units",
]
