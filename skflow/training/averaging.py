"""The running mean of a flow's parameters."""

from __future__ import annotations

import torch

from skflow.flow.network import Flow

__all__ = ["Average"]

_LEAST_WEIGHT = 1e-3


class Average:
    r"""The mean of a flow over its last steps: about a tenth of them, and a thousand at most.

    At a learning rate that stays, parameters keep moving about a maximum of the likelihood, and
    their mean is closer to it than they are. What they are after a step, and `t` steps before,
    enters the mean with the weight :math:`10 / (10 + t)` [1]_.

    Parameters
    ----------
    flow : Flow
        Where the mean is kept: a copy of `trained` that is changed in place.
    trained : Flow
        Whose parameters are averaged.
    n_steps : float
        How many steps there were before.

    References
    ----------
    .. [1] O. Shamir and T. Zhang, "Stochastic gradient descent for non-smooth optimization:
       convergence results and optimal averaging schemes", ICML 2013.
    """

    def __init__(self, flow: Flow, trained: Flow, n_steps: float) -> None:
        self.trained = trained
        self.pairs = list(zip(flow.parameters(), trained.parameters(), strict=True))
        self.n_steps = n_steps

    @torch.no_grad()
    def update(self, fullness: float) -> None:
        """Take in what the parameters are after a step.

        Parameters
        ----------
        fullness : float
            The rows of the step, over those of a full batch.
        """
        weight = min(1.0, fullness * max(10 / (10 + self.n_steps), _LEAST_WEIGHT))
        for layer in self.trained.relative_layers:
            layer.settle()
        for mean, value in self.pairs:
            mean.lerp_(value, weight)
        self.n_steps += fullness
