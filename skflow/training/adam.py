"""Adam with decoupled weight decay, for all parameters that are not those of dense layers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from skflow.training.vector import alike

__all__ = ["AdamW"]

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8

# One call for all parameters, which makes the steps several times faster. `torch.optim.AdamW`
# calls it too, but imports the compiler of PyTorch, which takes seconds.
_FUSED: Any = getattr(torch, "_fused_adamw_", None)


class AdamW:
    r"""Adam with decoupled weight decay, as ``torch.optim.AdamW(fused=True)``, bit for bit.

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        \theta \leftarrow (1 - \eta \lambda)\,\theta - \eta\,
            \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    with :math:`\beta = (0.9, 0.999)` and :math:`\epsilon = 10^{-8}`. D. P. Kingma and J. Ba,
    "Adam: a method for stochastic optimization", ICLR 2015; I. Loshchilov and F. Hutter,
    "Decoupled weight decay regularization", ICLR 2019.

    Parameters
    ----------
    groups : iterable of (list of Parameter, float)
        The parameters to train, and the weight decay :math:`\lambda` of each list of them.
    fused : bool, default=True
        Whether to call PyTorch's kernel for all parameters at once, where there is one. Otherwise
        each parameter takes its step by the formula, in plain operations.

    Notes
    -----
    It keeps two moments of each parameter, of its shape and precision.

    Examples
    --------
    >>> import torch
    >>> from skflow.training.adam import AdamW
    >>> parameter = torch.nn.Parameter(torch.ones(2))
    >>> adam = AdamW([([parameter], 0.0)])
    >>> parameter.grad = torch.tensor([3.0, -0.1])
    >>> adam.step(0.5)
    >>> parameter.detach()
    tensor([0.5000, 1.5000])
    """

    def __init__(
        self, groups: Iterable[tuple[list[nn.Parameter], float]], *, fused: bool = True
    ) -> None:
        self.groups = [(parameters, decay) for parameters, decay in groups if parameters]
        self.fused = fused and _FUSED is not None
        self._state: dict[int, dict[str, Tensor]] = {}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters, in the order of the groups."""
        return [parameter for parameters, _ in self.groups for parameter in parameters]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        r"""Take a step along the gradients of the parameters that have one.

        Parameters
        ----------
        rate : float
            The learning rate :math:`\eta`.
        """
        for parameters, decay in self.groups:
            chosen = [p for p in parameters if p.grad is not None]
            for parameter in chosen:
                if id(parameter) not in self._state:
                    self._state[id(parameter)] = _first_state(parameter)
            if self.fused:
                for group in alike(chosen):
                    self._fused_step(group, rate, decay)
            else:
                for parameter in chosen:
                    _plain_step(parameter, self._state[id(parameter)], rate, decay)
            # The kernel does not tell autograd's version counters, by which a layer knows that
            # what it has computed of its weights is out of date.
            torch.autograd.graph.increment_version(chosen)

    def state_dict(self) -> dict[int, dict[str, Tensor]]:
        """Return the moments of each parameter, by its place in :attr:`parameters`.

        Returns
        -------
        state : dict
            The tensors themselves, not copies.
        """
        places = {id(parameter): k for k, parameter in enumerate(self.parameters)}
        return {places[key]: state for key, state in self._state.items()}

    def load_state_dict(self, state: dict[int, dict[str, Tensor]]) -> None:
        """Go on from where :meth:`state_dict` was called.

        Parameters
        ----------
        state : dict
            Copied, to where the parameters are and in their precision.
        """
        self._state = {}
        parameters = self.parameters
        for k, kept in state.items():
            parameter = parameters[k]
            step = kept["step"].to(parameter.device, torch.float32, copy=True)
            moments = (kept[name].to(parameter, copy=True) for name in ("exp_avg", "exp_avg_sq"))
            self._state[id(parameter)] = dict(
                zip(("step", "exp_avg", "exp_avg_sq"), (step, *moments), strict=True)
            )

    def _fused_step(self, parameters: list[nn.Parameter], rate: float, decay: float) -> None:
        states = [self._state[id(parameter)] for parameter in parameters]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        _FUSED(
            parameters,
            [parameter.grad for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            amsgrad=False,
            lr=rate,
            beta1=_BETA1,
            beta2=_BETA2,
            weight_decay=decay,
            eps=_EPS,
            maximize=False,
            grad_scale=None,
            found_inf=None,
        )


def _first_state(parameter: nn.Parameter) -> dict[str, Tensor]:
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
    }


def _plain_step(
    parameter: nn.Parameter, state: dict[str, Tensor], rate: float, decay: float
) -> None:
    gradient = parameter.grad
    assert gradient is not None
    first, second = state["exp_avg"], state["exp_avg_sq"]
    n_steps = int(state["step"].add_(1))
    parameter.mul_(1 - rate * decay)
    first.lerp_(gradient, 1 - _BETA1)
    second.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
    scale = (second.sqrt() / math.sqrt(1 - _BETA2**n_steps)).add_(_EPS)
    parameter.addcdiv_(first, scale, value=-rate / (1 - _BETA1**n_steps))
