"""SPFlow's LearnSPN, for columns of several kinds.

Continuous columns are standardised and have normal leaves. Whole numbers of more than 30 values
have them, too: a value's mass is that between half a unit below and above. Categories and other
whole numbers have leaves of shares. SPFlow's own leaf of shares cannot be learned, as it is made
anew without its number of levels, and it gives no mass to a level that a cluster lacks: here it
has its number of levels, and one row more for each of them, as SPFlow had before version 1.

Rows of a slice are 100, its default, 30 or 300, by the likelihood of a fifth of the rows, and all
rows are fitted anew. Sizes fail now and then, as a cluster is empty.
"""

from __future__ import annotations

import contextlib
import os

import numpy as np
from sklearn.model_selection import train_test_split

from .task import Fitted, coded

__all__ = ["fit_spflow"]

SLICES = (30, 100, 300)
MOST_SHARES = 30


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
            return {"probs": (found["probs"] * n_rows + 1) / (n_rows + n_levels)}

    return Shares


def rounded(half):
    """Return a normal leaf of whole numbers, which are twice as far apart as `half`."""
    import torch
    from spflow.modules.leaves import Normal

    class Rounded(torch.distributions.Normal):
        def log_prob(self, value):
            low, high = ((value + d - self.loc) / self.scale for d in (-half, half))
            flips = low > 0
            low, high = torch.where(flips, -high, low), torch.where(flips, -low, high)
            below, above = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
            return above + torch.log(-torch.expm1((below - above).clamp(max=0)))

    class RoundedNormal(Normal):
        _torch_distribution_class = Rounded

    return RoundedNormal


class Circuit:
    """LearnSPN of one size.

    Parameters
    ----------
    rows : array of shape (n_samples, n_columns)
    kinds : list of (int, float)
        Of each column the number of levels, which is zero for one that has a normal leaf, and half
        of what lies between its values, which is zero for a density.
    n_rows_of_slice : int
    seed : int
    """

    def __init__(self, rows, kinds, n_rows_of_slice, seed):
        import torch
        from spflow.learn import learn_spn
        from spflow.meta.data.scope import Scope
        from spflow.modules.leaves import Normal

        lines = [j for j, kind in enumerate(kinds) if kind == (0, 0)]
        leaves = [
            (sized(n_levels) if n_levels else rounded(half))(Scope([j]))
            for j, (n_levels, half) in enumerate(kinds)
            if j not in lines
        ]
        leaves += [Normal(Scope(lines))] if lines else []
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002, its clusters take it from there
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            self.model = learn_spn(
                torch.from_numpy(rows).float(), leaves, min_instances_slice=n_rows_of_slice
            ).double()

    def score_samples(self, rows):
        import torch

        with torch.no_grad():
            return self.model.log_likelihood(torch.from_numpy(rows)).flatten().numpy()


def fit_spflow(task):
    table = task.table
    everything = coded(table, table.frame)
    places = {
        j: np.unique(everything[:, j])
        for j, kind in enumerate(table.kinds.values())
        if kind != "continuous" and len(np.unique(everything[:, j])) <= MOST_SHARES
    }
    train = coded(table, task.train)
    lines = np.array([j not in places for j in range(train.shape[1])])
    centre, scale = np.where(lines, train.mean(0), 0), np.where(lines, train.std(0), 1)
    is_density = np.array([kind == "continuous" for kind in table.kinds.values()])
    halves = np.where(lines & ~is_density, 0.5 / scale, 0)
    kinds = [(len(places.get(j, ())), halves[j]) for j in range(len(halves))]

    def prepared(frame):
        X = coded(table, frame)
        for j, levels in places.items():
            X[:, j] = np.searchsorted(levels, X[:, j])
        return (X - centre) / scale

    model, detail = best_circuit(prepared(task.train), kinds, task.seed)
    shift = np.log(scale[is_density]).sum()
    return Fitted(lambda frame: model.score_samples(prepared(frame)) - shift, detail)


def best_circuit(rows, kinds, seed):
    """Return the circuit of the best size that has a fit, and a word on it."""
    fitted, held_out = train_test_split(rows, test_size=0.2, random_state=seed)
    nats = {}
    for size in SLICES:
        with contextlib.suppress(RuntimeError):
            model = Circuit(fitted, kinds, size, seed)
            nats[size] = model.score_samples(held_out).mean()
    for size in sorted(nats, key=nats.get, reverse=True):
        with contextlib.suppress(RuntimeError):
            return Circuit(rows, kinds, size, seed), f"slices of {size} rows"
    raise ValueError("no size of slices has a fit without empty clusters")
