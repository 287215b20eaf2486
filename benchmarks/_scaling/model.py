"""What a step of training costs each of many processes, by counting.

A step of N rows of D columns through L dense layers takes products of matrices, reads and writes
weights, and brings each process numbers of the others. Each method is counted as its code does
it. The seconds of a step are those of the products, or of the passes over the weights if these
take longer, and those of the messages: nothing is taken to overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

from skflow.distributed.split_traffic import received_per_split_step
from skflow.distributed.traffic import n_factors, received_per_step

__all__ = ["METHODS", "Cost", "Machine", "Step", "cost"]

ITEMSIZE = 4  # float32

# The peers' networks. Published MAF models of 784 columns have 1,024 units (Papamakarios et al.,
# 2017), and FFJORD's solvers some hundred evaluations (Grathwohl et al., 2019).
PEER_UNITS = 1024
PEER_BLOCKS = 5
EVALUATIONS = 100


@dataclass(frozen=True)
class Machine:
    """What a process has at its disposal."""

    flops: float
    """Operations a second in products of matrices."""

    memory_rate: float
    """Bytes a second of its memory."""

    network_rate: float
    """Bytes a second that it receives."""

    latency: float
    """Seconds of a message between two processes."""


@dataclass(frozen=True)
class Step:
    """A step of training."""

    n_rows: int
    """The number N of rows, of all processes together."""

    n_features: int
    """The number D of columns."""

    n_layers: int
    """The number L of dense layers."""

    n_ranks: int
    """The number R of processes."""


@dataclass(frozen=True)
class Cost:
    """What a step costs one process."""

    flops: float
    """Operations."""

    passes: float
    """Bytes of weights that are read or written."""

    received: float
    """Bytes that other processes send it."""

    n_messages: int
    """How many messages it waits for, one after the other."""

    memory: float
    """Bytes of its weights."""

    def seconds(self, machine: Machine) -> float:
        """Return the seconds of the step.

        Parameters
        ----------
        machine : Machine
            What the process has.
        """
        work = max(self.flops / machine.flops, self.passes / machine.memory_rate)
        return work + self.received / machine.network_rate + self.n_messages * machine.latency


def data_parallel(step: Step) -> Cost:
    """Count a data-parallel step along the relative gradient, of factors or of sums."""
    n, d, n_layers, n_ranks = step.n_rows, step.n_features, step.n_layers, step.n_ranks
    own = n / n_ranks
    factors = n_factors(n, d)
    if factors:
        # Forwards, back for the signal and for y W, and the update of all rows. Of two factors,
        # each process makes y W of all rows.
        flops = 6 * own * d**2 + (2 if factors == 3 else 4) * n * d**2
        passes = 5
    else:
        flops = 6 * own * d**2 + 2 * d**3
        passes = 5
    return Cost(
        flops=n_layers * flops,
        passes=passes * ITEMSIZE * n_layers * d**2,
        received=received_per_step(n, d, n_layers=n_layers, n_others=0, n_ranks=n_ranks),
        n_messages=(n_layers + 1) * (n_ranks - 1),
        memory=ITEMSIZE * n_layers * d**2,
    )


def row_split(step: Step) -> Cost:
    """Count a step whose matrices are divided by rows."""
    n, d, n_layers, n_ranks = step.n_rows, step.n_features, step.n_layers, step.n_ranks
    weights = n_layers * d**2 / n_ranks
    # Forwards, back for the signal and for y W, and the update.
    return Cost(
        flops=8 * n * weights,
        passes=5 * ITEMSIZE * weights,
        received=received_per_split_step(n, d, n_layers=n_layers, n_ranks=n_ranks, is_first=True),
        n_messages=5 * n_layers * (n_ranks - 1),
        memory=ITEMSIZE * weights,
    )


def exact_gradient(step: Step) -> Cost:
    """Count a data-parallel step along the gradient, with the inverse of each matrix."""
    n, d, n_layers, n_ranks = step.n_rows, step.n_features, step.n_layers, step.n_ranks
    own = n / n_ranks
    # A factorisation takes 2/3 D³, and the inverse that its derivative is 4/3 D³.
    return Cost(
        flops=n_layers * (6 * own * d**2 + 2 * d**3),
        passes=6 * ITEMSIZE * n_layers * d**2,
        received=_all_reduced(n_layers * d**2, n_ranks),
        n_messages=2 * (n_ranks - 1),
        memory=3 * ITEMSIZE * n_layers * d**2,
    )


def autoregressive(step: Step) -> Cost:
    """Count a data-parallel step of MAF. Samples take D passes."""
    h = PEER_UNITS
    parameters = PEER_BLOCKS * (3 * step.n_features * h + h**2)
    return _network(step, parameters, flops_per_parameter=6)


def continuous(step: Step) -> Cost:
    """Count a data-parallel step of FFJORD, by the adjoint method with Hutchinson's estimate."""
    h = PEER_UNITS
    parameters = 2 * step.n_features * h + h**2
    # The value and a product with the Jacobian on the way there; these and derivatives back.
    return _network(step, parameters, flops_per_parameter=(4 + 12) * EVALUATIONS)


METHODS = {
    "data-parallel": data_parallel,
    "row-split": row_split,
    "gradient with inverses": exact_gradient,
    "MAF": autoregressive,
    "FFJORD": continuous,
}


def cost(method: str, step: Step) -> Cost:
    """Return what a step costs each process.

    Parameters
    ----------
    method : str
        One of the keys of `METHODS`.
    step : Step
        Its sizes.
    """
    return METHODS[method](step)


def _network(step: Step, parameters: float, flops_per_parameter: float) -> Cost:
    own = step.n_rows / step.n_ranks
    return Cost(
        flops=flops_per_parameter * own * parameters,
        passes=6 * ITEMSIZE * parameters,
        received=_all_reduced(parameters, step.n_ranks),
        n_messages=2 * (step.n_ranks - 1),
        memory=4 * ITEMSIZE * parameters,  # with its gradient and the two moments of Adam
    )


def _all_reduced(n_numbers: float, n_ranks: int) -> float:
    return 2 * (n_ranks - 1) / n_ranks * ITEMSIZE * n_numbers
