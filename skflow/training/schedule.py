"""The learning rate over a fit's budget of epochs and seconds."""

import math
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Budget", "annealing", "gaussian_penalty", "warming"]

_WARM_UP = 0.02
_WARM_UP_STEPS = 50

# The weight of the Gaussian penalty in the longest fits, and how many steps go without.
_MOST_PENALTY = 0.05
_FEW_STEPS = 5000


def annealing(progress: float) -> float:
    """Return the factor of the learning rate when `progress`, in [0, 1], of the fit is done.

    A linear warm-up over the first fiftieth, then a cosine down to zero.

    Parameters
    ----------
    progress : float
        The share of the fit that is done, in [0, 1].

    Examples
    --------
    >>> from skflow.training.schedule import annealing
    >>> [round(annealing(progress), 3) for progress in (0.01, 0.02, 0.51, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if progress < _WARM_UP:
        return progress / _WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP))


def warming(n_steps: float) -> float:
    """Return the factor of a learning rate that stays, after so many steps.

    It rises in proportion over the first 50 steps, to one.

    Parameters
    ----------
    n_steps : int
        The number of steps.

    Examples
    --------
    >>> from skflow.training.schedule import warming
    >>> [warming(n_steps) for n_steps in (0, 24, 1000)]
    [0.02, 0.5, 1.0]
    """
    return min(1.0, (n_steps + 1) / _WARM_UP_STEPS)


def gaussian_penalty(n_steps: float) -> float:
    r"""Return the weight of the penalty that keeps rows white between layers.

    Minibatch noise is multiplied onto a dense layer, step by step, and the singular values of
    products of many random matrices move apart. The likelihood does not hold them together as
    long as the next layers can undo it, until what they see of some direction is rounded away.
    So the longer a training, the higher is the weight: :math:`0.05 (1 - 5000 / n)`, and
    none up to 5,000 steps.

    Parameters
    ----------
    n_steps : int
        The number of steps.

    Examples
    --------
    >>> from skflow.training.schedule import gaussian_penalty
    >>> [gaussian_penalty(n_steps) for n_steps in (0, 5000, 10_000)]
    [0.0, 0.0, 0.025]
    """
    return _MOST_PENALTY * (1 - _FEW_STEPS / max(n_steps, _FEW_STEPS))


class Budget:
    """How much of a fit is done: the larger share of its steps and of its seconds.

    Parameters
    ----------
    n_steps : int
        The steps that the fit may take.
    max_time : float or None
        The seconds that it may take, or None for no limit.
    started : float
        When the clock of `max_time` was started.
    clock : callable or None, default=None
        Says how many seconds it is; by default, :func:`time.perf_counter`.
    """

    def __init__(
        self,
        n_steps: int,
        max_time: float | None,
        started: float,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.n_steps = n_steps
        self.max_time = max_time
        self.clock = time.perf_counter if clock is None else clock
        self.training_started = self.clock()
        self.overhead = self.training_started - started
        self.steps_done = 0
        self._landing: tuple[float, int, int] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` takes."""
        return {
            "steps_done": self.steps_done,
            "seconds": self.seconds,
            "overhead": self.overhead,
            "landing": self._landing,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where :meth:`state_dict` was called, as if no time had passed since.

        Parameters
        ----------
        state : dict
            What it returned.
        """
        self.steps_done = state["steps_done"]
        self.training_started = self.clock() - state["seconds"]
        self.overhead = state["overhead"]
        self._landing = None if state["landing"] is None else tuple(state["landing"])

    def reserve(self, seconds: float) -> None:
        """Keep `seconds` back for what comes after the last step.

        Parameters
        ----------
        seconds : float
            How long that takes.
        """
        self.overhead += seconds

    @property
    def landing(self) -> bool:
        """Whether :meth:`land` was called."""
        return self._landing is not None

    def land(self, n_steps: int) -> None:
        """Bring the rest of the schedule forward, so that it ends within `n_steps` steps.

        Parameters
        ----------
        n_steps : int
            The number of steps.
        """
        self._landing = (self.progress, self.steps_done, n_steps)

    @property
    def n_steps_expected(self) -> float:
        """How many steps fit into the budget, as far as one can tell from those that are done."""
        if self.max_time is None or self.steps_done == 0:
            return self.n_steps
        return min(self.n_steps, self.steps_done / self._share_of_time(self.max_time))

    @property
    def progress(self) -> float:
        """The share of the budget that is used, from 0 to 1."""
        progress = self.steps_done / self.n_steps
        if self._landing is not None:
            start, steps_before, n_steps = self._landing
            share = (self.steps_done - steps_before) / n_steps
            progress = max(progress, start + (1 - start) * share)
        if self.max_time is not None:
            progress = max(progress, self._share_of_time(self.max_time))
        return min(progress, 1.0)

    def _share_of_time(self, max_time: float) -> float:
        return self.seconds / max(max_time - self.overhead, 1e-9)

    @property
    def seconds(self) -> float:
        """How long training has taken."""
        return self.clock() - self.training_started

    @property
    def seconds_left(self) -> float:
        """How long the rest takes, if a step takes what those that are done took on average."""
        elapsed = self.seconds
        steps_left = self.n_steps - self.steps_done
        if self._landing is not None:
            _, steps_before, n_steps = self._landing
            steps_left = min(steps_left, steps_before + n_steps - self.steps_done)
        seconds = steps_left * elapsed / self.steps_done
        if self.max_time is not None:
            seconds = min(seconds, self.max_time - self.overhead - elapsed)
        return max(seconds, 0.0)
