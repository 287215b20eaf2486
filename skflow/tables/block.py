"""The continuous columns of a table: one flow of all of them, and what fills their holes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from scipy.special import ndtri

from skflow.estimators import RelativeGradientFlow
from skflow.exceptions import ColumnWarning
from skflow.tables.column import FitSettings, Floats, LineColumn
from skflow.tables.mixture import Mixture, fit_mixture
from skflow.training.rows import Rows
from skflow.training.standardization import standardization

__all__ = ["Block"]

# A row with holes is completed so often for the fit, each time with a part of its weight.
_N_COMPLETIONS = 5

# Proposals are so much wider than the mixture, as weights must not be unbounded.
_WIDTH = 1.2

# Rows times samples that are mapped at once.
_MOST_ROWS = 20_000


class Block:
    """The joint density of continuous columns, some entries of which may be missing.

    The density is that of a :class:`~skflow.RelativeGradientFlow`. Where rows have holes, a
    mixture of normal distributions that is fitted to them, holes and all, completes them for the
    fit, and proposes what may stand there for every question afterwards.

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
        # Of each column by itself, whatever is missing in others.
        self._scales = [
            standardization(
                Rows(torch.from_numpy(column[~np.isnan(column)][:, None])), robust=True
            )
            for column in x.T
        ]
        generator = torch.Generator().manual_seed(self.settings.random_state)
        counts = None if weights is None else torch.from_numpy(weights)
        self._mixture: Mixture = fit_mixture(self._standard(x), counts, generator)
        holes = np.isnan(x).any(1)
        groups = None
        if holes.any():
            shape = (int(holes.sum()), _N_COMPLETIONS, 1 + x.shape[1])
            noise = np.random.RandomState(self.settings.random_state)
            drawn, _ = self._proposed(x[holes], noise.uniform(1e-12, 1, shape), width=1.0)
            # A few wild draws would decide the flow's scales.
            drawn = np.clip(drawn, np.nanmin(x, 0), np.nanmax(x, 0))
            own = np.ones(len(x)) if weights is None else weights
            parts = np.repeat(own[holes] / _N_COMPLETIONS, _N_COMPLETIONS)
            x = np.concatenate([x[~holes], drawn.reshape(-1, x.shape[1])])
            weights = np.concatenate([own[~holes], parts])
            rows = np.arange(len(own))
            groups = np.concatenate([rows[~holes], np.repeat(rows[holes], _N_COMPLETIONS)])
        flow = RelativeGradientFlow(**self.settings._asdict())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ColumnWarning)
            self.flow = flow.fit(x, sample_weight=weights, groups=groups)
        return self

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

    def complete(self, values: Floats, u: Floats) -> tuple[Floats, Floats]:
        """Fill holes, so that weighted rows have the distribution given what is observed.

        Parameters
        ----------
        values : ndarray of shape (n_rows, n_columns)
            Rows of which some entries are observed, and some are missing.
        u : ndarray of shape (n_rows, n_samples, 1 + n_columns)
            Uniform between 0 and 1, both excluded.

        Returns
        -------
        rows : ndarray of shape (n_rows, n_samples, n_columns)
            The completed rows.
        log_weights : ndarray of shape (n_rows, n_samples)
            Of which the mean, not of the logarithms, is the density of what is observed.
        """
        x, log_slope = self._to_line(values)  # of what is observed, which is the same for all
        n_samples = u.shape[1]
        rows = np.empty((len(x), n_samples, x.shape[1]))
        log_weights = np.empty((len(x), n_samples))
        length = max(1, _MOST_ROWS // n_samples)
        for i in range(0, len(x), length):
            part = slice(i, i + length)
            drawn, log_proposal = self._proposed(x[part], u[part], width=_WIDTH)
            flat = drawn.reshape(-1, x.shape[1])
            back = self._from_line(flat).reshape(drawn.shape)
            is_missing = np.isnan(x[part])[:, None]
            rows[part] = np.where(is_missing, back, values[part][:, None])
            log_prob = self.flow.score_samples(flat).reshape(log_proposal.shape)
            log_weights[part] = log_prob + log_slope[part][:, None] - log_proposal
        return rows, log_weights

    def _proposed(self, x: Floats, u: Floats, *, width: float) -> tuple[Floats, Floats]:
        """Complete rows by the mixture, and return the log-densities of what was drawn."""
        given = self._mixture.given(self._standard(x))
        z, log_prob = given.sample(torch.from_numpy(np.ascontiguousarray(u)), width)
        drawn = np.repeat(x[:, None], u.shape[1], axis=1)
        for j, scale in enumerate(self._scales):
            rows = np.isnan(x[:, j])
            entries, log_slopes = scale.inverse_and_log_det(z[rows, :, j].reshape(-1, 1))
            drawn[rows, :, j] = entries.reshape(-1, u.shape[1]).numpy()
            log_prob[rows] -= log_slopes.reshape(-1, u.shape[1])
        return drawn, log_prob.numpy()

    def _standard(self, x: Floats) -> torch.Tensor:
        z = torch.from_numpy(x.copy())
        for j, scale in enumerate(self._scales):
            known = ~z[:, j].isnan()
            z[known, j] = scale(z[known, j : j + 1])[:, 0]
        return z

    def _to_line(self, values: Floats) -> tuple[Floats, Floats]:
        """Return values on the line, and by row the sum of the log-slopes of what is there."""
        pairs = [column.to_line(values[:, j]) for j, column in enumerate(self.columns)]
        log_slopes = np.stack([slopes for _, slopes in pairs], 1)
        return np.stack([x for x, _ in pairs], 1), np.where(np.isnan(values), 0, log_slopes).sum(1)

    def _from_line(self, x: Floats) -> Floats:
        return np.stack([c.from_line(x[:, j]) for j, c in enumerate(self.columns)], 1)
