r"""The map that makes a mixture of normal distributions standard normal.

The mixture's first column has a distribution function, and so has each further column, given the
columns before it. The map takes each to the standard normal one:

.. math::
    u_j = \Phi^{-1}\big(F_j(x_j \mid x_1, \dots, x_{j-1})\big), \qquad
    F_j = \sum_k r_{kj}\, \Phi(e_{kj}).

Here :math:`e_k = P_k (x - \mu_k)` with a lower triangular :math:`P_k` is what component k takes
for standard normal, and :math:`r_{kj}` is the component's share in the columns before. That is the
Knothe-Rosenblatt rearrangement (M. Rosenblatt, "Remarks on a multivariate transformation", Annals
of Mathematical Statistics 23, 1952). Its log-determinant is the difference of log-densities,
:math:`\log p(x) - \log \mathcal{N}(u)`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from skflow.exceptions import InversionError
from skflow.flow.bijection import Bijection
from skflow.flow.blocks import BLOCK_ENTRIES
from skflow.flow.components import Components

__all__ = ["NormalMixtureMap"]

_LOG_2PI = math.log(2 * math.pi)
_ROOT_HALF = math.sqrt(0.5)

# Probabilities below this are computed by their logarithms, which takes several times longer.
_LEAST_TAIL = 1e-250

# Below this log-probability, a quantile comes from Newton's method rather than from a formula.
_LEAST_LOG = -600.0
_QUANTILE_STEPS = 4

_MOST_STEPS = 100

# So near to the score that is sought, Newton's method is left alone.
_NEAR = 1e-6

# Scores of more than this are so large that the difference of log-densities loses its digits.
_MOST_SCORE = 1e3


class NormalMixtureMap(Bijection):
    r"""The bijection that makes a mixture of normal distributions standard normal.

    A flow that begins with it starts from the density of the mixture, whatever the shapes that
    the mixture has: parts that lie apart, curves, and clusters of different sizes. It does not
    train.

    Parameters
    ----------
    n_components : int
        The number K of components.
    n_features : int
        The number D of columns.

    Attributes
    ----------
    log_weights : Tensor of shape (K,)
        The logarithms of the weights, float64.
    means : Tensor of shape (K, D)
        Float64.
    precision_factors : Tensor of shape (K, D, D)
        The lower triangular factors P of the precisions :math:`P^\top P`, float64.

    Notes
    -----
    Computed in float64. Cost: O(K·N·D²) forward; the inverse takes some ten steps of Newton's
    method for each column, of O(K·N) each, and O(K·N·D²).

    Examples
    --------
    >>> import torch
    >>> from skflow.flow import NormalMixtureMap
    >>> halves = NormalMixtureMap(n_components=2, n_features=1)
    >>> _ = halves.means.copy_(torch.tensor([[-5.0], [5.0]]))
    >>> halves(torch.tensor([[-5.0], [0.0], [5.0]]).double())
    tensor([[-0.6745],
            [ 0.0000],
            [ 0.6745]], dtype=torch.float64)
    """

    log_weights: Tensor
    means: Tensor
    precision_factors: Tensor

    def __init__(self, n_components: int, n_features: int) -> None:
        super().__init__()
        if n_components < 1:
            raise ValueError(f"n_components must be a positive integer, got {n_components!r}.")
        self.n_components = n_components
        self.n_features = n_features
        k, d = n_components, n_features
        log_weights = torch.full((k,), -math.log(k), dtype=torch.float64)
        self.register_buffer("log_weights", log_weights)
        self.register_buffer("means", torch.zeros(k, d, dtype=torch.float64))
        self.register_buffer(
            "precision_factors", torch.eye(d, dtype=torch.float64).repeat(k, 1, 1)
        )

    @classmethod
    def of(cls, components: Components) -> NormalMixtureMap:
        """Make the map of a mixture.

        Parameters
        ----------
        components : Components
            The mixture.
        """
        made = cls(*components.means.shape)
        for name, tensor in components._asdict().items():
            made.register_buffer(name, tensor.double())
        return made

    @property
    def components(self) -> Components:
        """The mixture."""
        return Components(self.log_weights, self.means, self.precision_factors)

    def arguments(self) -> dict[str, Any]:  # noqa: D102
        return {"n_components": self.n_components, "n_features": self.n_features}

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        parts = [self._forward(block) for block in x.double().contiguous().split(self._n_rows())]
        u, log_det = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return u.to(x.dtype), log_det.to(x.dtype)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        parts = [self._inverse(block) for block in y.double().contiguous().split(self._n_rows())]
        x, log_det = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return x.to(y.dtype), log_det.to(y.dtype)

    def _n_rows(self) -> int:
        """Return how many rows are computed at a time."""
        return max(1, 16 * BLOCK_ENTRIES // (self.n_components * int(self.n_features or 1)))

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        standard = self.components.standardized(x)  # (K, N, D)
        joint = self.log_weights.unsqueeze(1).expand(standard.shape[:2])
        columns = []
        for j in range(x.shape[1]):
            columns.append(_normal_score(joint, standard[..., j]))
            joint = joint + self._log_density(standard[..., j], j)
        u = torch.stack(columns, 1)
        return u, self._log_det(joint, standard, u)

    @torch.no_grad()
    def _inverse(self, u: Tensor) -> tuple[Tensor, Tensor]:
        joint = self.log_weights.unsqueeze(1).expand(self.n_components, len(u))
        deviations = u.new_zeros(self.n_components, *u.shape)
        x = torch.empty_like(u)
        for j in range(u.shape[1]):
            # e_j = P_jj (x_j - c), where the columns before say what c is.
            scale = self.precision_factors[:, j, j].unsqueeze(1)
            row = self.precision_factors[:, j, :j].unsqueeze(2)
            centre = self.means[:, j].unsqueeze(1)
            if j:
                centre = centre - (deviations[..., :j] @ row).squeeze(2) / scale
            x[:, j] = _solve(joint, scale, centre, u[:, j])
            deviations[..., j] = x[:, j] - self.means[:, j].unsqueeze(1)
            joint = joint + self._log_density(scale * (x[:, j] - centre), j)
        return x, -self._log_det(joint, self.components.standardized(x), u)

    def _log_det(self, joint: Tensor, standard: Tensor, u: Tensor) -> Tensor:
        """Return that of the forward map.

        Parameters
        ----------
        joint : Tensor of shape (K, N)
            The log-densities of rows, by components.
        standard : Tensor of shape (K, N, D)
            What the components take for standard normal.
        u : Tensor of shape (N, D)
            The scores.
        """
        log_det = joint.logsumexp(0) + 0.5 * (u.square().sum(1) + u.shape[1] * _LOG_2PI)
        far = u.abs().amax(1) > _MOST_SCORE
        if bool(far.any()):
            log_det = log_det.index_put((far,), self._far_log_det(standard[:, far], u[far]))
        return log_det

    def _far_log_det(self, standard: Tensor, u: Tensor) -> Tensor:
        r"""Return the same where both log-densities are huge, and their difference is not.

        With :math:`h = \varphi / \Phi`, a column's slope is the mean of :math:`P_{jj} h(e_{kj})`
        over the components, by their shares in the tail, divided by :math:`h(u_j)`.
        """
        joint = self.log_weights.unsqueeze(1).expand(standard.shape[:2])
        log_det = torch.zeros_like(u[:, 0])
        for j in range(u.shape[1]):
            side = -u[:, j].sign()  # of the lower tail, to which the upper one is turned
            tail, score = side * standard[..., j], side * u[:, j]
            shares = (joint + torch.special.log_ndtr(tail)).log_softmax(0)
            log_scale = self.precision_factors[:, j, j].log().unsqueeze(1)
            slope = (shares + log_scale + _log_hazard(tail)).logsumexp(0)
            log_det = log_det + slope - _log_hazard(score)
            joint = joint + self._log_density(standard[..., j], j)
        return log_det

    def _log_density(self, standard: Tensor, j: int) -> Tensor:
        """Return what a column adds to the log-density of each component, of shape (K, N)."""
        log_scale = self.precision_factors[:, j, j].log().unsqueeze(1)
        return log_scale - 0.5 * (standard.square() + _LOG_2PI)


def _normal_score(joint: Tensor, standard: Tensor) -> Tensor:
    r"""Return :math:`\Phi^{-1}(\sum_k r_k \Phi(e_k))`, of shape (N,).

    The tail that is the smaller one is computed, so that neither loses digits.

    Parameters
    ----------
    joint : Tensor of shape (K, N)
        The logarithms of the shares r, up to a constant for each row.
    standard : Tensor of shape (K, N)
        The arguments e.
    """
    if standard.requires_grad:
        return _normal_score_of_logarithms(joint, standard)
    shares = joint.softmax(0)
    tail = 0.5 * (shares * torch.erfc(-_ROOT_HALF * standard)).sum(0)
    above = tail > 0.5
    sign = 1 - 2 * above.to(standard.dtype)
    tail[above] = 0.5 * (shares[:, above] * torch.erfc(_ROOT_HALF * standard[:, above])).sum(0)
    score = sign * torch.special.ndtri(tail)
    lost = ~(tail >= _LEAST_TAIL)
    if bool(lost.any()):
        score[lost] = _normal_score_of_logarithms(joint[:, lost], standard[:, lost])
    return score


def _normal_score_of_logarithms(joint: Tensor, standard: Tensor) -> Tensor:
    """Return the same, for tails however small, with derivatives."""
    shares = joint.log_softmax(0)
    low = (shares + torch.special.log_ndtr(standard)).logsumexp(0)
    high = (shares + torch.special.log_ndtr(-standard)).logsumexp(0)
    below = low < high
    score = _quantile(torch.where(below, low, high))
    return torch.where(below, score, -score)


def _quantile(log_p: Tensor) -> Tensor:
    """Return the standard normal quantile of exp(log_p), of at most one half."""
    near = torch.special.ndtri(log_p.clamp(_LEAST_LOG, math.log(0.5)).exp())
    if bool((log_p >= _LEAST_LOG).all()):
        return near
    # Far out, p is about the density over the distance.
    distant = log_p.clamp_max(_LEAST_LOG)
    far = -(-2 * distant - _LOG_2PI - torch.log(-2 * distant)).sqrt()
    for _ in range(_QUANTILE_STEPS):
        value = torch.special.log_ndtr(far)
        far = far - (value - distant) / _log_hazard(far).exp()
    return torch.where(log_p >= _LEAST_LOG, near, far)


def _log_hazard(x: Tensor) -> Tensor:
    r"""Return :math:`\log(\varphi(x) / \Phi(x))`, without a difference of large numbers."""
    below = x.clamp_max(0)
    by_tail = 0.5 * math.log(2 / math.pi) - torch.special.erfcx(-_ROOT_HALF * below).log()
    by_density = -0.5 * (x.square() + _LOG_2PI) - torch.special.log_ndtr(x)
    return torch.where(x < 0, by_tail, by_density)


def _solve(joint: Tensor, scale: Tensor, centre: Tensor, u: Tensor) -> Tensor:
    """Find where the normal score of a column is `u`, by Newton's method within a bracket."""
    # Where every component lies below its quantile, so does the mixture.
    quantiles = centre + u / scale
    lower, upper = torch.aminmax(quantiles, dim=0)
    shares, centre = joint.log_softmax(0), centre.expand_as(quantiles)
    x = (shares.exp() * quantiles).sum(0).clamp(lower, upper)
    eps = torch.finfo(x.dtype).eps
    found, rest = torch.empty_like(u), torch.arange(len(u), device=u.device)
    width = before = upper - lower
    for _ in range(_MOST_STEPS):
        standard = scale * (x - centre)
        score = _normal_score(joint, standard)
        log_density = (shares + scale.log() - 0.5 * standard.square()).logsumexp(0)
        residual = score - u
        lower = torch.where(residual < 0, x, lower)
        upper = torch.where(residual > 0, x, upper)
        # No solver can promise more than either of these.
        settled = residual.abs() <= 4 * eps * (1 + u.abs())
        settled |= upper - lower <= 4 * eps * torch.maximum(lower.abs(), upper.abs())
        found[rest] = x
        if bool(settled.all()):
            return found
        step = x - residual * torch.exp(-0.5 * score.square() - log_density)
        inside = (step > lower) & (step < upper)  # False for NaN
        # Newton's method may go to and fro. Then the bracket has not halved in two steps.
        inside &= (upper - lower <= 0.5 * before) | (residual.abs() < _NEAR)
        before, width = width, upper - lower
        x = torch.where(inside, step, 0.5 * (lower + upper))
        left = ~settled
        rest, x, u, lower, upper, before, width, residual = (
            part[left] for part in (rest, x, u, lower, upper, before, width, residual)
        )
        joint, shares, centre = (part[:, left] for part in (joint, shares, centre))
    if not bool(((residual.abs() <= 1e-10 * (1 + u.abs())) | ~u.isfinite()).all()):
        raise InversionError(
            f"The inverse of a mixture's map was not found in {_MOST_STEPS} steps. Check that the "
            "values to invert are finite and not absurdly large."
        )
    return found
