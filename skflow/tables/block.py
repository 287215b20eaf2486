"""The continuous columns of a table: one flow of all of them, and what fills their holes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri

from skflow.estimators import RelativeGradientFlow
from skflow.exceptions import ColumnWarning
from skflow.tables.column import FitSettings, Floats, LineColumn
from skflow.tables.margins import Margins
from skflow.tables.mixture import choose_mixture
from skflow.tables.noise import Noise
from skflow.tables.tempering import temper

__all__ = ["N_COMPLETIONS", "Block"]

# A row with holes is completed so often for the fit, each time with a part of its weight.
N_COMPLETIONS = 5

# Proposals are so much wider than the mixture, as weights must not be unbounded.
_WIDTH = 1.2

# With so many rows for each column, the flow is fitted once more to rows completed by the table.
_ROWS_OF_COLUMN = 60

# Of fewer rows, columns are not made normal one by one.
_LEAST_ROWS = 100


class Block:
    """The joint density of continuous columns, some entries of which may be missing.

    The density is that of a :class:`~skflow.RelativeGradientFlow`. Where rows have holes, a
    mixture of normal distributions that is fitted to them, holes and all, completes them for the
    first fit, and proposes what may stand there for every question afterwards.

    Parameters
    ----------
    columns : sequence of LineColumn
        Their kinds.
    settings : FitSettings
        How the flow trains.
    """

    def __init__(self, columns: Sequence[LineColumn], settings: FitSettings) -> None:
        self.columns = columns
        self.settings = settings

    def fit(self, values: Floats, weights: Floats | None) -> Self:
        """Learn from rows.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_columns)
            NaN where an entry is missing.
        weights : ndarray of shape (n_samples,) or None
            How many rows each row counts for.
        """
        kept = ~np.isnan(values).all(1)
        values, weights = values[kept], None if weights is None else weights[kept]
        x, _ = self._to_line(values)
        rows = torch.from_numpy(x)
        standard = Margins.standard(rows)
        scales = [standard] if len(x) < _LEAST_ROWS else [standard, standard.to_normal(rows)]
        generator = torch.Generator().manual_seed(self.settings.random_state)
        counts = None if weights is None else torch.from_numpy(weights)
        which, self._mixture = choose_mixture(
            [scale.forward(rows) for scale in scales], counts, generator
        )
        self._margins = scales[which]
        self._fit_flow(x, weights, self._completed_by_mixture(x[np.isnan(x).any(1)]))
        return self

    def fit_anew(self, values: Floats, drawn: Floats, weights: Floats | None) -> None:
        """Fit the flow once more, with holes that have been filled by the whole table.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_columns)
            The rows of :meth:`fit`.
        drawn : ndarray of shape (n_samples, n_draws, n_columns)
            The same rows, completed several times.
        weights : ndarray of shape (n_samples,) or None
            How many rows each row counts for.

        Notes
        -----
        With few rows for each column, it stays as it is: a flow that knows few rows by heart would
        learn its own draws. It does not if there are rows of which it has seen nothing, as these
        may differ from others by what the rest of the table says.
        """
        holes = np.isnan(values)
        are_enough = len(values) >= _ROWS_OF_COLUMN * values.shape[1]
        if holes.all(1).any() or (holes.any() and are_enough):
            drawn = drawn[holes.any(1)]
            completed = self._to_line(drawn.reshape(-1, values.shape[1]))[0]
            self._fit_flow(self._to_line(values)[0], weights, completed.reshape(drawn.shape))

    def _fit_flow(self, x: Floats, weights: Floats | None, drawn: Floats) -> None:
        """Fit the flow to rows on the line, of which those with holes have been completed."""
        holes = np.isnan(x).any(1)
        groups = None
        if holes.any():
            # A few wild draws would decide the flow's scales.
            drawn = np.clip(drawn, np.nanmin(x, 0), np.nanmax(x, 0))
            n_draws = drawn.shape[1]
            own = np.ones(len(x)) if weights is None else weights
            parts = np.repeat(own[holes] / n_draws, n_draws)
            x = np.concatenate([x[~holes], drawn.reshape(-1, x.shape[1])])
            weights = np.concatenate([own[~holes], parts])
            rows = np.arange(len(own))
            groups = np.concatenate([rows[~holes], np.repeat(rows[holes], n_draws)])
        flow = RelativeGradientFlow(**self.settings._asdict())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ColumnWarning)
            self.flow = flow.fit(x, sample_weight=weights, groups=groups)

    def log_prob(self, values: Floats) -> Floats:
        """Return the log-density of rows without holes.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_columns)
            None of them is missing.
        """
        x, log_slope = self._to_line(values)
        inside = np.isfinite(log_slope)
        log_prob: Floats = np.full(len(x), -np.inf)
        if inside.any():
            log_prob[inside] = self.flow.score_samples(x[inside]) + log_slope[inside]
        return log_prob

    def sample(self, u: Floats) -> Floats:
        """Return rows, as uniform numbers say.

        Parameters
        ----------
        u : ndarray of shape (n_rows, n_samples, n_columns)
            Between 0 and 1, both excluded.

        Returns
        -------
        rows : ndarray of shape (n_rows, n_samples, n_columns)
            In the supports of the columns.
        """
        x = self.flow.inverse_transform(ndtri(u).reshape(-1, u.shape[2]))
        return self._from_line(np.asarray(x, np.float64)).reshape(u.shape)

    def complete(self, values: Floats, u: Floats, noise: Noise) -> tuple[Floats, Floats, Floats]:
        """Fill holes, so that weighted rows have the distribution given what is observed.

        Parameters
        ----------
        values : ndarray of shape (n_rows, n_columns)
            Rows of which some entries are observed, and some are missing.
        u : ndarray of shape (n_rows, n_samples, 1 + n_columns)
            Uniform between 0 and 1, both excluded.
        noise : Noise
            Where further randomness comes from.

        Returns
        -------
        rows : ndarray of shape (n_rows, n_samples, n_columns)
            The completed rows.
        log_weights : ndarray of shape (n_rows, n_samples)
            Of which the mean, not of the logarithms, is the density of what is observed.
        variances : ndarray of shape (n_rows,)
            Of the logarithm of this mean, beyond what the weights tell.
        """
        x, log_slope = self._to_line(values)  # of what is observed, which is the same for all
        completed, log_weights, variances = self._particles(x, u, noise)
        back = self._from_line(completed.reshape(-1, x.shape[1])).reshape(completed.shape)
        rows = np.where(np.isnan(values)[:, None], back, values[:, None])
        return rows, log_weights + log_slope[:, None], variances

    def _particles(self, x: Floats, u: Floats, noise: Noise) -> tuple[Floats, Floats, Floats]:
        """Complete rows on the line, with weights of the flow."""
        rows = torch.from_numpy(x)
        z, _ = self._margins.forward(rows)
        mixture = self._mixture.widened(_WIDTH)
        particles = mixture.complete(z, torch.from_numpy(u.copy())).numpy()
        log_observed = mixture.log_probs(z).logsumexp(1).numpy()

        def evaluate(which: NDArray[np.intp], z: Floats) -> tuple[Floats, Floats]:
            shape, part = z.shape[:2], torch.from_numpy(z)
            completed, log_slopes = self._margins.inverse(part, rows[which])
            log_base = mixture.log_prob(part.flatten(0, 1)).reshape(shape).numpy()
            log_prob = self.flow.score_samples(completed.flatten(0, 1).numpy()).reshape(shape)
            return log_base - log_observed[which, None], log_prob - log_slopes.numpy()

        is_possible = np.isfinite(log_observed)
        log_observed[~is_possible] = 0.0
        particles, log_weights, variances = temper(particles, evaluate, np.isnan(x), noise)
        log_weights[~is_possible] = -np.inf
        completed, _ = self._margins.inverse(torch.from_numpy(particles), rows)
        return completed.numpy(), log_weights, variances

    def _completed_by_mixture(self, x: Floats) -> Floats:
        """Complete rows on the line several times."""
        noise = Noise(np.random.RandomState(self.settings.random_state))
        u = noise.uniform(len(x), N_COMPLETIONS, 1 + x.shape[1])
        rows = torch.from_numpy(x)
        z = self._mixture.complete(self._margins.forward(rows)[0], torch.from_numpy(u.copy()))
        return self._margins.inverse(z, rows)[0].numpy()

    def _to_line(self, values: Floats) -> tuple[Floats, Floats]:
        """Return values on the line, and by row the sum of the log-slopes of what is there."""
        pairs = [column.to_line(values[:, j]) for j, column in enumerate(self.columns)]
        log_slopes = np.stack([slopes for _, slopes in pairs], 1)
        return np.stack([x for x, _ in pairs], 1), np.where(np.isnan(values), 0, log_slopes).sum(1)

    def _from_line(self, x: Floats) -> Floats:
        return np.stack([c.from_line(x[:, j]) for j, c in enumerate(self.columns)], 1)
