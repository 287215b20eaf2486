"""Tables that are hard to fit, each drawn twice: rows to learn from, and rows that judge."""

from __future__ import annotations

import numpy as np

__all__ = ["TABLES", "random_table"]


def _gaussian(rng, n, d):
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d))


def _cauchy(rng, n, d):
    return rng.standard_cauchy(size=(n, d))


def _student(rng, n, d):
    return rng.standard_t(2, size=(n, d)) * np.exp(rng.normal(size=d))


def _collinear(rng, n, d):
    """All columns follow from the first two, but for rounding."""
    return rng.normal(size=(n, 2)) @ rng.normal(size=(2, d))


def _nearly_collinear(rng, n, d):
    return _collinear(rng, n, d) + 1e-7 * rng.normal(size=(n, d))


def _constant(rng, n, d):
    X = _gaussian(rng, n, d)
    X[:, : (d + 1) // 2] = rng.choice([0.0, 1.0, 1e9, -3e-7])
    return X


def _nearly_constant(rng, n, d):
    X = _gaussian(rng, n, d)
    X[:, 0] = 5 + 1e-13 * rng.normal(size=n)
    X[:, -1] = np.where(rng.random(n) < 0.02, rng.normal(size=n), 0)
    return X


def _discrete(rng, n, d):
    return rng.integers(0, 4, size=(n, d)).astype(float)


def _rounded(rng, n, d):
    return np.round(_gaussian(rng, n, d), 1)


def _far_apart(rng, n, d):
    return rng.normal(size=(n, d)) + 1e4 * rng.integers(0, 3, size=(n, 1))


def _scales_apart(rng, n, d):
    """Modes of very different widths, and of very different weights."""
    wide = rng.random((n, 1)) < 0.05
    return rng.normal(size=(n, d)) * np.where(wide, 1e3, 1e-3)


def _duplicates(rng, n, d):
    X = rng.normal(size=(max(2, n // 3), d))
    return X[rng.integers(0, len(X), n)]


def _outlier(rng, n, d):
    X = _gaussian(rng, n, d)
    X[rng.integers(n)] = 1e6
    return X


def _columns_apart(rng, n, d):
    return _gaussian(rng, n, d) * 10.0 ** rng.integers(-9, 10, size=d)


def _offset(rng, n, d):
    return rng.choice([1e6, -1e9, 1e9]) + rng.normal(size=(n, d))


def _lognormal(rng, n, d):
    return np.exp(3 * rng.normal(size=(n, d)))


def _uniform(rng, n, d):
    return rng.random((n, d))


def _thin_curve(rng, n, d):
    t = rng.uniform(0, 6, size=(n, 1))
    return np.sin(t + np.arange(d)) + 1e-4 * rng.normal(size=(n, d))


TABLES = {
    made_by.__name__.strip("_").replace("_", " "): made_by
    for made_by in (
        *(_gaussian, _cauchy, _student, _collinear, _nearly_collinear, _constant),
        *(_nearly_constant, _discrete, _rounded, _far_apart, _scales_apart, _duplicates),
        *(_outlier, _columns_apart, _offset, _lognormal, _uniform, _thin_curve),
    )
}

_SHAPES = [(2, 1), (2, 3), (3, 2), (5, 4), (8, 20), (12, 3), (30, 5), (40, 60), (60, 2)]
_SHAPES += [(120, 8), (250, 1), (300, 3), (500, 12), (600, 2)]


def random_table(rng, n_test):
    """Return the name of a table, rows to learn from, and rows that judge.

    Parameters
    ----------
    rng : numpy.random.Generator
        Chooses the table, its shape and its rows.
    n_test : int
        How many rows judge.
    """
    name = sorted(TABLES)[rng.integers(len(TABLES))]
    n, d = _SHAPES[rng.integers(len(_SHAPES))]
    X = TABLES[name](rng, n + n_test, d)
    rng.shuffle(X)
    return name, X[:n], X[n:]
