"""Dense layers that train by the relative gradient."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from skflow.flow.accumulator import Workspace, fused_accumulator
from skflow.flow.activations import Activation
from skflow.flow.bijection import Pullback
from skflow.flow.determinants import Determinants, Stamp, stamp
from skflow.flow.initialization import random_orthogonal, shrunk_whitening
from skflow.flow.operations import Operation
from skflow.flow.products import add_product_, affine
from skflow.flow.relative import Sums, add_relative_, is_unchanged
from skflow.flow.solvers import Solver, log_abs_dets, solver
from skflow.flow.tracing import is_traced
from skflow.flow.tracked import MOST_GAIN, TrackedLayer
from skflow.flow.weighted import mean, var_mean

__all__ = ["LinearStack"]


class LinearStack(TrackedLayer):
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
        The factors of the relative gradient, left here by the last pullback of
        :meth:`forward_and_pullback`.
    gain : float
        A factor of all weights that an optimiser has put off, during its steps alone:
        :meth:`settle` carries it out. All methods that map rows do so, as do copies, pickles and
        state dicts; what reads :attr:`weight` between steps has to.

    Notes
    -----
    Cost: O(L·N·D²) for the forward map and for a training step. The inverse takes an LU
    factorisation of each layer, O(L·D³), when it is first needed, and O(L·N·D²) from then
    on. So does :math:`\log|\det W|`, which is kept until the weights change.

    Each use of what is kept compares a fingerprint of the weights, which costs O(L·D²), unless
    it is within :meth:`Flow.unchanged`. It tells changes that PyTorch does not count, such as
    those of ``weight.data`` and of NumPy arrays that share its memory, unless rounding would lose
    them beside their rows. After steps of training, it is taken at the next use: such a change
    between a step and that goes unnoticed.

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

    _solvers: tuple[tuple[Stamp, torch.dtype], list[Solver]] | None

    _transient = ("_solvers", "_workspace")

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
        super().__init__(Determinants())
        self.n_features = n_features
        self.activation = activation
        self.init = self.start_from = init
        weight = torch.zeros(n_layers, n_features, n_features, dtype=dtype)
        weight.diagonal(dim1=-2, dim2=-1).fill_(1)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(n_layers, n_features, dtype=dtype)) if bias else None
        self._workspace: Workspace | None = None
        self._solvers = None

    @property
    def n_layers(self) -> int:
        """The number of dense layers."""
        return len(self.weight)

    @property
    def depth(self) -> int:  # noqa: D102
        return self.n_layers

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        self.settle()
        for k in range(self.n_layers):
            if k > 0 and self.activation is not None:
                x = self.activation(x)
            x = self._apply_layer(k, x)
        return x

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        log_det = self.log_abs_det().sum().to(x).expand(x.shape[0])
        for k in range(self.n_layers):
            if k > 0 and self.activation is not None:
                x, layer_log_det = self.activation.forward_and_log_det(x)
                log_det = log_det + layer_log_det
            x = self._apply_layer(k, x)
        return x, log_det

    def inverse(self, y: Tensor) -> Tensor:  # noqa: D102
        solvers = self._known_solvers(y.dtype)
        for k in range(self.n_layers - 1, -1, -1):
            y = self._invert_layer(k, y, solvers)
            if k > 0 and self.activation is not None:
                y = self.activation.inverse(y)
        return y

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        log_det = -self.log_abs_det().sum().to(y).expand(y.shape[0])
        solvers = self._known_solvers(y.dtype)
        for k in range(self.n_layers - 1, -1, -1):
            y = self._invert_layer(k, y, solvers)
            if k > 0 and self.activation is not None:
                y, layer_log_det = self.activation.inverse_and_log_det(y)
                log_det = log_det + layer_log_det
        return y, log_det

    def forward_and_pullback(
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]:
        r"""Apply the stack for a step of training, in the precision of the parameters.

        `log_det` is without :math:`\log|\det W|`, which the relative gradient does not need.
        The pullback sets :attr:`factors` and leaves no gradient in the parameters. `y` and the
        factors hold until the next step, so that a stack can be applied once in a pass.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            The rows.
        input_gradient : bool, default=True
            Whether the gradient with respect to `x` will be wanted.

        Returns
        -------
        y : Tensor of shape (N, D)
            The mapped rows.
        log_det : Tensor of shape (N,)
            In nats.
        pullback : callable
            Takes gradients back; to be called once.

        Raises
        ------
        RuntimeError
            By the pullback, if the stack was applied again since.
        """
        self.forget_factors()
        weight, bias = self.weight, self.bias
        x = x.to(weight.dtype)
        is_low_rank = self.wants_product(len(x))
        if self._workspace is None or not self._workspace.fits(weight, bias, len(x), is_low_rank):
            self._workspace = Workspace(weight, bias, len(x), is_low_rank=is_low_rank)
        y, log_det, complete = fused_accumulator(
            x, weight, bias, self.activation, gain=self.gain, workspace=self._workspace
        )

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            grad_x, factors = complete(grad_y, grad_log_det, input_gradient)
            self.keep_factors(factors)
            return grad_x

        return y, log_det, pullback

    def operation(self) -> Operation | None:  # noqa: D102
        if self.n_layers > 1 or type(self) is not LinearStack:
            return None
        n_features = self.weight.shape[-1]
        bias = self.weight.new_zeros(n_features) if self.bias is None else self.bias[0]
        return Operation(n_features, weight=self.weight[0], bias=bias)

    def relative_step(self, rate: float) -> None:
        r"""Descend along the relative gradient of :attr:`factors`, in place.

        With :math:`\eta` the rate and `m` the mass,
        :math:`W \leftarrow (1 + \eta m) W - \eta\, \delta^\top y W`, and b alike. Where a
        batch has fewer rows than columns, the factor :math:`1 + \eta m`, which would take another
        pass over the weights, is put off: it gathers in :attr:`gain`. There
        :math:`\log|\det W|` is kept up to date by the determinant lemma, if it was known: with
        :math:`\alpha = -\eta / (1 + \eta m)` as the float type rounds it,

        .. math::
            \log|\det W'| = \log|\det W| + D \log (1 + \eta m)
                + \log\left|\det\left(I_N + \alpha\, y \delta^\top\right)\right|.

        What the weights lose to rounding goes by without notice, and adds up. Their diagonals,
        which matter most to a determinant, are therefore kept in float64 beside them.

        A rate below the resolution of the float type changes nothing.

        Cost: O(L·N·D²), and O(L·N²·(N + D)) for the determinants.

        Parameters
        ----------
        rate : float
            The learning rate :math:`\eta`.
        """
        factors = self.known_factors()
        weight, bias, mass = self.weight, self.bias, factors.mass
        if rate * mass < torch.finfo(weight.dtype).eps:
            # Rounding would lose most of it, and all of it one way: the gain alone would grow.
            return
        if isinstance(factors, Sums) or factors.y_weight is None:
            sums = factors.sums()
            add_relative_([self], sums.relative_matrix, sums.delta_sum, alpha=-rate)
            return
        delta, y, y_weight = factors.delta, factors.y, factors.y_weight
        beta = 1 + rate * mass
        alpha = self._rounded(-rate / beta)
        known = self.determinants.entry(weight)
        if bias is not None:
            # As rows: a product with a column is slow.
            row = bias.unsqueeze(1)
            row.baddbmm_(torch.bmm(row, y.mT).add_(1), delta, beta=beta, alpha=-rate)
        add_product_(weight, delta.mT, y_weight, alpha=alpha)
        if known is not None:
            self.determinants.update(weight, known, alpha, (delta, y, y_weight))
        self.gain *= beta
        if self.gain > MOST_GAIN:
            self.settle()

    @torch.no_grad()
    def recheck(self) -> None:
        """Forget what is kept of weights that were changed unseen."""
        if not is_unchanged(self) and self.determinants.recheck(self.weight):
            self._forget_inverse()

    @torch.no_grad()
    def end_training(self) -> float | None:
        r"""Give back what only steps of training need, and correct the log-determinants.

        Returns
        -------
        drift : float or None
            By how many nats the sum of the tracked :math:`\log|\det W|` was above the exact one.
            None where that is not known: nothing was tracked, or the layers have more than
            8,192 columns.
        """
        self.forget_factors()
        self._workspace = None
        self.settle()
        self.recheck()
        return self.determinants.drift(self.weight)

    @property
    def can_be_neutral(self) -> bool:
        """Whether it is a single layer, without an activation that others would follow."""
        return self.n_layers == 1 and self.activation is None

    def start_neutral(self) -> None:  # noqa: D102
        self.start_from = "rotation"

    @torch.no_grad()
    def initialize(
        self, x: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        r"""Set the weights so that each layer's output is centred and of known scale.

        With ``init="whiten"``, the first layer is the symmetric whitening matrix of `x`. All
        other layers are random orthogonal matrices, applied to standardised inputs. What goes
        into an activation has a standard deviation of 1/√L, where the activations are the
        less bent the more of them there are: a whitened start scores about what a Gaussian
        does, and the deepest stack starts well conditioned. What leaves the stack has one of 1.

        With ``start_from="rotation"``, a single layer is a random orthogonal matrix, whatever
        the rows: it leaves the density of standard normal rows as it is.

        Parameters
        ----------
        x : Tensor of shape (N, D)
            A sample of what will flow in.
        generator : torch.Generator
            Where the randomness comes from.
        weights : Tensor of shape (N,) or None, default=None
            How many rows each row stands for; by default one.
        """
        self.gain = 1.0  # of weights that are no more
        d = x.shape[1]
        if self.start_from == "rotation":
            x, weights = torch.zeros_like(x[:1]), None
        x = x.to(self.weight.dtype)
        log_dets = []
        for k in range(self.n_layers):
            if k > 0 and self.activation is not None:
                x = self.activation(x)
            if k == 0 and self.start_from == "whiten":
                centre = mean(x, weights)
                weight, log_det = shrunk_whitening(x, weights)
            else:
                variance, centre = var_mean(x, weights)
                scale = torch.where(variance > 0, variance.sqrt(), 1)
                weight = random_orthogonal(d, generator, dtype=x.dtype).div_(scale)
                log_det = -scale.double().log().sum()
            if k < self.n_layers - 1:
                weight.div_(math.sqrt(self.n_layers))
                log_det = log_det - 0.5 * d * math.log(self.n_layers)
            self.weight[k] = weight
            del weight
            log_dets.append(log_det)
            if self.bias is not None:
                self.bias[k] = -(centre @ self.weight[k].T)
            x = self._apply_layer(k, x)
        if d > self.determinants.most_computed:
            self.determinants.keep(self.weight, torch.stack(log_dets))
            self.recheck()

    @property
    def log_abs_det_is_known(self) -> bool:
        """Whether :meth:`log_abs_det` has nothing to compute."""
        self.settle()
        self.recheck()
        return self.determinants.known(self.weight) is not None

    def log_abs_det(self) -> Tensor:
        r"""Return :math:`\log|\det W|` of each layer in nats, shape (L,), float64.

        It is computed once, in float64, and kept until the weights change. With gradients
        enabled they flow, to which end it is computed anew; the value is the one that is kept.
        Inside another bijection, in a step of training, it is 0: the relative gradient does
        without. Cost: O(L·D³), and room for one layer; O(L·D²) where it is known.
        """
        if self.takes_part:
            return torch.zeros(self.n_layers, dtype=torch.float64, device=self.weight.device)
        self.settle()
        if is_traced(self.weight):
            return log_abs_dets(self.weight.double())
        self.recheck()
        differentiated = torch.is_grad_enabled() and self.weight.requires_grad
        return self.determinants.computed(self.weight, differentiated=differentiated)

    def arguments(self) -> dict[str, Any]:  # noqa: D102
        return super().arguments() | {"bias": self.bias is not None}

    def fixed(self) -> LinearStack:
        """Return a copy whose log-determinants are a buffer, for exporters."""
        return _FixedStack(self)

    def extra_repr(self) -> str:  # noqa: D102
        return (
            f"n_layers={self.n_layers}, n_features={self.weight.shape[-1]}, "
            f"bias={self.bias is not None}, dtype={self.weight.dtype}"
        )

    def _apply_layer(self, k: int, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias[k].to(x.dtype)
        return affine(x, self.weight[k].to(x.dtype), bias)

    def _invert_layer(self, k: int, y: Tensor, solvers: list[Solver]) -> Tensor:
        if self.bias is not None:
            y = y - self.bias[k].to(y.dtype)
        return solvers[k](y)

    def _known_solvers(self, dtype: torch.dtype) -> list[Solver]:
        self.settle()
        self.recheck()
        # Read once: another thread may put those of another type there.
        known, key = self._solvers, (stamp(self.weight), dtype)
        if known is None or known[0] != key:
            known = key, [solver(weight.detach(), dtype) for weight in self.weight]
            self._solvers = known
        return known[1]

    def _forget_inverse(self) -> None:
        self._solvers = None


class _FixedStack(LinearStack):
    """Dense layers that do not change, so that their log-determinants are a buffer."""

    fixed_log_abs_det: Tensor

    def __init__(self, stack: LinearStack) -> None:
        n_layers, n_features, _ = stack.weight.shape
        super().__init__(
            n_layers,
            n_features,
            activation=stack.activation,
            bias=stack.bias is not None,
            dtype=stack.weight.dtype,
        )
        known = stack.log_abs_det()  # carries out a gain as well
        self.load_state_dict(stack.state_dict())
        self.to(stack.weight.device).requires_grad_(False)
        self.register_buffer("fixed_log_abs_det", known.detach().clone())

    def log_abs_det(self) -> Tensor:
        return self.fixed_log_abs_det
