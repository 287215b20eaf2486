"""Dense layers that train by the relative gradient."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from skflow.flow.accumulator import Factors, Workspace, fused_accumulator
from skflow.flow.activations import Activation
from skflow.flow.bijection import Bijection, Pullback
from skflow.flow.initialization import random_orthogonal, shrunk_whitening
from skflow.flow.products import add_product_, affine, product
from skflow.flow.tracing import is_traced
from skflow.flow.weighted import mean, var_mean

__all__ = ["LinearStack", "unchanged"]

# Up to so many columns, the determinants of all layers are computed in one call.
_MOST_BATCHED_COLUMNS = 128

# Beyond so many columns, the log-determinants at the start are what they are by construction...
_MOST_COMPUTED_COLUMNS = 2048

# ...and beyond so many, those at the end are the tracked ones.
_MOST_CHECKED_COLUMNS = 8192

# Up to so many columns, the inverse of a layer is a matrix and no factorisation.
_MOST_INVERTED_COLUMNS = 2048

# The entries that are computed at a time: of an inverse, of a fingerprint, and of the traces of
# an update.
_BLOCK_ENTRIES = 2**18

# Weights that are small by more than this factor are multiplied by it.
_MOST_GAIN = 1024.0


Solver = Callable[[Tensor], Tensor]
Stamp = tuple[int, int]


class _Tracked(NamedTuple):
    r"""What is known of the weights without factorising them, as long as they have this stamp."""

    stamp: Stamp
    log_abs_det: Tensor
    r""":math:`\log|\det W|` of each layer without the gain, of shape (L,), float64."""
    diagonal: Tensor | None = None
    """What the weights' diagonals would be in float64, of shape (L, D)."""


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

    weight: nn.Parameter
    bias: nn.Parameter | None
    _tracked: _Tracked | None
    _solvers: tuple[tuple[Stamp, torch.dtype], list[Solver]] | None
    _seen: tuple[Stamp, Tensor] | None

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
        self.n_features = n_features
        self.activation = activation
        self.init = init
        weight = torch.zeros(n_layers, n_features, n_features, dtype=dtype)
        weight.diagonal(dim1=-2, dim2=-1).fill_(1)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(n_layers, n_features, dtype=dtype)) if bias else None
        self.gain = 1.0
        self.factors: Factors | None = None
        self._workspace: Workspace | None = None
        self._drop_caches()

    @property
    def n_layers(self) -> int:
        """The number of dense layers."""
        return len(self.weight)

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
        self.factors = None
        weight, bias = self.weight, self.bias
        x = x.to(weight.dtype)
        if self._workspace is None or not self._workspace.fits(weight, bias, len(x)):
            self._workspace = Workspace(weight, bias, len(x))
        y, log_det, complete = fused_accumulator(
            x, weight, bias, self.activation, gain=self.gain, workspace=self._workspace
        )

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            if self.factors is not None:
                raise RuntimeError(
                    f"{self} was applied twice in one pass. A dense layer keeps the factors of "
                    "one place in a flow: give each place a LinearStack of its own."
                )
            grad_x, self.factors = complete(grad_y, grad_log_det, input_gradient)
            return grad_x

        return y, log_det, pullback

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
        if self.factors is None:
            raise RuntimeError("A step needs the flow's relative_gradient first.")
        delta, y, y_weight, mass, _ = self.factors
        weight, bias = self.weight, self.bias
        if rate * mass < torch.finfo(weight.dtype).eps:
            # Rounding would lose most of it, and all of it one way: the gain alone would grow.
            return
        if y_weight is None:
            self.add_relative_(self.factors.relative(), delta.sum(1), alpha=-rate)
            return
        beta = 1 + rate * mass
        alpha = self._rounded(-rate / beta)
        tracked = self._known()
        if bias is not None:
            # As rows: a product with a column is slow.
            row = bias.unsqueeze(1)
            row.baddbmm_(torch.bmm(row, y.mT).add_(1), delta, beta=beta, alpha=-rate)
        add_product_(weight, delta.mT, y_weight, alpha=alpha)
        if tracked is not None:
            self._track(tracked, alpha, delta, y, y_weight)
        self.gain *= beta
        if self.gain > _MOST_GAIN:
            self.settle()

    def add_relative_(self, relative: Tensor, delta_sum: Tensor, *, alpha: float) -> None:
        r"""Add :math:`\alpha S W` to the weights and :math:`\alpha (S b + s)` to the biases.

        Parameters
        ----------
        relative : Tensor of shape (L, D, D)
            The matrix `S` of each layer.
        delta_sum : Tensor of shape (L, D)
            The vector `s` of each layer.
        alpha : float
            The factor.
        """
        if self.bias is not None:
            # As rows: a product with a column is slow.
            by_bias = torch.bmm(self.bias.unsqueeze(1), relative.mT).squeeze(1)
            self.bias.add_(by_bias.add_(delta_sum), alpha=alpha)
        self.weight.add_(product(relative, self.weight), alpha=alpha)

    def _track(
        self, tracked: _Tracked, alpha: float, delta: Tensor, y: Tensor, y_weight: Tensor
    ) -> None:
        r"""Bring what was known up to date, after :math:`\alpha\, \delta^\top (y W)` was added."""
        rounded, diagonal = self._diagonal(), tracked.diagonal
        is_exact = diagonal is not None
        if diagonal is None:
            # It has changed already, by less than it is rounded to now.
            diagonal = rounded.to(torch.float64, copy=True)
        update = torch.bmm(y, delta.mT).double()
        # A biased rounding of the trace would add up over the steps.
        trace = update.diagonal(dim1=-2, dim2=-1)
        for y_part, delta_part, y_weight_part, trace_part, diagonal_part in _in_blocks(
            y, delta, y_weight, trace, diagonal
        ):
            torch.sum(y_part * delta_part, -1, dtype=torch.float64, out=trace_part)
            if is_exact:
                change = torch.linalg.vecdot(delta_part, y_weight_part, dim=1)
                diagonal_part.add_(change, alpha=alpha)
        if is_exact:
            rounded.copy_(diagonal)
        update.mul_(alpha)
        trace.add_(1)
        self._keep(tracked.log_abs_det + _log_abs_dets(update), diagonal)

    @torch.no_grad()
    def settle(self) -> None:
        """Multiply the weights by :attr:`gain`, and set that to 1."""
        if self.gain == 1:
            return
        tracked = self._known()
        # As the float type rounds it, so that the log-determinant is that of the weights.
        gain = self._rounded(self.gain)
        self.weight.mul_(gain)
        self.gain = 1.0
        if self.factors is not None and self.factors.y_weight is not None:
            self.factors.y_weight.mul_(gain)  # for a step that is still to be taken
        if tracked is not None:
            log_abs_det = tracked.log_abs_det + self.weight.shape[-1] * math.log(gain)
            if tracked.diagonal is not None:
                self._diagonal().copy_(tracked.diagonal.mul_(gain))
            self._keep(log_abs_det, tracked.diagonal)

    def end_training(self) -> float | None:
        r"""Give back what only steps of training need, and correct the log-determinants.

        Returns
        -------
        drift : float or None
            By how many nats the sum of the tracked :math:`\log|\det W|` was above the exact one.
            None where that is not known: nothing was tracked, or the layers have more than
            8,192 columns, where room and time for an exact determinant would exceed those of
            the fit.
        """
        self.factors = self._workspace = None
        self.settle()
        self._verify()
        tracked = self._known()
        if tracked is None or self.weight.shape[-1] > _MOST_CHECKED_COLUMNS:
            return None
        self._tracked = None
        with torch.no_grad():
            return float((tracked.log_abs_det - self.log_abs_det()).sum())

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
        x = x.to(self.weight.dtype)
        log_abs_dets = []
        for k in range(self.n_layers):
            if k > 0 and self.activation is not None:
                x = self.activation(x)
            if k == 0 and self.init == "whiten":
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
            log_abs_dets.append(log_det)
            if self.bias is not None:
                self.bias[k] = -(centre @ self.weight[k].T)
            x = self._apply_layer(k, x)
        if d > _MOST_COMPUTED_COLUMNS:
            self._keep(torch.stack(log_abs_dets))
            self._verify()

    @property
    def log_abs_det_is_known(self) -> bool:
        """Whether :meth:`log_abs_det` has nothing to compute."""
        self.settle()
        self._verify()
        return self._known() is not None

    def log_abs_det(self) -> Tensor:
        r"""Return :math:`\log|\det W|` of each layer in nats, shape (L,), float64.

        It is computed once, in float64, and kept until the weights change. With gradients
        enabled they flow, to which end it is computed anew; the value is the one that is kept.
        Inside another bijection, in a step of training, it is 0: the relative gradient does
        without. Cost: O(L·D³), and room for one layer; O(L·D²) where it is known.
        """
        if self._takes_part:
            return torch.zeros(self.n_layers, dtype=torch.float64, device=self.weight.device)
        self.settle()
        if is_traced(self.weight):
            return _log_abs_dets(self.weight.double())
        self._verify()
        known = self._known()
        is_differentiated = torch.is_grad_enabled() and self.weight.requires_grad
        if known is not None and not is_differentiated:
            return known.log_abs_det
        if is_differentiated or self.weight.shape[-1] <= _MOST_BATCHED_COLUMNS:
            exact = _log_abs_dets(self.weight.double())
        else:
            exact = torch.stack([_log_abs_det_in_place(weight) for weight in self.weight])
        if known is None:
            kept = exact.detach()
            self._keep(kept)
            return exact if is_differentiated else kept
        change = torch.where(exact.isfinite(), exact - exact.detach(), 0)
        return known.log_abs_det + change

    def get_extra_state(self) -> Tensor:
        r"""Return the known :math:`\log|\det W|` for a state dict, or an empty tensor."""
        self.settle()
        self._verify()
        known = self._known()
        return torch.empty(0) if known is None else known.log_abs_det.clone()

    def set_extra_state(self, state: Tensor) -> None:
        """Take what :meth:`get_extra_state` gave, after the parameters that it belongs to.

        Parameters
        ----------
        state : Tensor
            What :meth:`get_extra_state` returned.
        """
        self.gain = 1.0
        self._drop_caches()
        if len(state):
            self._keep(state)
            self._verify()

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
        self._verify()
        # Read once: another thread may put those of another type there.
        known, key = self._solvers, (self._stamp(), dtype)
        if known is None or known[0] != key:
            known = key, [_solver(weight.detach(), dtype) for weight in self.weight]
            self._solvers = known
        return known[1]

    def _known(self) -> _Tracked | None:
        tracked = self._tracked  # read once: another thread may drop it
        return None if tracked is None or tracked.stamp != self._stamp() else tracked

    @torch.no_grad()
    def _verify(self) -> None:
        """Forget what is known of the weights if they changed and have the same stamp."""
        if self in _UNCHANGED.get():
            return
        seen, now = self._seen, (self._stamp(), _fingerprint(self.weight))
        if seen is None or seen[0] != now[0]:
            self._seen = now
        elif not torch.equal(seen[1], now[1]):
            self._drop_caches()
            self._seen = now

    def _keep(self, log_abs_det: Tensor, diagonal: Tensor | None = None) -> None:
        self._tracked = _Tracked(self._stamp(), log_abs_det, diagonal)

    def _diagonal(self) -> Tensor:
        return self.weight.diagonal(dim1=-2, dim2=-1)

    def _rounded(self, value: float) -> float:
        return ctypes.c_float(value).value if self.weight.dtype == torch.float32 else value

    def _stamp(self) -> Stamp:
        # Changes with every change of the weights that PyTorch counts, in place or by a move.
        weight = self.weight  # which a module takes its time to find
        return weight.data_ptr(), weight._version

    def _drop_caches(self) -> None:
        self._tracked = None
        self._solvers = None
        self._seen = None

    def __getstate__(self) -> dict[str, Any]:
        # A stamp means nothing in another process, and factors belong to a step.
        kept = self.get_extra_state()
        dropped = dict.fromkeys(("_tracked", "_solvers", "_seen", "factors", "_workspace"))
        return self.__dict__ | dropped | {"_kept_log_abs_det": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = state.pop("_kept_log_abs_det")
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.set_extra_state(kept)


# Whose weights are taken not to change, in the calls that a thread is making.
_UNCHANGED: ContextVar[frozenset[LinearStack]] = ContextVar("_UNCHANGED", default=frozenset())


@contextmanager
def unchanged(stacks: Iterable[LinearStack]) -> Iterator[None]:
    """Compare the fingerprints of weights once, and not at each use within.

    Parameters
    ----------
    stacks : iterable of LinearStack
        Whose weights do not change within, but for what PyTorch counts.
    """
    stacks = frozenset(stacks)
    for stack in stacks:
        stack.settle()
        stack._verify()
    token = _UNCHANGED.set(_UNCHANGED.get() | stacks)
    try:
        yield
    finally:
        _UNCHANGED.reset(token)


def _fingerprint(weight: Tensor) -> Tensor:
    """Return a number for each row of the weights, of shape (L·D,), by which changes are told.

    Sums of products and no product of matrices: neither the number of threads nor the precision
    that products are set to may change them.
    """
    d = weight.shape[-1]
    # All different, none small, and no progression.
    probe = torch.linspace(1, 2, d, dtype=weight.dtype, device=weight.device).sqrt_()
    rows = weight.reshape(-1, d).split(max(1, _BLOCK_ENTRIES // d))
    return torch.cat([(part * probe).sum(-1) for part in rows])


def _in_blocks(
    y: Tensor, delta: Tensor, y_weight: Tensor, trace: Tensor, diagonal: Tensor
) -> Iterator[tuple[Tensor, ...]]:
    """Yield them; if they are large, some layers of them at a time, or some rows of a layer."""
    if y.numel() <= _BLOCK_ENTRIES:
        yield y, delta, y_weight, trace, diagonal
        return
    n_layers = max(1, _BLOCK_ENTRIES // y[0].numel())
    n_rows = max(1, _BLOCK_ENTRIES // y.shape[-1])
    layers = (tensor.split(n_layers) for tensor in (y, delta, y_weight, trace, diagonal))
    for *with_rows, diagonal_part in zip(*layers, strict=True):
        for parts in zip(*(tensor.split(n_rows, dim=1) for tensor in with_rows), strict=True):
            yield *parts, diagonal_part


def _log_abs_dets(matrices: Tensor) -> Tensor:
    r"""Return :math:`\log|\det|` of matrices, of shape (L, n, n), one by one where that is needed.

    PyTorch's LU factorisations of batches of larger matrices hang or fail on CPUs with more than
    one thread (pytorch/pytorch#141358).
    """
    if matrices.shape[-1] <= _MOST_BATCHED_COLUMNS or matrices.device.type != "cpu":
        lu = torch.linalg.lu_factor_ex(matrices)[0]  # a tenth of the operations of slogdet
        return lu.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
    return torch.stack([torch.linalg.slogdet(matrix).logabsdet for matrix in matrices])


def _log_abs_det_in_place(weight: Tensor) -> Tensor:
    """Return that of one layer, of shape (D, D), in float64 and in room for one copy."""
    if weight.device.type != "cpu":
        return torch.linalg.slogdet(weight.double()).logabsdet
    lu, _ = _lu_factor(weight.detach(), torch.float64)
    return lu.diagonal().abs().log().sum()


def _solver(weight: Tensor, dtype: torch.dtype) -> Solver:
    r"""Return what takes `y` to the `x` with :math:`x W^\top = y`, both of type `dtype`.

    A product with an inverse is several times faster than a solution with triangular factors,
    and no less accurate where the inverse has been computed in a higher precision.
    """
    d = len(weight)
    if dtype.itemsize >= 8 or d > _MOST_INVERTED_COLUMNS:
        lu, pivots = _lu_factor(weight.mT, dtype)
        return lambda y: torch.linalg.lu_solve(lu, pivots, y, left=False)
    lu, pivots = _lu_factor(weight.mT, torch.float64)
    inverse = torch.eye(d, dtype=dtype, device=weight.device)
    for rows in inverse.split(max(1, _BLOCK_ENTRIES // d)):
        rows.copy_(torch.linalg.lu_solve(lu, pivots, rows.double(), left=False))
    return lambda y: product(y, inverse)


def _lu_factor(matrix: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    # In the column-major copy that LAPACK wants, and in place: there is no other.
    lu = torch.empty_like(matrix.mT, dtype=dtype, memory_format=torch.contiguous_format).mT
    lu.copy_(matrix)
    pivots = torch.empty(len(matrix), dtype=torch.int32, device=matrix.device)
    info = torch.empty((), dtype=torch.int32, device=matrix.device)
    torch.linalg.lu_factor_ex(lu, out=(lu, pivots, info))
    return lu, pivots
