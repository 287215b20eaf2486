"""Who takes part: our estimator, peers, and columns that know nothing of each other.

- TableFlow: its defaults. Which columns are categories it finds by itself; that the measure it
  finds is that of the benchmark is checked.
- SPFlow: LearnSPN with a normal leaf for continuous columns, which are standardised, and for
  whole numbers of more than 30 values, which are given a density for each unit; categories and
  other whole numbers have a leaf of shares. Its own leaf of shares cannot be
  learned (it is made anew without its number of levels), and gives no mass to a level that a
  cluster lacks: it has its number of levels here, and one row more for each of them, as SPFlow
  had before version 1. Rows of a slice are 100, its default, 30 or 300, by the likelihood of a
  fifth of the rows, and all rows are fitted anew. Sizes fail now and then, as a cluster is empty.
- vine: pyvinecopulib's distribution with its kernel margins, discrete ones for categories (as
  their places) and whole numbers, within the range of the whole table. Pair copulas are those of
  one parameter and the one without parameters. "vine, all families" has its defaults, on tables of
  up to eight columns: with 21, a fit takes ten minutes.
- independent: each column by itself. Categories have the shares of their rows, and half a row
  more for each. Numbers have a normal kernel by Silverman's rule, integrated over a unit for whole
  ones, and these have the shares of their rows as well, mixed with the kernel as five folds say.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial

import numpy as np
from _likelihood.task import Unattainable
from scipy.stats import gaussian_kde, norm
from sklearn.model_selection import KFold, train_test_split

from .task import Contender, Fitted, coded

__all__ = ["CONTENDERS", "LEADER"]

LEADER = "TableFlow"
SLICES = (30, 100, 300)
MOST_SHARES = 30
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


class Circuit:
    """LearnSPN of one size.

    Parameters
    ----------
    rows : array of shape (n_samples, n_columns)
        As `prepared` returns them.
    sizes : list of int
        The levels of each column, zero for one that has a normal leaf.
    n_rows_of_slice : int
    seed : int
    """

    def __init__(self, rows, sizes, n_rows_of_slice, seed):
        import torch
        from spflow.learn import learn_spn
        from spflow.meta.data.scope import Scope
        from spflow.modules.leaves import Normal

        lines = [j for j, size in enumerate(sizes) if not size]
        leaves = [sized(size)(Scope([j])) for j, size in enumerate(sizes) if size]
        leaves += [Normal(Scope(lines))] if lines else []
        torch.manual_seed(seed)
        np.random.seed(seed)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            self.model = learn_spn(
                torch.from_numpy(rows).float(), leaves, min_instances_slice=n_rows_of_slice
            ).double()

    def score_samples(self, rows):
        import torch

        with torch.no_grad():
            return self.model.log_likelihood(torch.from_numpy(rows)).flatten().numpy()


def sized(n_levels):
    """Return a leaf of shares that knows its number of levels, and has mass for each."""
    import torch
    from spflow.modules.leaves import Categorical

    class Shares(Categorical):
        def __init__(self, scope, out_channels=1, **options):
            super().__init__(scope, out_channels, **(options | {"K": n_levels}))

        def _compute_parameter_estimates(self, data, weights, bias_correction):
            found = super()._compute_parameter_estimates(data, weights, bias_correction)
            n_rows = torch.as_tensor(weights).sum(0)[..., None]
            probs = (found["probs"] * n_rows + 1) / (n_rows + n_levels)
            return {"probs": probs}

    return Shares


def fit_spflow(task):
    table = task.table
    everything = coded(table, table.frame)
    places = {
        j: np.unique(everything[:, j])
        for j, kind in enumerate(table.kinds.values())
        if kind != "continuous" and len(np.unique(everything[:, j])) <= MOST_SHARES
    }
    sizes = [len(places.get(j, ())) for j in range(everything.shape[1])]
    train = coded(table, task.train)
    lines = np.array(sizes) == 0
    centre, scale = np.where(lines, train.mean(0), 0), np.where(lines, train.std(0), 1)

    def prepared(frame):
        X = coded(table, frame)
        for j, levels in places.items():
            X[:, j] = np.searchsorted(levels, X[:, j])
        return (X - centre) / scale

    fitted, held_out = train_test_split(
        prepared(task.train), test_size=0.2, random_state=task.seed
    )
    nats, rows = {}, prepared(task.train)
    for size in SLICES:
        with contextlib.suppress(RuntimeError):  # of clusters without rows
            model = Circuit(fitted, sizes, size, task.seed)
            nats[size] = model.score_samples(held_out).mean()
    for size in sorted(nats, key=nats.get, reverse=True):
        with contextlib.suppress(RuntimeError):
            model = Circuit(rows, sizes, size, task.seed)
            return Fitted(
                lambda frame: model.score_samples(prepared(frame)) - np.log(scale).sum(),
                f"slices of {size} rows",
            )
    raise ValueError("no size of slices has a fit without empty clusters")


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
        cdf = norm.cdf((edges[..., None] - self.values) / self.width).mean(-1)
        return np.log(mix * shares + (1 - mix) * (cdf[:, 1] - cdf[:, 0]))

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
