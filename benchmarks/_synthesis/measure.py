"""How much synthetic rows are like real ones that were held out, and whether they are copies."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.ensemble import RandomForestClassifier

from skflow.metrics import drift, nearest_row_test

__all__ = ["MEASURES", "MOST_ROWS", "outside", "quality", "wasserstein"]

MOST_ROWS = 1000

MEASURES = (
    *("wasserstein", "area", "outside"),
    *("nearest_fitted", "nearest_expected", "nearest_pvalue", "copies", "held_out_copies"),
)


def quality(case, drawn):
    """Return `MEASURES` of synthetic tables.

    Parameters
    ----------
    case : Case
    drawn : list of DataFrame
        Synthetic tables of one fit, each with as many rows as are held out, or `MOST_ROWS`.

    Returns
    -------
    measures : dict
        - wasserstein: between held-out rows and synthetic ones, the mean over the tables.
        - area: under the ROC curve of forests that tell these apart, likewise.
        - outside: the share of rows outside the supports of columns.
        - nearest_fitted, nearest_expected, nearest_pvalue: of the nearest-row test, all tables
          together.
        - copies, held_out_copies: shares of rows that equal one that was fitted.
    """
    held_out = case.held_out[:MOST_ROWS]
    everything = pd.concat(drawn, ignore_index=True)
    nearest = nearest_row_test(everything, case.fitted, case.held_out, random_state=case.seed)
    return {
        "wasserstein": np.mean([wasserstein(case, held_out, each) for each in drawn]),
        "area": np.mean([area(held_out, each, case.seed) for each in drawn]),
        "outside": outside(case, everything).mean(),
        "nearest_fitted": nearest.statistic,
        "nearest_expected": nearest.expected,
        "nearest_pvalue": nearest.pvalue,
        "copies": nearest.n_copies / len(everything),
        "held_out_copies": nearest.n_held_out_copies / len(case.held_out),
    }


def area(X, Y, seed):
    """Return how well a forest tells two tables apart, on rows that it has not seen.

    Boosted trees with leaves of 20 rows would see nothing in tables of 30.

    Parameters
    ----------
    X, Y : DataFrame
    seed : int

    Returns
    -------
    area : float
        Under the ROC curve.
    """
    forest = RandomForestClassifier(100, min_samples_leaf=2, random_state=seed)
    return drift(X, Y, classifier=forest, random_state=seed).statistic


def wasserstein(case, X, Y):
    """Return the Wasserstein distance between two tables, of as many rows as the smaller one has.

    It is that of Forest-Flow's paper: the cost is the sum over columns of differences of numbers
    in shares of the fitted range, and of 0 or 1 for equal or other categories (levels as columns
    of 0 and 1/2). An entry that is missing is at 1 from those that are not.

    Parameters
    ----------
    case : Case
    X, Y : DataFrame

    Returns
    -------
    distance : float
    """
    n_rows = min(len(X), len(Y))
    cost = np.zeros((n_rows, n_rows))
    for name, kind in case.table.kinds.items():
        x, y = X[name].to_numpy()[:n_rows, None], Y[name].to_numpy()[None, :n_rows]
        gone = pd.isna(x) | pd.isna(y)
        if kind == "category":
            apart = (x != y).astype(float)
        else:
            unit = np.ptp(case.fitted[name].dropna()) or 1.0
            apart = abs(x.astype(float) - y.astype(float)) / unit
        cost += np.where(gone, pd.isna(x) != pd.isna(y), apart)
    return cost[linear_sum_assignment(cost)].mean()


def outside(case, rows):
    """Say which rows are outside the support of a column.

    They have a level that no fitted row has, a part of a whole number, a negative one where none
    was, an infinite number, or a hole in a column without holes.

    Parameters
    ----------
    case : Case
    rows : DataFrame

    Returns
    -------
    is_outside : array of bool of shape (n_rows,)
    """
    is_outside = np.zeros(len(rows), bool)
    for name, kind in case.table.kinds.items():
        fitted, values = case.fitted[name], rows[name]
        gone = values.isna().to_numpy()
        if not fitted.isna().any():
            is_outside |= gone
        if kind == "category":
            is_outside |= ~gone & ~values.isin(fitted.unique()).to_numpy()
            continue
        numbers = values.to_numpy(float)[~gone]
        wrong = ~np.isfinite(numbers)
        if kind == "whole":
            wrong |= (numbers % 1 != 0) | ((numbers < 0) & (fitted.min() >= 0))
        is_outside[~gone] |= wrong
    return is_outside
