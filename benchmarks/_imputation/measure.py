"""How far filled entries are from the true ones, and what the draws of them say."""

import numpy as np
from scipy.stats import wasserstein_distance

__all__ = ["MEASURES", "quality"]

MEASURES = ("mae", "mae_of_range", "error_share", "wasserstein", "coverage")


def quality(kinds, truth, holes, filled, draws):
    """Return `MEASURES` of the entries that were taken away.

    Parameters
    ----------
    kinds : list of str
        Of the columns.
    truth : array of shape (n_rows, n_columns)
    holes : array of bool of the same shape
    filled : array of the same shape
    draws : array of shape (n_draws, n_rows, n_columns) or None
        None is that the filled rows are the only draw.

    Returns
    -------
    measures : dict
        - mae: mean absolute error of numbers in standard deviations of their column, the mean over
          columns; mae_of_range: in shares of its range.
        - error_share: how many categories are wrong, the mean over columns.
        - wasserstein: between draws and truth, in standard deviations, the mean over columns of
          numbers.
        - coverage: how many true numbers lie between the least and the greatest of the draws,
          over all entries.
    """
    lists = {name: [] for name in MEASURES}
    everything = filled[None] if draws is None else draws
    for j, kind in enumerate(kinds):
        rows = holes[:, j]
        if not rows.any():
            continue
        true, found, drawn = truth[rows, j], filled[rows, j], everything[:, rows, j]
        if kind == "category":
            lists["error_share"].append(np.mean(true != found))
            continue
        scale, error = truth[:, j].std(), np.abs(true - found).mean()
        lists["mae"].append(error / scale)
        lists["mae_of_range"].append(error / np.ptp(truth[:, j]))
        lists["wasserstein"].append(wasserstein_distance(drawn.ravel(), true) / scale)
        if draws is not None:
            lists["coverage"].extend((drawn.min(0) <= true) & (true <= drawn.max(0)))
    return {name: np.mean(found) if found else "" for name, found in lists.items()}
