"""Diagnostics that tell a good density model from a bad one."""

from skflow.metrics.classifier import classifier_two_sample_test
from skflow.metrics.coverage import HighestDensityCoverage, highest_density_coverage
from skflow.metrics.energy import energy_distance, energy_two_sample_test
from skflow.metrics.results import TwoSampleTestResult

__all__ = [
    "HighestDensityCoverage",
    "TwoSampleTestResult",
    "classifier_two_sample_test",
    "energy_distance",
    "energy_two_sample_test",
    "highest_density_coverage",
]
