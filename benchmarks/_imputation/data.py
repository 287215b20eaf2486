"""Tables with holes whose entries are known: a fifth of the entries, at random.

Numeric tables are those of `load_table`, without their atoms, and of at most 2,000 rows. Mixed
ones are as `mixed.py` has them. A fifth of the rows has no holes: likelihood is measured there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from _data import load_table
from _tables.data import Table, load, split

__all__ = ["MIXED", "NUMERIC", "Case", "load_case"]

MOST_ROWS = 2000
SHARE = 0.2  # of the entries

# The narrow ones first.
NUMERIC = (
    *("wilt", "annthyroid", "vowels", "pageblocks", "cover", "magic_gamma", "pendigits"),
    *("waveform", "ionosphere", "landsat", "spambase", "optdigits", "musk"),
)
MIXED = ("penguins", "saheart")


@dataclass(frozen=True)
class Case:
    """Rows to fit, with holes and without, and rows to score."""

    table: Table
    full: pd.DataFrame
    holes: np.ndarray
    """Where entries of `full` are taken away, of shape (n_rows, n_columns)."""

    test: pd.DataFrame
    seed: int

    @property
    def holed(self):
        """The rows with their holes."""
        return self.full.mask(pd.DataFrame(self.holes, columns=self.full.columns))

    @property
    def complete(self):
        """The rows that have no holes."""
        return self.full[~self.holes.any(1)].reset_index(drop=True)


def load_case(data_dir, name, seed):
    """Return a table with holes.

    Parameters
    ----------
    data_dir : path
        Of the numeric tables.
    name : str
        One of `NUMERIC` or `MIXED`.
    seed : int
        Of the rows, their noise and the holes.

    Returns
    -------
    case : Case
    """
    if name in MIXED:
        table = load(name)
        train, test = split(table, seed)
    else:
        rows = np.concatenate(load_table(data_dir, name, seed))[:MOST_ROWS].astype(float)
        frame = pd.DataFrame(rows).rename(columns="column {}".format)
        table = Table(frame, dict.fromkeys(frame, "continuous"), {})
        n_train = len(frame) * 4 // 5
        train, test = frame[:n_train], frame[n_train:].reset_index(drop=True)
    rng = np.random.default_rng((seed, 2))
    holes = rng.uniform(size=train.shape) < SHARE
    holes[:, 0] &= ~holes.all(1)  # no row is lost as a whole
    return Case(table, train, holes, test, seed)
