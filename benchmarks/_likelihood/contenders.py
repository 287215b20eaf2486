"""Who takes part, and how each of them is fitted."""

from dataclasses import replace
from functools import partial

import numpy as np
from _common import StandardizedDensity
from _data import redraw_mnist
from sklearn.mixture import GaussianMixture

from skflow import RelativeGradientFlow, SmoothLeakyReLU, default_bijections

from .classical import (
    GaussianMixtureBIC,
    GaussianMixtureHeldOut,
    SearchedKernelDensity,
    SheatherJones,
    ShrunkGaussian,
    Vine,
)
from .neural import GLOW, RQ_NSF, ZUKO_GF, ZUKO_MAF, ZUKO_NSF, NeuralFlow
from .task import LEADER, NO_LIMIT, Contender, Fitted

__all__ = [
    *("CONTENDERS", "ENSEMBLE", "FEW_ROWS_CONTENDERS", "GAUSSIAN", "MARGIN_CONTENDERS"),
    *("PAPER_LAYERS", "PLANE_CONTENDERS", "PUBLISHED", "REDRAWN", "SHRUNK_GAUSSIAN"),
    "skflow_contender",
]


def all_rows(task):
    return np.concatenate([task.train, task.validation])


def fit_flow(task, **parameters):
    """Fit our estimator, which holds a tenth of the rows out by itself, or of their groups."""
    if task.max_time is not None:
        parameters = {"max_time": task.max_time, **parameters}
    X = all_rows(task)
    groups = None if len(task.validation) else task.groups
    flow = RelativeGradientFlow(random_state=task.seed, **parameters).fit(X, groups=groups)
    n_parameters = sum(p.numel() for p in flow.flow_.parameters())
    nats, n_epochs = flow.best_validation_score_, f"{flow.n_iter_} epochs"
    return Fitted(flow.score_samples, len(X), n_parameters, nats, n_epochs)


def fit_ensemble(task):
    """Fit our mixture of several densities."""
    from skflow import DensityEnsemble

    X = all_rows(task)
    return Fitted(DensityEnsemble(random_state=task.seed).fit(X).score_samples, len(X))


def fit_redrawn(task, n_draws, **parameters):
    """Fit our estimator to the images of MNIST with `n_draws` draws of noise for each."""
    train = redraw_mnist(all_rows(task), n_draws, task.seed)
    return fit_flow(replace(task, train=train, validation=train[:0]), **parameters)


def fit_classical(task, make):
    fitted = StandardizedDensity(make(task)).fit(all_rows(task))
    inner = fitted.estimator
    # The score is of standardised rows.
    nats = getattr(inner, "best_validation_score_", "")
    if nats != "":
        nats -= np.log(fitted.scaler.scale_).sum()
    return Fitted(fitted.score_samples, inner.n_rows_, inner.n_parameters_, nats, inner.detail_)


def fit_neural(task, recipe):
    if callable(recipe):  # it depends on the number of rows
        recipe = recipe(len(task.train))
    if task.n_parameters is not None:
        recipe = recipe.with_parameters(task.train.shape[1], task.n_parameters)
    flow = NeuralFlow(recipe, max_time=task.max_time, random_state=task.seed)
    flow.fit(task.train, task.validation)
    return Fitted(
        flow.score_samples,
        len(task.train) + len(task.validation),
        flow.n_parameters_,
        flow.best_validation_score_,
        f"width {recipe.width}, {flow.n_epochs_} epochs",
        tuple(flow.scores_),
    )


