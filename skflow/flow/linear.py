"""Dense layers that train by the relative gradient."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from skflow.flow.accumulator import Factors, fused_accumulator, literal_accumulator
from skflow.flow.activations import Activation
from skflow.flow.bijection import Bijection
from skflow.flow.initialization import random_orthogonal, shrunk_whitening

__all__ = ["LinearStack"]

# The entries of the weights that are made float64 at a time for their determinants.
_DETERMINANT_ENTRIES = 2**20

_ACCUMULATORS = {"fused": fused_accumulator, "literal": literal_accumulator}


class LinearStack(Bijection):
    r"""Dense layers :math:`y = x W^\top + b` with an activation between them.

    The stack ends with a dense layer: `n_layers` of them, and `n_layers` − 1 activations. Its
    parameters lie in one tensor each, so that one operation updates all layers.

    Parameters
    ----------
    n_layers : int
        The number L of dense layers.
    n_features : int
        The number D of features.
    activation : Activation or None, default=None
        What stands between the dense layers.
    bias : bool, default=True
        Whether the layers have a bias.
    init : {"orthogonal", "whiten"}, default="whiten"
        How :meth:`initialize` sets the weights.
    dtype : torch.dtype, default=torch.float32
        The precision of the parameters.

    Attributes
    ----------
    weight : Parameter of shape (L, D, D)
    bias : Parameter of shape (L, D) or None
    factors : Factors or None
        The factors of the relative gradient, left here by the last backward pass through
        :meth:`relative_forward_and_log_det`.

    Notes
    -----
    Cost: O(L·N·D²) for the forward map and for a training step. The inverse takes an LU
    factorisation of each layer, O(L·D³), when it is first needed, and O(L·N·D²) from then
    on. So does :math:`\log|\det W|`, which is kept until the weights change.

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import LinearStack, SmoothLeakyReLU
    >>> x = torch.randn(5, 3, dtype=torch.float64)
    >>> stack = LinearStack(2, 3, activation=SmoothLeakyReLU())
    >>> stack.initialize(x, torch.Generator().manual_seed(0))
    >>> bool(torch.allclose(stack.inverse(stack(x)), x))
    True
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    _log_abs_det: tuple[Any, Tensor] | None
    _lu: tuple[Any, Tensor, Tensor] | None

    def __init__(
        self,
        n_layers: int,
        n_features: int,
        *,
        activation: Activation | None = None,
        bias: bool = True,
        init: Literal["orthogonal", "whiten"] = "whiten",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.init = init
        self.weight = nn.Parameter(
            torch.eye(n_features, dtype=dtype).repeat(n_layers, 1, 1).contiguous()
        )
        self.bias = nn.Parameter(torch.zeros(n_layers, n_features, dtype=dtype)) if bias else None
        self.factors: Factors | None = None
        self._drop_caches()

    @property
    def n_layers(self) -> int:
        """The number of dense layers."""
        return len(self.weight)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        log_det = self.log_abs_det().sum().to(x).expand(len(x))
        for k in range(self.n_layers):
            if k > 0 and self.activation is not None:
                x, layer_log_det = self.activation.forward_and_log_det(x)
                log_det = log_det + layer_log_det
            weight = self.weight[k].to(x.dtype).T
            if self.bias is None:
                x = x @ weight
            else:
                x = torch.addmm(self.bias[k].to(x.dtype), x, weight)
        return x, log_det

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        log_det = -self.log_abs_det().sum().to(y).expand(len(y))
        lu, pivots = self._factorization(y.dtype)
        for k in range(self.n_layers - 1, -1, -1):
            if self.bias is not None:
                y = y - self.bias[k].to(y.dtype)
            # Rows are samples: x Wᵀ = y is a system with the factors of Wᵀ on the right.
            y = torch.linalg.lu_solve(lu[k], pivots[k], y, left=False)
            if k > 0 and self.activation is not None:
                y, layer_log_det = self.activation.inverse_and_log_det(y)
                log_det = log_det + layer_log_det
        return y, log_det

    def relative_forward_and_log_det(
        self, x: Tensor, *, accumulator: Literal["fused", "literal"] = "fused"
    ) -> tuple[Tensor, Tensor]:
        r"""Apply the stack for a step of training, in the precision of the parameters.

        The backward pass sets :attr:`factors` and leaves no gradient in the parameters.

        Parameters
        ----------
        x : Tensor of shape (N, D)
        accumulator : {"fused", "literal"}, default="fused"
            Which form of the accumulator of appendix D to use; the results are equal.

        Returns
        -------
        y : Tensor of shape (N, D)
        log_det : Tensor of shape (N,)
            Without :math:`\log|\det W|`, which the relative gradient does not need.
        """
        return _ACCUMULATORS[accumulator](
            x.to(self.weight.dtype), self.weight, self.bias, self.activation, self._deposit
        )

    @torch.no_grad()
    def initialize(self, x: Tensor, generator: torch.Generator) -> None:
        r"""Set the weights so that each layer's output is centred and of known scale.

        With ``init="whiten"``, the first layer is the symmetric whitening matrix of `x`. All
        other layers are random orthogonal matrices, applied to standardised inputs. What goes
        into an activation has a standard deviation of 1/√L, where the activations are the
        less bent the more of them there are: a whitened start scores about what a Gaussian
        does, and the deepest stack starts well conditioned. What leaves the stack has one of 1.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            A sample of what will flow in.
        generator : torch.Generator
        """
        for k in range(self.n_layers):
            if k > 0 and self.activation is not None:
                x = self.activation.value(x)
            x = x.double()
            mean = x.mean(0)
            if k == 0 and self.init == "whiten":
                weight = shrunk_whitening(x)
            else:
                scale = (x - mean).square().mean(0).sqrt()
                scale = torch.where(scale > 0, scale, 1)
                weight = random_orthogonal(x.shape[1], generator) / scale
            if k < self.n_layers - 1:
                weight = weight / math.sqrt(self.n_layers)
            self.weight[k] = weight
            x = x @ weight.T
            if self.bias is not None:
                self.bias[k] = -(mean @ weight.T)
                x = x - mean @ weight.T

    def log_abs_det(self) -> Tensor:
        r"""Return :math:`\log|\det W|` of each layer in nats, shape (L,), float64.

        It is computed once, in float64, and kept until the weights change; with gradients
        enabled it is computed anew, so that they flow. Cost: O(L·D³).
        """
        if torch.is_grad_enabled() and self.weight.requires_grad:
            return torch.linalg.slogdet(self.weight.double()).logabsdet
        if self._log_abs_det is None or self._log_abs_det[0] != self._stamp():
            # A few layers at a time: large ones one by one, small ones in one call.
            chunk = max(1, _DETERMINANT_ENTRIES // self.weight[0].numel())
            parts = [torch.linalg.slogdet(w.double()).logabsdet for w in self.weight.split(chunk)]
            self.keep_log_abs_det(torch.cat(parts))
        assert self._log_abs_det is not None
        return self._log_abs_det[1]

    def keep_log_abs_det(self, log_abs_det: Tensor) -> None:
        r"""Take `log_abs_det`, of shape (L,), for that of the weights as they are now.

        An optimiser that knows how its step changes the determinant calls this, so that
        nobody has to compute it.
        """
        self._log_abs_det = (self._stamp(), log_abs_det)

    def extra_repr(self) -> str:  # noqa: D102
        return (
            f"n_layers={self.n_layers}, n_features={self.weight.shape[-1]}, "
            f"bias={self.bias is not None}, dtype={self.weight.dtype}"
        )

    def _deposit(self, factors: Factors) -> None:
        self.factors = factors

    def _factorization(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        if self._lu is None or self._lu[0] != (*self._stamp(), dtype):
            lu, pivots = torch.linalg.lu_factor(self.weight.detach().mT.to(dtype))
            self._lu = ((*self._stamp(), dtype), lu, pivots)
        return self._lu[1], self._lu[2]

    def _stamp(self) -> tuple[int, int]:
        # Changes with every change of the weights, in place or by a move.
        return self.weight.data_ptr(), self.weight._version

    def _drop_caches(self) -> None:
        self._log_abs_det = None
        self._lu = None

    def __getstate__(self) -> dict[str, Any]:
        # A stamp means nothing in another process, and factors belong to a step.
        return self.__dict__ | {"_log_abs_det": None, "_lu": None, "factors": None}
