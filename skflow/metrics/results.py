"""What two-sample tests and Monte Carlo estimates return."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MonteCarloEstimate", "TwoSampleTestResult"]


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


@dataclass(frozen=True)
class MonteCarloEstimate:
    """A mean over samples of a model, and how uncertain it is.

    Attributes
    ----------
    value : float
        The mean.
    standard_error : float
        Its standard deviation over other samples of the same model, from the spread of these. It
        falls with the square root of their number. NaN if the value is infinite.
    """

    value: float
    standard_error: float
