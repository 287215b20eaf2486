"""Who takes part: each fills the holes of the rows that it is fitted to.

- TableFlow: its defaults; the median by `impute`, and draws by `sample_given`.
- mean: of the column; of categories, the most frequent.
- chained Bayesian ridge: scikit-learn's IterativeImputer with its defaults; draws by
  `sample_posterior`, each of a fit with a seed of its own.
- nearest rows: KNNImputer with its defaults, of standardised columns.
- MissForest: IterativeImputer of random forests, with 100 trees, leaves of five rows, the square
  root of the columns at each node, and ten rounds. It has no draws.
- miceforest: five rounds of its defaults, one of as many sets for each draw; the median of these.

To scikit-learn's, a category is a column for each level but the last, and the level of the highest
share is taken. Whole numbers are rounded.

miceforest 6.0.5 fails with LightGBM 4.7, and was measured with 4.6.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from _tables.task import coded
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

__all__ = ["LEADER", "N_DRAWS", "PEERS"]

LEADER = "TableFlow"
N_DRAWS = 20
N_TREES, N_ROUNDS, N_ROUNDS_OF_MICE = 100, 10, 5


def impute_table_flow(case):
    """Return the filled rows, draws of them, and the fitted model.

    Parameters
    ----------
    case : Case

    Returns
    -------
    filled : array of shape (n_rows, n_columns)
        Categories as their places.
    draws : array of shape (n_draws, n_rows, n_columns) or None
    model : TableFlow or None
    """
    from skflow import TableFlow

    model = TableFlow(random_state=case.seed).fit(case.holed)
    filled = coded(case.table, model.impute(case.holed, strategy="median"))
    frame = model.sample_given(case.holed, n_samples=N_DRAWS, random_state=case.seed)
    draws = coded(case.table, frame).reshape(len(filled), N_DRAWS, -1)
    return filled, draws.swapaxes(0, 1), model


class Encoding:
    """Columns as numbers of the same scale, a category as one for each level.

    Parameters
    ----------
    table : Table
    X : array of shape (n_rows, n_columns)
        Categories as their places, NaN where an entry is missing.
    """

    def __init__(self, table, X):
        self.kinds = list(table.kinds.values())
        self.levels = [
            len(table.levels(name)) if kind == "category" else 0
            for name, kind in table.kinds.items()
        ]
        self.centre, self.scale = np.nanmean(X, 0), np.nanstd(X, 0)
        self.scale[self.scale == 0] = 1

    def encode(self, X):
        """Return standardised numbers, and ones and zeros for levels."""
        columns = []
        for j, n_levels in enumerate(self.levels):
            x = X[:, j]
            if n_levels:
                # The last one follows from the others: all of them would fill each other.
                shown = (x[:, None] == np.arange(n_levels - 1)).astype(float)
                columns.append(np.where(np.isnan(x)[:, None], np.nan, shown))
            else:
                columns.append(((x - self.centre[j]) / self.scale[j])[:, None])
        return np.hstack(columns)

    def decode(self, encoded):
        """Return what :meth:`encode` was given."""
        columns, first = [], 0
        for j, n_levels in enumerate(self.levels):
            own = encoded[:, first : first + max(n_levels - 1, 1)]
            first += own.shape[1]
            if n_levels:
                shares = np.column_stack([own, 1 - own.sum(1)])
                columns.append(shares.argmax(1).astype(float))
            else:
                columns.append(own[:, 0] * self.scale[j] + self.centre[j])
        return np.stack(columns, 1)


def impute_by(case, make, draw=None):
    """Fill by an imputer of scikit-learn; see :func:`impute_table_flow`."""
    X = holed_numbers(case)
    encoding = Encoding(case.table, X)
    rows = encoding.encode(X)
    found = [encoding.decode(make(case.seed).fit_transform(rows))]
    if draw is not None:
        seeds = range(1000 * case.seed, 1000 * case.seed + N_DRAWS)
        found += [encoding.decode(draw(seed).fit_transform(rows)) for seed in seeds]
    found = np.stack([kept_and_rounded(case, X, each) for each in found])
    return found[0], found[1:] if draw is not None else None, None


def impute_miceforest(case):
    """Fill by chained boosted trees; see :func:`impute_table_flow`."""
    import miceforest

    X = holed_numbers(case)
    frame = pd.DataFrame(X, columns=list(case.table.kinds))
    for name in case.table.of_kind("category"):
        levels = range(len(case.table.levels(name)))
        frame[name] = pd.Categorical(frame[name], categories=levels)
    kernel = miceforest.ImputationKernel(frame, num_datasets=N_DRAWS, random_state=case.seed)
    kernel.mice(N_ROUNDS_OF_MICE, num_threads=1)
    sets = [kernel.complete_data(dataset=k) for k in range(N_DRAWS)]
    draws = np.stack([each.astype(float).to_numpy() for each in sets])
    filled = np.median(draws, 0)
    for j, kind in enumerate(case.table.kinds.values()):
        if kind == "category":
            counts = (draws[:, :, j, None] == np.arange(draws[:, :, j].max() + 1)).sum(0)
            filled[:, j] = counts.argmax(1)
    return kept_and_rounded(case, X, filled), draws, None


def holed_numbers(case):
    """Return the rows as numbers, with NaN where there are holes."""
    return np.where(case.holes, np.nan, coded(case.table, case.full))


def kept_and_rounded(case, X, filled):
    """Return what is observed as it was, and whole numbers as such."""
    whole = np.array([kind == "whole" for kind in case.table.kinds.values()])
    filled = np.where(whole, filled.round(), filled)
    return np.where(np.isnan(X), filled, X)


def forest(seed):
    trees = RandomForestRegressor(
        N_TREES, min_samples_leaf=5, max_features="sqrt", random_state=seed, n_jobs=1
    )
    return IterativeImputer(trees, max_iter=N_ROUNDS, random_state=seed)


def ridge(seed, sample_posterior=False):
    return IterativeImputer(sample_posterior=sample_posterior, random_state=seed)


PEERS = {
    LEADER: (impute_table_flow, "skflow"),
    "mean": (partial(impute_by, make=lambda seed: SimpleImputer()), "scikit-learn"),
    "chained Bayesian ridge": (
        partial(impute_by, make=ridge, draw=partial(ridge, sample_posterior=True)),
        "scikit-learn",
    ),
    "nearest rows": (partial(impute_by, make=lambda seed: KNNImputer()), "scikit-learn"),
    "MissForest": (partial(impute_by, make=forest), "scikit-learn"),
    "miceforest": (impute_miceforest, "miceforest"),
}
