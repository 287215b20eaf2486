"""The regression sets and their public splits, with targets as recorded and with noise."""

import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["NOISY", "RECORDED", "SETS", "TARGETS", "Split", "load_split", "recording_width"]

SETS = ("concrete", "energy", "kin8nm", "power", "wine", "yacht")
NOISY, RECORDED = "noisy", "recorded"
TARGETS = (NOISY, RECORDED)


class Split(NamedTuple):
    """Rows to fit and rows to test."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    seed: int


def recording_width(y):
    """Return the smallest gap between distinct values."""
    return np.diff(np.unique(y)).min()


def load_split(data_dir, name, split, targets):
    """Return one split of a set.

    Parameters
    ----------
    data_dir : path
        With the folder `regression`.
    name : str
        One of `SETS`.
    split : int
        Which of its public splits. With the name it determines the seed, of the noise as well.
    targets : {"noisy", "recorded"}
        With uniform noise of the recording's width around each value, or as they are.

    Returns
    -------
    Split
        Without the columns that are constant in the rows to fit.
    """
    with np.load(Path(data_dir) / "regression" / f"{name}.npz") as file:
        X, y, held_out = file["X"].astype(float), file["y"].astype(float), file[f"test_{split}"]
    seed = zlib.crc32(f"{name} {split}".encode()) % 2**31
    if targets == NOISY:
        noise = np.random.default_rng(seed).uniform(-0.5, 0.5, size=len(y))
        y = y + recording_width(y) * noise
    is_test = np.zeros(len(y), bool)
    is_test[held_out] = True
    X = X[:, np.ptp(X[~is_test], axis=0) > 0]
    return Split(X[~is_test], y[~is_test], X[is_test], y[is_test], seed)
