"""What happened during a fit, epoch by epoch."""

from dataclasses import dataclass, field

__all__ = ["History"]


@dataclass
class History:
    """The record of a fit. All figures are nats per row, in the units of the data."""

    losses: list[float] = field(default_factory=list)
    """Mean negative log-likelihood of the training batches, for each epoch."""

    validation_scores: list[float] = field(default_factory=list)
    """Mean log-likelihood of the validation rows after each epoch; empty without them."""

    initial_score: float | None = None
    """Mean log-likelihood of the validation rows before the first epoch."""

    best_score: float | None = None
    """The one of the above that the weights have that were kept."""

    choice_score: float | None = None
    """The score of these weights by which they were chosen, in which no row outvotes the rest."""

    compared_score: float | None = None
    """The score by which the fit is compared with others: `choice_score`, less a standard error
    where it must be clearly better than another."""

    n_steps: int = 0
    """How many steps were applied."""

    n_skipped: int = 0
    """How many steps were not finite. Each of them halved the learning rates."""

    rate: float = 0.0
    """The highest learning rate of the dense layers when the fit ended."""

    log_det_drift: float | None = None
    """By how much the tracked log-determinants were above the exact ones at the end of the fit;
    what comes after it uses the exact ones. None where there was nothing to compare."""

    stopped_early: bool = False
    """Whether the validation score had stopped to rise before the budget was used."""

    interrupted: bool = False
    """Whether it was asked to end after an epoch."""

    path: list[tuple[float, float]] = field(default_factory=list)
    """The epochs that led to the weights that were kept: of each, the progress of the schedule
    before and after it."""

    @property
    def n_epochs(self) -> int:
        """The number of epochs, a last one that was cut short included."""
        return len(self.losses)
