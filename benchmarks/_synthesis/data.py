"""Tables to learn from, and real rows to compare with.

Mixed tables are those of `mixed.py`, with its noise in continuous columns, so that nobody gains by
rounding. Numeric ones are those of `imputation.py`, before their holes.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from _imputation.data import load_case as load_numeric
from _tables.data import HOLES, TABLES, Table, load, split
from sklearn.model_selection import train_test_split

__all__ = ["MIXED", "NUMERIC", "WITH_HOLES", "Case", "load_case"]

# mushroom has 8,000 rows and columns of categories alone: its fits take too long.
MIXED = tuple(name for name in TABLES if name != "mushroom")
WITH_HOLES = tuple(HOLES)
NUMERIC = ("wilt", "vowels", "pageblocks")

# Classes that are not the last category.
CLASSES = {"penguins": "species", "penguins, with holes": "species"}


@dataclass(frozen=True)
class Case:
    """Rows to learn from, and others."""

    table: Table
    fitted: pd.DataFrame
    held_out: pd.DataFrame
    """What synthetic rows are compared with."""

    others: pd.DataFrame
    """As many real rows, which are what perfect synthetic ones would be."""

    seed: int
    name: str

    @property
    def label(self):
        """The category that Forest-Flow has a model of its own for each level of, or None."""
        categories = self.table.of_kind("category")
        return CLASSES.get(self.name, categories[-1] if categories else None)


def load_case(data_dir, name, seed):
    """Return three fifths of a table, and two others.

    Parameters
    ----------
    data_dir : path
        Of the numeric tables.
    name : str
        One of `MIXED`, `WITH_HOLES` or `NUMERIC`.
    seed : int
        Of the rows, and of their noise.

    Returns
    -------
    case : Case
    """
    if name in NUMERIC:
        numeric = load_numeric(data_dir, name, seed)
        table, train, held_out = numeric.table, numeric.full, numeric.test
    else:
        table = load(name)
        train, held_out = split(table, seed)
    fitted, others = train_test_split(train, test_size=0.25, random_state=seed)
    parts = (part.reset_index(drop=True) for part in (fitted, held_out, others))
    return Case(table, *parts, seed, name)
