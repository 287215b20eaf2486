"""Who takes part: each learns from rows, and then draws others.

- TableFlow: its defaults.
- Forest-Flow and UnmaskingTrees: as `_synthesis/trees.py` says.
- CTGAN, TVAE: their defaults, which have 300 epochs. Categories are named to them.
- Gaussian copula: that of SDV with its defaults. Categories are named to it.
- vine: that of `mixed.py`.
- SPFlow: that of `mixed.py`; whole numbers are rounded.

Two are references, which nobody competes with: other real rows, and fitted rows drawn again, which
are copies.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from .trees import Codes, fit_forest_flow, fit_unmasking_trees

__all__ = ["LEADER", "PEERS", "REFERENCES"]

LEADER = "TableFlow"


def fit_table_flow(case):
    """Fit, and return how to draw; see :func:`.trees.fit_forest_flow`."""
    from skflow import TableFlow

    model = TableFlow(random_state=case.seed).fit(case.fitted)
    return model.sample, ""


def fit_ctgan(case, kind):
    """Fit CTGAN or TVAE; see :func:`.trees.fit_forest_flow`."""
    import ctgan
    import torch

    torch.manual_seed(case.seed)
    np.random.seed(case.seed)  # noqa: NPY002, it draws from there
    model = getattr(ctgan, kind)(enable_gpu=False)
    model.set_random_state(case.seed)
    model.fit(case.fitted, case.table.of_kind("category"))

    def sample(n_rows, seed):
        model.set_random_state(seed)
        return model.sample(n_rows)

    return sample, ""


def fit_gaussian_copula(case):
    """Fit SDV's Gaussian copula; see :func:`.trees.fit_forest_flow`."""
    from sdv.metadata import Metadata
    from sdv.single_table import GaussianCopulaSynthesizer

    kinds = case.table.kinds.items()
    columns = {
        name: {"sdtype": "categorical" if kind == "category" else "numerical"}
        for name, kind in kinds
    }
    metadata = Metadata.load_from_dict({"tables": {"rows": {"columns": columns}}})
    model = GaussianCopulaSynthesizer(metadata)
    model.fit({"rows": case.fitted})
    return lambda n_rows, seed: model.sample(n_rows)["rows"], ""


def fit_vine(case):
    """Fit a vine; see :func:`.trees.fit_forest_flow`."""
    import pyvinecopulib as pv

    codes = Codes(case)
    X = codes.encode(case.fitted)
    kinds = case.table.kinds.values()
    model = pv.Vinedist.from_data(
        X,
        pv.FitControlsVinecop(
            family_set=[*pv.families.one_par, pv.BicopFamily.indep, pv.BicopFamily.tll]
        ),
        var_types=["c" if kind == "continuous" else "d" for kind in kinds],
        supports=[
            None if kind == "continuous" else (float(low), float(high))
            for kind, low, high in zip(kinds, X.min(0), X.max(0), strict=True)
        ],
    )
    return lambda n_rows, seed: codes.decode(model.sample(n_rows, seeds=[seed])), ""


def other_rows(case):
    """Return how to draw real rows that were not fitted; see :func:`.trees.fit_forest_flow`."""
    return lambda n_rows, seed: case.others[:n_rows], ""


def fitted_again(case):
    """Return how to draw fitted rows; see :func:`.trees.fit_forest_flow`."""
    return partial(drawn_again, case.fitted), ""


def drawn_again(rows, n_rows, seed):
    return rows.sample(n_rows, replace=True, random_state=seed, ignore_index=True)


REFERENCES = ("real rows", "fitted rows drawn again")
PEERS = {
    LEADER: (fit_table_flow, "skflow"),
    REFERENCES[0]: (other_rows, "skflow"),
    REFERENCES[1]: (fitted_again, "skflow"),
    "Gaussian copula": (fit_gaussian_copula, "sdv"),
    "vine": (fit_vine, "pyvinecopulib"),
    "TVAE": (partial(fit_ctgan, kind="TVAE"), "ctgan"),
    "CTGAN": (partial(fit_ctgan, kind="CTGAN"), "ctgan"),
    "UnmaskingTrees": (fit_unmasking_trees, "utrees"),
    "Forest-Flow": (fit_forest_flow, "ForestDiffusion"),
}
