"""Forest-Flow and UnmaskingTrees, which take numbers, and are cut to some minutes.

Both learn from copies of each row, with other noise or other gaps: 100 and 50 by default.
Forest-Flow has as many copies as make 20,000 rows for each level of its label, 100 at most. It has
50 steps of 100 trees for each output and level by default, and time for that on iris alone. On
others it has fewer steps, each with twice as many trees as there are steps. Where these would be
fewer than ten, or the label has more than five levels, it is left out. UnmaskingTrees has as
many copies as make 12 million entries times columns, and two at least.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from _likelihood.task import Unattainable

__all__ = ["Codes", "fit_forest_flow", "fit_unmasking_trees"]

MOST_COPIES, MOST_STEPS, MOST_TREES = 100, 50, 100
MOST_FLOW_ROWS, MOST_FLOW_WORK = 20_000, 3e5
FEWEST_STEPS, MOST_LEVELS = 10, 5
MOST_UNMASKING_COPIES, MOST_UNMASKING_WORK = 50, 12e6


class Codes:
    """Categories of the fitted rows as their places, and back.

    Parameters
    ----------
    case : Case
    """

    def __init__(self, case):
        self.kinds = case.table.kinds
        self.dtypes = case.fitted.dtypes
        self.levels = {
            name: sorted(case.fitted[name].unique()) for name in case.table.of_kind("category")
        }

    def encode(self, frame):
        """Return a frame as numbers, of shape (n_rows, n_columns)."""
        columns = [
            pd.Categorical(frame[name], categories=self.levels[name]).codes
            if name in self.levels
            else frame[name]
            for name in self.kinds
        ]
        return np.stack([np.asarray(column, float) for column in columns], 1)

    def decode(self, X):
        """Return numbers as a frame, whole ones and places rounded."""
        columns = {}
        for j, (name, kind) in enumerate(self.kinds.items()):
            if kind == "category":
                places = X[:, j].round().astype(int).clip(0, len(self.levels[name]) - 1)
                columns[name] = np.array(self.levels[name], dtype=object)[places]
            else:
                columns[name] = X[:, j].round() if kind == "whole" else X[:, j]
        return pd.DataFrame(columns)


def fit_forest_flow(case):
    """Fit Forest-Flow with a model for each level of the label, if there is one.

    Parameters
    ----------
    case : Case

    Returns
    -------
    sample : callable
        Takes a number of rows and a seed.
    detail : str
    """
    from ForestDiffusion import ForestDiffusionModel

    class Model(ForestDiffusionModel):
        def clean_onehot_data(self, X):  # whose result pandas 3 does not let it round
            return np.array(super().clean_onehot_data(X))

    codes = Codes(case)
    X, names = codes.encode(case.fitted), list(case.table.kinds)
    n_levels = np.array([len(codes.levels.get(name, ())) for name in names])
    label = None if case.label is None else names.index(case.label)
    # It takes column 1 for a part of column 11: those of several levels are the first ten.
    order = sorted((j for j in range(len(names)) if j != label), key=lambda j: n_levels[j] < 3)
    if (n_levels[order] > 2).sum() > 10:
        raise Unattainable("more than ten columns of several levels")
    n_models = 1 if label is None else n_levels[label]
    n_outputs = sum(max(n_levels[j] - 1, 1) for j in order)
    n_steps, n_trees = affordable(n_models, n_outputs)
    n_copies = int(np.clip(MOST_FLOW_ROWS * n_models / len(X), 1, MOST_COPIES))
    model = Model(
        X[:, order],
        label_y=None if label is None else X[:, label],
        n_t=n_steps,
        n_estimators=n_trees,
        duplicate_K=n_copies,
        bin_indexes=[k for k, j in enumerate(order) if n_levels[j] == 2],
        cat_indexes=[k for k, j in enumerate(order) if n_levels[j] > 2],
        int_indexes=[k for k, j in enumerate(order) if case.table.kinds[names[j]] == "whole"],
        diffusion_type="flow",
        n_jobs=1,
        seed=case.seed,
        nthread=1,
    )

    def sample(n_rows, seed):
        np.random.seed(seed)  # noqa: NPY002, it draws from there
        made = np.empty((n_rows, len(names)))
        made[:, order if label is None else [*order, label]] = model.generate(batch_size=n_rows)
        return codes.decode(made)

    return sample, f"{n_copies} copies of each row, {n_steps} steps of {n_trees} trees"


def affordable(n_models, n_outputs):
    """Return how many steps Forest-Flow has time for, and trees in each."""
    product = MOST_FLOW_WORK / (n_models * n_outputs**2)
    n_steps = int(np.sqrt(product / 2))
    if n_steps < FEWEST_STEPS or n_models > MOST_LEVELS:
        raise Unattainable(f"{n_models} models of {n_outputs} outputs take too long")
    return min(n_steps, MOST_STEPS), min(2 * n_steps, MOST_TREES)


def fit_unmasking_trees(case):
    """Fit UnmaskingTrees; see :func:`fit_forest_flow`."""
    from sklearn.utils.validation import validate_data
    from utrees import KDIQuantizer, UnmaskingTrees

    KDIQuantizer._validate_data = validate_data  # which scikit-learn has as a function by now
    codes = Codes(case)
    X = codes.encode(case.fitted)
    n_copies = int(
        np.clip(MOST_UNMASKING_WORK / (X.shape[1] ** 3 * len(X)), 2, MOST_UNMASKING_COPIES)
    )
    words = {"category": "categorical", "whole": "integer", "continuous": "continuous"}
    model = UnmaskingTrees(
        duplicate_K=n_copies, xgboost_kwargs={"nthread": 1}, random_state=case.seed
    ).fit(X, quantize_cols=[words[kind] for kind in case.table.kinds.values()])

    def sample(n_rows, seed):
        model.random_state_ = np.random.RandomState(seed)
        return codes.decode(model.generate(n_rows))

    return sample, f"{n_copies} copies of each row"
