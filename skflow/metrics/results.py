"""What two-sample tests and Monte Carlo estimates return."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MonteCarloEstimate", "NormalizationResult", "TwoSampleTestResult"]


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


@dataclass(frozen=True)
class NormalizationResult:
    """The integral of a density, and whether the estimate of it can be trusted.

    Attributes
    ----------
    value : float
        The integral: one of a density, up to some standard errors.
    standard_error : float
        Its standard deviation over other points. NaN if no point has any density.
    effective_sample_size : float
        How many points of equal weight tell as much as those that were drawn.
    unseen_share : float
        The share of the rows whose weight is larger than that of any point: about the part of the
        integral that the estimate misses.
    diagnosis : str
        What is wrong with the estimate, and what to do. Empty if it can be trusted.
    """

    value: float
    standard_error: float
    effective_sample_size: float
    unseen_share: float
    diagnosis: str
