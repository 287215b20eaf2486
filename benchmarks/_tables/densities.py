"""Who takes part: our estimator, peers, and columns that know nothing of each other.

- TableFlow: its defaults. Which columns are categories it finds by itself; that the measure it
  finds is that of the benchmark is checked.
- SPFlow: LearnSPN, as `_tables/circuits.py` says.
- vine: pyvinecopulib's distribution with its kernel margins, discrete ones for categories (as
  their places) and whole numbers, within the range of the whole table. Pair copulas are those of
  one parameter and the one without parameters. "vine, all families" has its defaults, on tables of
  up to eight columns: with 21, a fit takes ten minutes.
- independent: each column by itself. Categories have the shares of their rows, and half a row
  more for each. Numbers have a normal kernel by Silverman's rule. For whole ones, it is integrated
  over a unit, and one row has a Cauchy distribution, so that none is without mass; the shares of
  the rows are mixed with that as five folds say.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from _likelihood.task import Unattainable
from scipy.stats import cauchy, gaussian_kde, norm
from sklearn.model_selection import KFold

from .circuits import fit_spflow
from .task import Contender, Fitted, coded

__all__ = ["CONTENDERS", "LEADER"]

LEADER = "TableFlow"
MOST_COLUMNS_OF_ALL = 8
MIXES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)


def fit_table_flow(task):
    from skflow import TableFlow
    from skflow.tables.column import LineColumn

    model = TableFlow(random_state=task.seed).fit(task.train)
    for name, kind in model.columns_.items():
        is_density = isinstance(kind, LineColumn)
        if is_density != (task.table.kinds[name] == "continuous"):
            raise ValueError(f"{name} is found to be {kind}, which is another measure")
    return Fitted(lambda frame: model.score_samples(frame, return_error=True))


def fit_vine(task, *, all_families=False):
    import pyvinecopulib as pv

    kinds = task.table.kinds.values()
    if all_families and len(kinds) > MOST_COLUMNS_OF_ALL:
        raise Unattainable(f"more than {MOST_COLUMNS_OF_ALL} columns")
    some = {"family_set": [*pv.families.one_par, pv.BicopFamily.indep, pv.BicopFamily.tll]}
    everything = coded(task.table, task.table.frame)
    model = pv.Vinedist.from_data(
        coded(task.table, task.train),
        pv.FitControlsVinecop(**({} if all_families else some)),
        var_types=["c" if kind == "continuous" else "d" for kind in kinds],
        supports=[
            None if kind == "continuous" else (float(low), float(high))
            for kind, low, high in zip(kinds, everything.min(0), everything.max(0), strict=True)
        ],
    )
    return Fitted(lambda frame: model.logpdf(coded(task.table, frame)))


class Whole:
    """Whole numbers by themselves: a kernel, and the shares of what was seen.

    Parameters
    ----------
    values : array of shape (n_samples,)
    mix : float or None, default=None
        What the shares count for; None is as five folds say.
    """

    def __init__(self, values, mix=None):
        self.values = values
        self.levels, counts = np.unique(values, return_counts=True)
        self.shares = counts / counts.sum()
        self.width = max(values.std() * (0.75 * len(values)) ** -0.2, 0.25)
        self.mix = self._best(values) if mix is None else mix

    def log_mass(self, values, mix=None):
        """Return the logarithm of the mass of values."""
        mix = self.mix if mix is None else mix
        at = np.searchsorted(self.levels, values).clip(max=len(self.levels) - 1)
        shares = np.where(self.levels[at] == values, self.shares[at], 0)
        edges = values[:, None] + np.array([-0.5, 0.5])
        cdf = norm.cdf((edges[..., None] - self.values) / self.width).sum(-1)
        cdf += cauchy.cdf((edges - np.median(self.values)) / self.width)
        kernel = (cdf[:, 1] - cdf[:, 0]) / (len(self.values) + 1)
        return np.log(mix * shares + (1 - mix) * kernel)

    def _best(self, values):
        nats = np.zeros(len(MIXES))
        for train, test in KFold(5).split(values):
            model = Whole(values[train], 0.0)
            nats += [model.log_mass(values[test], mix).sum() for mix in MIXES]
        return MIXES[int(nats.argmax())]


def fit_independent(task):
    table = task.table
    parts = []
    for name, kind in table.kinds.items():
        values = task.train[name]
        if kind == "category":
            levels = table.levels(name)
            counts = np.array([(values == level).sum() for level in levels]) + 0.5
            parts.append(dict(zip(levels, np.log(counts / counts.sum()), strict=True)).get)
        elif kind == "whole":
            parts.append(Whole(values.to_numpy(float)).log_mass)
        else:
            parts.append(gaussian_kde(values, "silverman").logpdf)

    def score_samples(frame):
        columns = zip(table.kinds.items(), parts, strict=True)
        return np.sum(
            [
                frame[name].map(part) if kind == "category" else part(frame[name].to_numpy(float))
                for (name, kind), part in columns
            ],
            axis=0,
        )

    return Fitted(score_samples)


CONTENDERS = {
    LEADER: Contender(fit_table_flow, "skflow"),
    "independent": Contender(fit_independent, "scipy"),
    "SPFlow": Contender(fit_spflow, "spflow"),
    "vine": Contender(fit_vine, "pyvinecopulib"),
    "vine, all families": Contender(partial(fit_vine, all_families=True), "pyvinecopulib"),
}
