"""Diagnostics that tell a good density model from a bad one."""

from skflow.metrics.classifier import classifier_two_sample_test
from skflow.metrics.coverage import HighestDensityCoverage, highest_density_coverage
from skflow.metrics.energy import energy_distance, energy_two_sample_test
from skflow.metrics.information import entropy, kl_divergence, mutual_information
from skflow.metrics.integral_transform import (
    ProbabilityIntegralTransform,
    probability_integral_transform,
)
from skflow.metrics.intervals import IntervalCoverage, interval_coverage
from skflow.metrics.nearest_rows import NearestRowResult, nearest_row_test
from skflow.metrics.normalization import check_normalization
from skflow.metrics.ranked_probability import crps
from skflow.metrics.results import (
    MonteCarloEstimate,
    NormalizationResult,
    TwoSampleTestResult,
)
from skflow.metrics.synthesis import SynthesisReport, synthesis_report
from skflow.metrics.table_drift import DriftResult, drift

__all__ = [
    "DriftResult",
    "HighestDensityCoverage",
    "IntervalCoverage",
    "MonteCarloEstimate",
    "NearestRowResult",
    "NormalizationResult",
    "ProbabilityIntegralTransform",
    "SynthesisReport",
    "TwoSampleTestResult",
    "check_normalization",
    "classifier_two_sample_test",
    "crps",
    "drift",
    "energy_distance",
    "energy_two_sample_test",
    "entropy",
    "highest_density_coverage",
    "interval_coverage",
    "kl_divergence",
    "mutual_information",
    "nearest_row_test",
    "probability_integral_transform",
    "synthesis_report",
]
