"""The simple density that a flow may start from, and whether it should."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skflow.flow import Bijection, ElementwiseSpline
from skflow.flow.weighted import row_counts
from skflow.training.rows import Rows
from skflow.training.scores import winsorized
from skflow.training.stacking import Start, gaussian, stacked_start

__all__ = ["Simple", "have_shape", "rival_start", "simple_start"]

# The mixtures are fitted to so many rows at most, and compared by so many. Fewer than the fewest
# tell no shape apart from that of a normal distribution.
_FEWEST_ROWS = 20
_MOST_ROWS = 10_000
_COMPARED_ROWS = 3_000

# Where the columns are made normal first, the mixture must be better by so many standard errors.
_STANDARD_ERRORS = 1.0

# A mixture of the rows to compare by may gain about so many nats per column from all rows.
_GAIN_OF_ALL_ROWS = 0.05


class Simple(NamedTuple):
    """A mixture of normal distributions."""

    bijection: Bijection
    """It makes rows standard normal, as far as they follow the mixture, and does not train."""

    is_bent: bool
    """Whether splines that make each column normal stand before the mixture."""


def have_shape(rows: Rows) -> bool:
    """Say whether rows are enough to tell their density from a normal distribution.

    Parameters
    ----------
    rows : Rows
        The rows, which count as often as their weights say.
    """
    weights = rows.take_weights()
    return (len(rows) if weights is None else float(row_counts(weights).sum())) >= _FEWEST_ROWS


@torch.no_grad()
def simple_start(
    rows: Rows,
    validation: Rows,
    generator: torch.Generator,
    *,
    n_bins: int,
    is_bent: bool | None = None,
) -> Simple | None:
    """Fit mixtures of normal distributions to standardised rows.

    They are compared with mixtures behind splines that make each column normal, as a flow's own
    first splines do. Where those are better, what the columns are like matters more than which
    parts the rows have.

    Parameters
    ----------
    rows : Rows
        The rows to learn from, in random order.
    validation : Rows
        The rows that are held out. Without any, some of `rows` are held out where folds are not
        enough.
    generator : torch.Generator
        Where the randomness comes from.
    n_bins : int
        The bins of the splines.
    is_bent : bool or None, default=None
        Whether splines stand before the mixture; by default, what is better.

    Returns
    -------
    simple : Simple or None
        The better one; the Gaussian with a shrunk covariance of too few rows, and None of rows
        of one group that cannot be compared.
    """
    if _effective_number(rows) < _FEWEST_ROWS:
        return Simple(_gaussian(rows), is_bent=False)
    x, held_out, counts, groups = _samples(rows, validation, generator)
    of_one = groups is not None and bool((groups == groups[0]).all())
    if len(held_out) < _FEWEST_ROWS and of_one:
        return None  # neither folds nor held-out rows tell

    def splines(z: Tensor, its_counts: Tensor | None) -> Bijection:
        spline = ElementwiseSpline(z.shape[1], n_bins=n_bins, init="quantiles", dtype=z.dtype)
        spline.to(z.device).initialize(z, generator, its_counts)
        return spline

    def stacked(n: int | None, *, bent: bool) -> Start:
        its_counts, its_groups = (None if one is None else one[:n] for one in (counts, groups))
        before = splines if bent else None
        return stacked_start(x[:n], held_out, generator, its_counts, before, groups=its_groups)

    if is_bent is not None:
        return Simple(stacked(None, bent=is_bent).bijection, is_bent)
    n = _COMPARED_ROWS if len(x) > 2 * _COMPARED_ROWS else None
    # The same folds, and the same randomness in the fits.
    state = generator.get_state()
    plain = stacked(n, bent=False)
    generator.set_state(state)
    bent = stacked(n, bent=True)
    gain = winsorized(bent.log_probs) - winsorized(plain.log_probs)
    if float(gain.mean()) > _STANDARD_ERRORS * float(gain.std()) / math.sqrt(len(gain)):
        return Simple(bent.bijection, is_bent=True)
    return Simple((plain if n is None else stacked(None, bent=False)).bijection, is_bent=False)


@torch.no_grad()
def rival_start(
    rows: Rows, validation: Rows, generator: torch.Generator, least: float
) -> Bijection | None:
    """Fit mixtures of normal distributions to standardised rows, if these come near a score.

    Parameters
    ----------
    rows : Rows
        The rows to learn from, in random order.
    validation : Rows
        The rows that are held out.
    generator : torch.Generator
        Where the randomness comes from.
    least : float
        What their log-densities must come near in the mean, in nats, in the units of the data.

    Returns
    -------
    bijection : Bijection or None
        As for :func:`simple_start`. How good it is remains to be seen.
    """
    if _effective_number(rows) < _FEWEST_ROWS:
        return None
    x, held_out, counts, groups = _samples(rows, validation, generator)
    if len(x) > _COMPARED_ROWS:
        some = slice(_COMPARED_ROWS)
        some_counts = None if counts is None else counts[some]
        quick = stacked_start(x[some], held_out, generator, some_counts, n_fits=1)
        _, log_det = validation.take_with_log_det(torch.arange(len(held_out)))
        score = float(winsorized((quick.log_probs + log_det).cpu()).mean())
        if score + _GAIN_OF_ALL_ROWS * x.shape[1] < least:
            return None
    return stacked_start(x, held_out, generator, counts, groups=groups).bijection


def _gaussian(rows: Rows) -> Bijection:
    """Return what makes rows standard normal, as far as they are normal."""
    x, weights = rows.take(torch.arange(len(rows))).double(), rows.take_weights()
    return gaussian(x, None if weights is None else row_counts(weights).to(x.device))


def _effective_number(rows: Rows) -> float:
    """Return how many rows there are, or of how many equal weights these say as much."""
    weights = rows.take_weights()
    if weights is None:
        return len(rows)
    shares = weights / weights.sum()
    return float(1 / shares.square().sum())


def _samples(
    rows: Rows, validation: Rows, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return rows to fit and to weigh fits by; of the former, their counts and groups."""
    some = torch.arange(min(_MOST_ROWS, len(rows)))
    x, weights = rows.take(some).double().contiguous(), rows.take_weights(some)
    groups = rows.take_groups(some)
    if len(validation):
        some = torch.arange(min(_MOST_ROWS, len(validation)))
        held_out = validation.take(some).double().contiguous()
    else:
        n_held_out = len(x) // 10
        held_out, x = x[:n_held_out], x[n_held_out:]
        weights = None if weights is None else weights[n_held_out:]
        groups = None if groups is None else groups[n_held_out:]
    counts = None if weights is None else row_counts(weights).to(x.device)
    return x, held_out, counts, groups
