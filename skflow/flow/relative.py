"""The contract of every layer that trains by the relative gradient."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from skflow.flow.bijection import Bijection
from skflow.flow.products import product

__all__ = [
    "Factors",
    "RelativeLayer",
    "Sums",
    "add_relative_",
    "heard",
    "is_unchanged",
    "stacked_factors",
    "unchanged",
]


class Factors(NamedTuple):
    r"""The factors of the relative gradient of L matrices.

    With rows as samples and :math:`y = x W^\top + b`, the relative gradient of the negative
    log-likelihood, :math:`\log|\det W|` included, is

    .. math::
        \Delta W = \delta^\top (y W) - m W, \qquad \Delta b = \delta^\top (y b + 1) - m b.

    No inverse of a matrix is in it. Equations (20), (32) and (33) of the
    appendix of Gresele et al. (2020), with the :math:`-b` that (33) lacks. The mass `m` is how
    often the loss counts :math:`-\log|\det W|`, which is once where it is a plain mean.

    Where a batch has fewer rows than a matrix has columns, the low rank is what makes this cheap.
    Else :math:`S = \delta^\top y - m I`, of shape (D, D), is smaller than :math:`y W`, which is
    not formed: :math:`\Delta W = S W`.

    Parameters
    ----------
    delta : Tensor of shape (L, N, D)
        Gradient of the loss, less its log-determinants, with respect to `y`.
    y : Tensor of shape (L, N, D)
        Pre-activations, bias included.
    y_weight : Tensor of shape (L, N, D) or None, default=None
        The product :math:`y W` of each matrix; None where N is at least D and it is not needed.
    mass : float, default=1.0
        The mean weight of the rows.
    weights : Tensor of shape (N,) or None, default=None
        The weights of the rows, if they have any.
    grams : Tensor of shape (L, 3, N, N) or None, default=None
        The products :math:`y \delta^\top`, :math:`\delta \delta^\top` and :math:`y y^\top`, in
        float64, where `delta` and `y` have a part of the columns and these take them all.
    """

    delta: Tensor
    y: Tensor
    y_weight: Tensor | None = None
    mass: float = 1.0
    weights: Tensor | None = None
    grams: Tensor | None = None

    def relative(self) -> Tensor:
        r"""Return :math:`S = \delta^\top y - m I`, of shape (L, D, D). Cost: O(L·N·D²)."""
        return self.sums().relative_matrix

    def sums(self, penalties: Tensor | None = None) -> Sums:
        r"""Return what the factors come to, summed over the rows. Cost: O(L·N·D²).

        Parameters
        ----------
        penalties : Tensor of shape (L, 1) or None, default=None
            The weight :math:`\lambda` of a Gaussian penalty on the rows that leave each matrix,
            which adds :math:`\lambda (y^\top y / N - m I)` to :math:`S`.
        """
        delta, y, _, mass, weights, _ = self
        relative = product(delta.mT, y)
        masses: Tensor | float = mass
        if penalties is not None:
            weighted = y if weights is None else y * weights.to(y).unsqueeze(-1)
            pull = product(weighted.mT, y).div_(y.shape[1])
            relative.add_(pull.mul_(penalties.unsqueeze(-1)))
            delta = torch.addcmul(delta, weighted, penalties.unsqueeze(-1) / y.shape[1])
            masses = mass * (1 + penalties)
        relative.diagonal(dim1=-2, dim2=-1).sub_(masses)
        return Sums(relative, delta.sum(1), mass)

    def size(self) -> float:
        """Return a figure that is finite if all entries are, of their products too.

        No entry of a product of factors exceeds the product of their norms, so that O(N·D)
        operations tell.
        """
        other = self.y if self.y_weight is None else self.y_weight
        norms = (torch.linalg.vector_norm(factor, dim=(1, 2)) for factor in (self.delta, other))
        size = float(torch.dot(*norms))
        return size if self.grams is None else size + float(torch.linalg.vector_norm(self.grams))

    def weight_gradient(self, weight: Tensor) -> Tensor:
        r"""Return :math:`\Delta W`, of shape (L, D, D). Cost: O(L·N·D²).

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights.
        """
        if self.y_weight is None:
            return product(self.relative(), weight)
        return torch.baddbmm(weight, self.delta.mT, self.y_weight, beta=-self.mass)

    def bias_gradient(self, bias: Tensor) -> Tensor:
        r"""Return :math:`\Delta b`, of shape (L, D). Cost: O(L·N·D).

        Parameters
        ----------
        bias : Tensor of shape (L, D) or None
            The biases.
        """
        column = bias.unsqueeze(-1)
        gradient = torch.baddbmm(column, self.delta.mT, self.y @ column + 1, beta=-self.mass)
        return gradient.squeeze(-1)


class Sums(NamedTuple):
    r"""What the factors of L matrices come to, summed over the rows.

    It takes their place where rows are on several machines: this is what these add up.

    Parameters
    ----------
    relative_matrix : Tensor of shape (L, D, D)
        :math:`S = \delta^\top y - m I`.
    delta_sum : Tensor of shape (L, D)
        The sum of the rows of :math:`\delta`.
    mass : float, default=1.0
        The mean weight of the rows.
    """

    relative_matrix: Tensor
    delta_sum: Tensor
    mass: float = 1.0

    @property
    def y_weight(self) -> None:
        """There is none."""
        return None

    def sums(self, penalties: Tensor | None = None) -> Sums:
        """Return these sums.

        Parameters
        ----------
        penalties : Tensor of shape (L, 1) or None, default=None
            Had to be known when the rows were summed.
        """
        return self

    def relative(self) -> Tensor:
        """Return :attr:`relative_matrix`."""
        return self.relative_matrix

    def size(self) -> float:
        """Return a figure that is finite if all entries are."""
        norms = (torch.linalg.vector_norm(one) for one in (self.relative_matrix, self.delta_sum))
        return float(sum(norms))

    def weight_gradient(self, weight: Tensor) -> Tensor:
        r"""Return :math:`\Delta W = S W`, of shape (L, D, D). Cost: O(L·D³).

        Parameters
        ----------
        weight : Tensor of shape (L, D, D)
            The weights.
        """
        return product(self.relative_matrix, weight)

    def bias_gradient(self, bias: Tensor) -> Tensor:
        r"""Return :math:`\Delta b = S b + \delta^\top 1`, of shape (L, D).

        Parameters
        ----------
        bias : Tensor of shape (L, D)
            The biases.
        """
        return (self.relative_matrix @ bias.unsqueeze(-1)).squeeze(-1) + self.delta_sum


class Listener(Protocol):
    """Takes the factors of layers as a pass leaves them: see :func:`heard`."""

    def wants_product(self, layer: RelativeLayer) -> bool:
        """Whether :math:`y W` has to be in the factors.

        Parameters
        ----------
        layer : RelativeLayer
            Whose factors they are.
        """

    def take(self, layer: RelativeLayer, factors: Factors) -> None:
        """Take factors.

        Parameters
        ----------
        layer : RelativeLayer
            The layer.
        factors : Factors
            Those of the pass, whose mass and weights are not those of the rows yet.
        """


class RelativeLayer(Bijection):
    r"""A bijection with L square matrices :math:`y = x W^\top + b` that train relatively.

    Flows, optimisers, averages and exports find such layers by this class, at the top of a flow
    and inside other bijections. Beside the methods of :class:`Bijection`, a subclass states

    - :meth:`forward_and_pullback`, which leaves :math:`\log|\det W|` out and calls
      :meth:`forget_factors`, and whose pullback calls :meth:`keep_factors` and leaves the
      gradients of `weight` and `bias` alone;
    - :meth:`log_abs_det`.

    The update of the weights follows from the factors. A subclass may take it in a form that is
    cheaper, and may put a part of it off: see :meth:`settle`.

    Attributes
    ----------
    weight : Parameter of shape (L, D, D)
    bias : Parameter of shape (L, D) or None
        All parameters of the layer that train relatively.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    # Takes the factors of a pass as soon as they are there; see :func:`heard`.
    _listener: Listener | None = None

    def __init__(self) -> None:
        super().__init__()
        self.forget_factors()

    @property
    def factors(self) -> Factors | Sums | None:
        """The factors of the relative gradient that the last pullback left, if it has passed.

        Of rows on several machines, they are those of all rows, or what these come to.
        """
        factors: Factors | Sums | None = self.__dict__["_factors"]
        return factors

    @factors.setter
    def factors(self, factors: Factors | Sums | None) -> None:
        self.__dict__["_factors"] = factors

    def forget_factors(self) -> None:
        """Set :attr:`factors` to None, sooner than PyTorch sets an attribute of a module."""
        self.__dict__["_factors"] = None

    @property
    def depth(self) -> int:
        """How many of the matrices a row goes through, one after the other."""
        return 1

    @property
    def has_whole_matrices(self) -> bool:
        """Whether `weight` has all rows of the matrices. By default, it has."""
        return True

    @property
    def has_exact_determinants(self) -> bool:
        """Whether its determinants are small enough to be computed. By default, they are."""
        return True

    @abstractmethod
    def log_abs_det(self) -> Tensor:
        r"""Return :math:`\log|\det W|` of each matrix in nats, shape (L,), float64.

        Inside another bijection, in a step of training, it has to be 0: the relative gradient
        does without. :attr:`takes_part` tells.
        """

    @property
    def takes_part(self) -> bool:
        """Whether this is inside a bijection that takes a step of training now."""
        return self._takes_part

    def wants_product(self, n_rows: int) -> bool:
        """Whether a pullback has to leave :math:`y W` in the factors.

        Parameters
        ----------
        n_rows : int
            The number of rows of the pass.

        Returns
        -------
        wanted : bool
            True if these are fewer than the columns, unless they are only a part of the rows of a
            step and the product is not asked for.
        """
        if self._listener is not None:
            return self._listener.wants_product(self)
        return n_rows < self.weight.shape[-1]

    def relative_step(self, rate: float) -> None:
        r"""Descend along the relative gradient of :attr:`factors`, in place.

        With :math:`\eta` the rate, :math:`W \leftarrow W - \eta\, \Delta W`, and `b` alike.

        Parameters
        ----------
        rate : float
            The learning rate :math:`\eta`.
        """
        sums = self.known_factors().sums()
        add_relative_([self], sums.relative_matrix, sums.delta_sum, alpha=-rate)

    def set_gradients(self) -> None:
        """Put the relative gradient where optimisers of PyTorch look for a gradient."""
        self.settle()
        factors = self.known_factors()
        self.weight.grad = factors.weight_gradient(self.weight)
        if self.bias is not None:
            self.bias.grad = factors.bias_gradient(self.bias)

    def keep_factors(self, factors: Factors) -> None:
        """Set :attr:`factors`, from a pullback, where there are none.

        Parameters
        ----------
        factors : Factors
            Those of the pass.

        Raises
        ------
        RuntimeError
            If the layer has those of another place in the same pass.
        """
        if self.factors is not None:
            raise RuntimeError(
                f"{self} was applied twice in one pass. A dense layer keeps the factors of one "
                f"place in a flow: give each place a {type(self).__name__} of its own."
            )
        self.__dict__["_factors"] = factors
        if self._listener is not None:
            self._listener.take(self, factors)

    def known_factors(self) -> Factors | Sums:
        """Return :attr:`factors`.

        Raises
        ------
        RuntimeError
            If no pass went through this layer since the last one began.
        """
        if self.factors is None:
            raise RuntimeError(
                "A step needs the flow's relative_gradient first, and that must pass forwards "
                f"through each dense layer once: {self} was not reached. Take layers that are not "
                "applied out of the flow."
            )
        return self.factors

    def settle(self) -> None:
        """Carry out what steps have put off, so that the parameters are what the layer applies.

        By default, nothing is put off.
        """

    def recheck(self) -> None:
        """Forget what is kept of parameters that were changed unseen.

        By default, nothing is kept.
        """

    def step_state(self) -> dict[str, Tensor]:
        """Return what steps need beside the state dict, to go on bit for bit.

        By default, that is nothing.
        """
        return {}

    def load_step_state(self, state: dict[str, Tensor]) -> None:
        """Take what :meth:`step_state` gave, after the state dict.

        Parameters
        ----------
        state : dict
            What it returned.
        """

    def end_training(self) -> float | None:
        r"""Give back what only steps of training need.

        Returns
        -------
        drift : float or None
            By how many nats the sum of a tracked :math:`\log|\det W|` was above the exact one.
            None, the default, where nothing was compared.
        """
        self.forget_factors()
        return None

    def fixed(self) -> Bijection:
        """Return the same map without training, for exporters. By default, it is this layer."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_factors": None}  # which belong to a step


def stacked_factors(layers: Sequence[RelativeLayer]) -> Factors | Sums:
    """Return the factors of layers of one shape as those of all their matrices.

    Parameters
    ----------
    layers : sequence of RelativeLayer
        All with factors of the same pass, or all with what these come to.
    """
    known = [layer.known_factors() for layer in layers]
    if len(known) == 1:
        return known[0]
    sums = [one for one in known if isinstance(one, Sums)]
    if sums:
        relative = torch.cat([one.relative_matrix for one in sums])
        return Sums(relative, torch.cat([one.delta_sum for one in sums]), sums[0].mass)
    factors = [one for one in known if isinstance(one, Factors)]
    y_weights = [one.y_weight for one in factors if one.y_weight is not None]
    grams = [one.grams for one in factors if one.grams is not None]
    return factors[0]._replace(
        delta=torch.cat([one.delta for one in factors]),
        y=torch.cat([one.y for one in factors]),
        y_weight=torch.cat(y_weights) if y_weights else None,
        grams=torch.cat(grams) if grams else None,
    )


def add_relative_(
    layers: Sequence[RelativeLayer], relative: Tensor, delta_sum: Tensor, *, alpha: float
) -> None:
    r"""Add :math:`\alpha S W` to weights and :math:`\alpha (S b + s)` to biases, in place.

    Parameters
    ----------
    layers : sequence of RelativeLayer
        Layers of one shape, with L matrices in all, all with biases or all without.
    relative : Tensor of shape (L, D, D)
        The matrix `S` of each.
    delta_sum : Tensor of shape (L, D)
        The vector `s` of each.
    alpha : float
        The factor.
    """
    sizes = [len(layer.weight) for layer in layers]
    weights: list[Tensor] = [layer.weight for layer in layers]
    biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
    if biases:
        # As rows: a product with a column is slow.
        rows = biases[0] if len(biases) == 1 else torch.cat(biases)
        by_bias = torch.bmm(rows.unsqueeze(1), relative.mT).squeeze(1).add_(delta_sum)
        for bias, part in zip(biases, by_bias.split(sizes), strict=True):
            bias.add_(part, alpha=alpha)
    by_weight = product(relative, weights[0] if len(weights) == 1 else torch.cat(weights))
    for weight, part in zip(weights, by_weight.split(sizes), strict=True):
        weight.add_(part, alpha=alpha)


@contextmanager
def heard(layers: Iterable[RelativeLayer], listener: Listener) -> Iterator[None]:
    r"""Give a listener each layer's factors while the rest of the way back is computed.

    Parameters
    ----------
    layers : iterable of RelativeLayer
        The layers.
    listener : Listener
        It says whether :math:`y W` is wanted, too, as the rows are a part of those of a step.
    """
    layers = list(layers)
    for layer in layers:
        layer.__dict__["_listener"] = listener
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["_listener"]


# Whose weights are taken not to change, in the calls that a thread is making.
_UNCHANGED: ContextVar[frozenset[RelativeLayer]] = ContextVar("_UNCHANGED", default=frozenset())


def is_unchanged(layer: RelativeLayer) -> bool:
    """Whether a call within :func:`unchanged` has looked at the parameters of a layer already.

    Parameters
    ----------
    layer : RelativeLayer
        The layer.
    """
    return layer in _UNCHANGED.get()


@contextmanager
def unchanged(layers: Iterable[RelativeLayer]) -> Iterator[None]:
    """Compare parameters with what is kept of them once, and not at each use within.

    Parameters
    ----------
    layers : iterable of RelativeLayer
        Whose parameters do not change within, but for what PyTorch counts.
    """
    layers = frozenset(layers)
    for layer in layers:
        layer.settle()
        layer.recheck()
    token = _UNCHANGED.set(_UNCHANGED.get() | layers)
    try:
        yield
    finally:
        _UNCHANGED.reset(token)