def fit_gaussian(task):
    X = all_rows(task)
    fitted = StandardizedDensity(GaussianMixture(1, reg_covar=1e-6)).fit(X)
    d = X.shape[1]
    return Fitted(fitted.score_samples, len(X), d + d * (d + 1) // 2)


def skflow_contender(*, timed=False, **parameters):
    return Contender(partial(fit_flow, **parameters), "skflow", timed=timed)


def classical(make, package="scikit-learn"):
    return Contender(partial(fit_classical, make=make), package)


def neural(recipe, package, *, sized=True):
    fit = partial(fit_neural, recipe=recipe)
    return Contender(fit, package, timed=True, sized=sized, validates=True)


# Gresele et al. (2020), appendix H.3, but for the schedule of the learning rate. Table 3 has
# 25 layers at least, MNIST has two.
PUBLISHED = {
    "activation": SmoothLeakyReLU(alpha=0.3),
    "optimizer": "adam",
    "learning_rate": 0.001,
    "bijections": partial(default_bijections, init="orthogonal"),
    "batch_size": 100,
    "max_iter": NO_LIMIT,
}

# The paper's network for MNIST with our start and our optimiser.
PAPER_LAYERS = {
    "n_layers": 2,
    "activation": SmoothLeakyReLU(alpha=0.3),
    "base_distribution": "normal",
    "max_iter": NO_LIMIT,
}

# What the noise of dequantisation is is no property of the images: with other noise for the same
# image in each epoch, none of it can be learned by heart, and a third layer pays. No rows are
# held out, whose images would be among the others.
REDRAWN = Contender(
    partial(fit_redrawn, n_draws=16, n_layers=3, early_stopping=False, max_iter=NO_LIMIT),
    "skflow",
    timed=True,
)

GAUSSIAN = Contender(fit_gaussian, "scikit-learn")

# The first is the one that all others are compared with, and whose seconds they are given.
CONTENDERS = {
    LEADER: skflow_contender(),
    "Gaussian": GAUSSIAN,
    "GaussianMixture": classical(lambda task: GaussianMixtureBIC(task.seed)),
    "KernelDensity": classical(lambda task: SearchedKernelDensity(task.seed)),
    "VineDensity": classical(lambda task: Vine(task.seed, task.n_threads), "pyvinecopulib"),
    "zuko MAF": neural(ZUKO_MAF, "zuko"),
    "zuko MAF, wide": neural(replace(ZUKO_MAF, width=512), "zuko", sized=False),
    "zuko NSF": neural(ZUKO_NSF, "zuko"),
    "zuko NSF, wide": neural(replace(ZUKO_NSF, width=512), "zuko", sized=False),
    "zuko GF": neural(ZUKO_GF, "zuko", sized=False),  # its rotations have most parameters
    "nflows Glow": neural(GLOW, "nflows"),
    "nflows RQ-NSF": neural(RQ_NSF, "nflows"),
    "published, 2 layers": skflow_contender(timed=True, n_layers=2, **PUBLISHED),
    "published, 25 layers": skflow_contender(timed=True, n_layers=25, **PUBLISHED),
}

# In the plane a mixture may have many components, and held-out rows choose better than the BIC.
PLANE_CONTENDERS = {
    LEADER: CONTENDERS[LEADER],
    "GaussianMixture": CONTENDERS["GaussianMixture"],
    "GaussianMixture, held-out rows": classical(lambda task: GaussianMixtureHeldOut(task.seed)),
    "KernelDensity": CONTENDERS["KernelDensity"],
    "zuko MAF": CONTENDERS["zuko MAF"],
    "zuko NSF": CONTENDERS["zuko NSF"],
}

# On one column the numbers of components that lie between one and the right one may all be worse
# than one, and a kernel may have to be narrow.
MARGIN_CONTENDERS = {
    LEADER: CONTENDERS[LEADER],
    "Sheather-Jones": classical(lambda task: SheatherJones(), "KDEpy"),
    "Sheather-Jones, KDEpy": classical(lambda task: SheatherJones(corrected=False), "KDEpy"),
    "KernelDensity": classical(lambda task: SearchedKernelDensity(task.seed, narrowest=0.002)),
    "GaussianMixture": classical(lambda task: GaussianMixtureBIC(task.seed, 30, patience=99)),
}

# Full covariances have too many parameters for few rows.
KINDS = ("full", "tied", "diag", "spherical")
ENSEMBLE, SHRUNK_GAUSSIAN = "skflow ensemble", "Gaussian, shrunk"
FEW_ROWS_CONTENDERS = {
    LEADER: CONTENDERS[LEADER],
    ENSEMBLE: Contender(fit_ensemble, "skflow"),
    SHRUNK_GAUSSIAN: classical(lambda task: ShrunkGaussian()),
    "GaussianMixture": classical(lambda task: GaussianMixtureBIC(task.seed, covariances=KINDS)),
    "KernelDensity": CONTENDERS["KernelDensity"],
    "VineDensity": CONTENDERS["VineDensity"],
}
