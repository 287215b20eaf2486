"""What two-sample tests return."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TwoSampleTestResult"]


@dataclass(frozen=True)
class TwoSampleTestResult:
    """The result of a test whether two samples have the same distribution.

    Attributes
    ----------
    statistic : float
        How much the samples differ; the test says on what scale.
    pvalue : float
        The probability of a statistic at least this high if the distributions are the same.
    """

    statistic: float
    pvalue: float
