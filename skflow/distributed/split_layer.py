r"""Dense layers whose matrix is split by rows over processes, and never in one place.

Of :math:`y = x W^\top + b`, a process has some columns of `x` and of `y`, the rows of `W` and the
entries of `b` that belong to the latter. For N rows of D columns, the processes exchange

- on the way forward, the columns of `x`;
- on the way back, their terms of :math:`y W`, which the update takes whole, and of
  :math:`\delta W`, of which each takes its own columns;
- in float64, their terms of the N×N matrices :math:`y \delta^\top`, by which the log-determinant
  is tracked, :math:`\delta \delta^\top` and :math:`y y^\top`, which measure a step, and of
  :math:`y b`.

The update of the rows of `W` is local.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from skflow.distributed.columns import Columns
from skflow.distributed.factorization import SplitFactorization
from skflow.exceptions import InversionError
from skflow.flow.bijection import Pullback
from skflow.flow.determinants import Determinants, Known, Stamp, stamp
from skflow.flow.initialization import low_rank_whitening, random_orthogonal, shrunk_whitening
from skflow.flow.products import add_product_, affine, product
from skflow.flow.relative import Factors
from skflow.flow.tracked import MOST_GAIN, TrackedLayer
from skflow.flow.weighted import mean, var_mean

__all__ = ["RowSplitLinear"]

# Of many rows, so many entries of whole rows are gathered at a time.
_GATHERED_ENTRIES = 2**20

# What a solution may miss, relative to what is solved for, in units of the precision.
_MOST_RESIDUAL = 1e3


class RowSplitLinear(TrackedLayer):
    r"""A dense layer :math:`y = x W^\top + b`, of which each process has some rows.

    All methods are called by all processes, with their own columns of the same rows.

    Parameters
    ----------
    columns : Columns
        Those of this process.
    bias : bool, default=True
        Whether the layer has a bias.
    init : {"orthogonal", "whiten"}, default="whiten"
        How :meth:`initialize` sets the weights: see :class:`~skflow.flow.LinearStack`.
    output_scale : float, default=1.0
        The standard deviation of what leaves the layer at its start.
    dtype : torch.dtype, default=torch.float32
        The precision of the parameters.

    Attributes
    ----------
    weight : Parameter of shape (1, C, D)
        The own rows of W.
    bias : Parameter of shape (1, C) or None
        The own entries of b.
    gain : float
        A factor of all weights that steps have put off: :meth:`settle` carries it out.
    residual : float
        What the last inverse missed: the norm of :math:`x W^\top + b - y` over that of
        :math:`y - b`.

    Notes
    -----
    The inverse, and a log-determinant that is not known, take an LU factorisation that is split
    by rows as well: O(D³ / R) operations of each of R processes, and a copy of its weights.
    Changes of the weights that PyTorch does not count go unnoticed.
    """

    _transient = ("_factorization", "_y_bias")

    def __init__(
        self,
        columns: Columns,
        *,
        bias: bool = True,
        init: Literal["orthogonal", "whiten"] = "whiten",
        output_scale: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(Determinants(first_row=columns.own.start))
        self.columns = columns
        self.n_features = columns.n_own
        self.init, self.output_scale = init, output_scale
        weight = torch.zeros(1, columns.n_own, columns.n_features, dtype=dtype)
        self.determinants.diagonal(weight).fill_(1)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(1, columns.n_own, dtype=dtype)) if bias else None
        self.residual = 0.0
        self._y_bias: Tensor | None = None
        self._factorization: tuple[tuple[Stamp, torch.dtype], SplitFactorization] | None = None

    @property
    def can_be_neutral(self) -> bool:
        """Whether a single process's layer could be: it is asked how columns are scaled."""
        return True

    @property
    def has_whole_matrices(self) -> bool:
        """False."""
        return False

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        self.settle()
        n_rows = max(1, _GATHERED_ENTRIES // self.columns.n_features)
        blocks = [self._map(self.columns.gather(block)) for block in x.split(n_rows)]
        return torch.cat(blocks) if blocks else x

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Map rows, and return the share of :math:`\log|\det W|` that is this process's.

        The first one has all of it.

        Parameters
        ----------
        x : Tensor of shape (N, C)
            The own columns.
        """
        return self.forward(x), self._share_of_log_det(x)

    def inverse(self, y: Tensor) -> Tensor:
        """Solve for the rows before the layer, and check the solution.

        Parameters
        ----------
        y : Tensor of shape (N, C)
            The own columns.

        Raises
        ------
        InversionError
            On all processes, if the solution misses what is solved for.
        """
        self.settle()
        right = y if self.bias is None else y - self.bias[0].to(y)
        factorization = self._factorized(y.dtype)
        whole = factorization.solve(right)
        missed = right - self._product(whole)
        whole += factorization.solve(missed)  # which makes up for rounding
        missed = right - self._product(whole)
        squares = torch.stack([missed.double().square().sum(), right.double().square().sum()])
        of_missed, of_right = self.columns.sum(squares).tolist()
        self.residual = math.sqrt(of_missed / of_right) if of_right else math.sqrt(of_missed)
        if not self.residual <= _MOST_RESIDUAL * torch.finfo(y.dtype).eps:
            raise InversionError(
                f"What a dense layer was inverted to misses its image by {self.residual:.1e} of "
                "its size: the matrix is close to singular. Lower learning_rate or n_layers, and "
                "look for columns that nearly follow from others."
            )
        return whole[:, self.columns.own].contiguous()

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        return self.inverse(y), -self._share_of_log_det(y)

    def forward_and_pullback(  # noqa: D102
        self, x: Tensor, *, input_gradient: bool = True
    ) -> tuple[Tensor, Tensor, Pullback]:
        self.forget_factors()
        if not self.wants_product(len(x)):
            raise ValueError(
                f"A batch has {len(x)} rows of {self.columns.n_features} columns. Within "
                "row_split, it must have fewer rows than columns: set batch_size lower. With as "
                "few columns as that, use data_parallel."
            )
        weight = self.weight.detach()[0]
        y = affine(self.columns.gather(x.to(weight.dtype)), weight)
        if self.gain != 1:
            y.mul_(self.gain)
        if self.bias is not None:
            y.add_(self.bias.detach()[0])

        def pullback(grad_y: Tensor, grad_log_det: Tensor) -> Tensor | None:
            return self._pull_back(grad_y.contiguous(), y, weight, input_gradient)

        return y, x.new_zeros(len(x)), pullback

    def _pull_back(
        self, delta: Tensor, y: Tensor, weight: Tensor, input_gradient: bool
    ) -> Tensor | None:
        n_rows, group = len(y), self.columns.group
        wait_for_grams = group.sum(self._terms_of_grams(delta, y))
        if input_gradient:
            by_x, y_weight = product(torch.cat([delta, y]), weight).split(n_rows)
            wait_for_input = self.columns.begin_scatter_sum(by_x)
            y_weight = y_weight.clone()
        else:
            y_weight = product(y, weight).contiguous()
        wait_for_y_weight = group.sum(y_weight)
        flat = wait_for_grams()
        grams = flat[: 3 * n_rows**2].view(1, 3, n_rows, n_rows)
        trace, self._y_bias = flat[3 * n_rows**2 :].split(n_rows)
        grams[0, 0].diagonal().copy_(trace)
        grad_x = wait_for_input().mul(self.gain) if input_gradient else None
        delta, y, y_weight = (one.unsqueeze(0) for one in (delta, y, wait_for_y_weight()))
        self.keep_factors(Factors(delta, y, y_weight, grams=grams))
        return grad_x

    def _terms_of_grams(self, delta: Tensor, y: Tensor) -> Tensor:
        """Return what this process has of the N×N matrices, the trace of the first, and y b."""
        by_bias = y.new_zeros(len(y)) if self.bias is None else y @ self.bias.detach()[0]
        # A biased rounding of the trace would add up over the steps.
        trace = (y * delta).sum(-1, dtype=torch.float64)
        products = (product(y, delta.mT), product(delta, delta.mT), product(y, y.mT))
        terms = [one.double().reshape(-1) for one in products]
        return torch.cat([*terms, trace, by_bias.double()])

    def relative_step(self, rate: float) -> None:
        """Descend along the relative gradient of the factors, in place.

        What a :class:`~skflow.flow.LinearStack` does, on the own rows. The log-determinant is
        kept up to date if it was known.

        Parameters
        ----------
        rate : float
            The learning rate.
        """
        factors = self.known_factors()
        assert isinstance(factors, Factors)
        assert factors.y_weight is not None
        weight, mass = self.weight, factors.mass
        if rate * mass < torch.finfo(weight.dtype).eps:
            return
        beta = 1 + rate * mass
        alpha = self._rounded(-rate / beta)
        known = self.determinants.entry(weight)
        if self.bias is not None:
            self.bias.copy_(self.bias - rate * self._bias_gradient(factors))
        add_product_(weight, factors.delta.mT, factors.y_weight, alpha=alpha)
        if known is not None:
            self._track(known, alpha, factors)
        self.gain *= beta
        if self.gain > MOST_GAIN:
            self.settle()

    def set_gradients(self) -> None:
        """Put the relative gradient of the own rows where optimisers look for a gradient."""
        self.settle()
        factors = self.known_factors()
        assert isinstance(factors, Factors)
        self.weight.grad = factors.weight_gradient(self.weight)
        if self.bias is not None:
            self.bias.grad = self._bias_gradient(factors)

    def _bias_gradient(self, factors: Factors) -> Tensor:
        assert self.bias is not None
        assert self._y_bias is not None
        row = (self._y_bias + 1).to(self.bias.dtype).unsqueeze(0)
        return row @ factors.delta[0] - factors.mass * self.bias.detach()

    def _track(self, known: Known, alpha: float, factors: Factors) -> None:
        """Bring the log-determinant up to date, after the weights have changed."""
        assert factors.grams is not None
        assert factors.y_weight is not None
        diagonal = self.determinants.diagonal_of(self.weight, known)
        if known.diagonal is not None:
            own = factors.y_weight[..., self.columns.own]
            diagonal.add_(torch.linalg.vecdot(factors.delta, own, dim=1), alpha=alpha)
        gram = factors.grams[:, 0].clone()
        self.determinants.advance(self.weight, known, alpha, gram, diagonal)

    @torch.no_grad()
    def end_training(self) -> float | None:
        """Give back what only steps of training need, and correct the log-determinant.

        Returns
        -------
        drift : float or None
            By how many nats the tracked one was above the exact one. None where nothing was
            tracked, or with more than 8,192 columns.
        """
        self.forget_factors()
        self._y_bias = None
        self.settle()
        tracked = self.determinants.known(self.weight)
        if tracked is None or not self.has_exact_determinants:
            return None
        self.determinants.forget()
        return float((tracked - self.log_abs_det()).sum())

    @torch.no_grad()
    def log_abs_det(self) -> Tensor:
        r"""Return :math:`\log|\det W|` in nats, shape (1,), float64, on all processes.

        It is tracked by steps of "sgd" and "relative", and else computed.
        """
        if self.takes_part:
            return torch.zeros(1, dtype=torch.float64, device=self.weight.device)
        self.settle()
        known = self.determinants.known(self.weight)
        if known is None:
            copy = self.weight.detach()[0].to(torch.float64, copy=True)
            known = SplitFactorization(copy, self.columns).log_abs_det().unsqueeze(0)
            self.determinants.keep(self.weight, known)
        return known

    @torch.no_grad()
    def initialize(
        self, x: Tensor, generator: torch.Generator, weights: Tensor | None = None
    ) -> None:
        """Set the weights as a :class:`~skflow.flow.LinearStack` does.

        Parameters
        ----------
        x : Tensor of shape (N, C)
            The own columns of a sample of what will flow in. Whole rows are gathered if there are
            at least as many rows as columns; up to O(N·D) numbers in any case.
        generator : torch.Generator
            Where the randomness comes from; in the same state on all processes.
        weights : Tensor of shape (N,) or None, default=None
            How many rows each row stands for; by default one.
        """
        self.gain = 1.0
        x = x.to(self.weight.dtype)
        weight, d = self.weight[0], self.columns.n_features
        if self.init == "whiten":
            centre = mean(x, weights)
            log_det = self._whiten(x, weights)
        else:
            variance, centre = var_mean(x, weights)
            scale = self.columns.gather(torch.where(variance > 0, variance.sqrt(), 1))
            random_orthogonal(d, generator, dtype=x.dtype, rows=self.columns.own, out=weight)
            weight.div_(scale)
            log_det = -scale.double().log().sum()
        weight.mul_(self.output_scale)
        log_det = log_det + d * math.log(self.output_scale)
        if self.bias is not None:
            self.bias[0] = -affine(self.columns.gather(centre).unsqueeze(0).to(weight), weight)[0]
        self.determinants.keep(self.weight, log_det.reshape(1))

    def _whiten(self, x: Tensor, weights: Tensor | None) -> Tensor:
        """Set the own rows of the whitening matrix of a sample, and return its log-determinant."""
        weight, columns = self.weight[0], self.columns
        if len(x) >= columns.n_features:
            whole, log_det = shrunk_whitening(columns.gather(x), weights)
            weight.copy_(whole[columns.own])
            return log_det
        low_rank = low_rank_whitening(
            x, weights, n_features=columns.n_features, summed=columns.sum
        )
        basis = columns.gather(low_rank.basis.mT)
        n_rows = max(1, _GATHERED_ENTRIES // columns.n_features)
        for rows, part in zip(low_rank.basis.split(n_rows), weight.split(n_rows), strict=True):
            torch.mm(rows, basis, out=part).neg_()
        self.determinants.diagonal(self.weight).add_(low_rank.diagonal)
        return low_rank.log_det

    def arguments(self) -> dict[str, Any]:
        """Refuse: a part of a layer is no layer.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            "A flow that was fitted within row_split is in as many parts as there were processes, "
            "and none of them can be described alone. Save the part of each process to a file of "
            "its own, by the method save of the estimator."
        )

    def extra_repr(self) -> str:  # noqa: D102
        own, d = self.columns.own, self.columns.n_features
        return f"rows {own.start} to {own.stop} of {d}, dtype={self.weight.dtype}"

    def _map(self, whole: Tensor) -> Tensor:
        y = self._product(whole)
        return y if self.bias is None else y.add_(self.bias.detach()[0].to(y))

    def _product(self, whole: Tensor) -> Tensor:
        """Return the own columns of whole rows times the transposed weights."""
        weight = self.weight.detach()[0]
        if weight.dtype == whole.dtype:
            return affine(whole, weight)
        n_rows = max(1, _GATHERED_ENTRIES // self.columns.n_features)
        return torch.cat([whole @ rows.to(whole).mT for rows in weight.split(n_rows)], 1)

    def _share_of_log_det(self, x: Tensor) -> Tensor:
        log_det = self.log_abs_det().sum().to(x)
        return (log_det if self.columns.rank == 0 else torch.zeros_like(log_det)).expand(len(x))

    def _factorized(self, dtype: torch.dtype) -> SplitFactorization:
        known, key = self._factorization, (stamp(self.weight), dtype)
        if known is None or known[0] != key:
            self._factorization = None
            copy = self.weight.detach()[0].to(dtype, copy=True)
            known = key, SplitFactorization(copy, self.columns)
            self._factorization = known
        return known[1]

    def _forget_inverse(self) -> None:
        self._factorization = None
