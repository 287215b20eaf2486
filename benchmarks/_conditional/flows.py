"""Conditional flows: ours, and those of zuko at the settings of `_likelihood/neural.py`.

zuko's are given standardised columns and targets, and the columns as their context. They keep the
weights that are best on a tenth of the rows. Of one target, their maps are increasing: quantiles
are the images of those of the normal distribution.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from _likelihood.neural import ZUKO_MAF, ZUKO_NSF, NeuralFlow
from scipy.special import ndtr, ndtri
from sklearn.model_selection import train_test_split
from zuko.flows import MAF, NSF

from .task import LEVELS, Fitted, Prediction

__all__ = ["ZUKO", "ConditionalZuko", "fit_skflow", "fit_zuko"]

_BLOCK_ROWS = 50


class SkflowPrediction(Prediction):
    """Of our estimator."""

    def __init__(self, model, X):
        self.model, self.X = model, X

    def log_density(self, y):
        return self.model.score_samples(self.X, y)

    def cdf(self, y):
        return self.model.cdf(self.X, y)

    def quantiles(self):
        return self.model.predict_quantiles(self.X, LEVELS)

    def interval(self, percent):
        return tuple(self.model.predict_interval(self.X, percent / 100).T)


def fit_skflow(task, cv=None):
    from skflow import ConditionalFlow

    model = ConditionalFlow(cv=cv, random_state=task.seed).fit(task.X, task.y)
    return Fitted(partial(SkflowPrediction, model))


def build(n_columns, width, *, kind, n_targets):
    hidden = (width, width)
    context = n_columns - n_targets
    return kind(n_targets, context=context, transforms=3, hidden_features=hidden)


def log_prob(network, rows, *, n_targets):
    context, targets = rows[:, :-n_targets], rows[:, -n_targets:]
    return network(context).log_prob(targets)


def conditional(recipe, kind, n_targets):
    """Return a recipe for rows of columns and targets, in this order."""
    return replace(
        recipe,
        build=partial(build, kind=kind, n_targets=n_targets),
        log_prob=partial(log_prob, n_targets=n_targets),
    )


ZUKO = {
    "zuko NSF": partial(conditional, ZUKO_NSF, NSF),
    "zuko MAF": partial(conditional, ZUKO_MAF, MAF),
}


class ConditionalZuko:
    """A conditional flow of zuko of any number of targets; predictions are for one.

    Parameters
    ----------
    recipe : Recipe
        Of :func:`conditional`.
    n_targets : int
    max_time : float
        Seconds of `fit`.
    random_state : int
    """

    def __init__(self, recipe, n_targets, *, max_time, random_state):
        self.flow = NeuralFlow(recipe, max_time=max_time, random_state=random_state)
        self.n_targets = n_targets

    def fit(self, train, validation):
        """Fit rows of columns and targets."""
        self.flow.fit(train, validation)
        # What the flow of the package counts as well.
        self.log_scale_of_columns = np.log(self.flow.scale_[: -self.n_targets]).sum()
        self.best_validation_score_ = self.flow.best_validation_score_ + self.log_scale_of_columns
        return self

    def score_samples(self, rows):
        """Return the log-density of the targets of each row, given its columns."""
        return self.flow.score_samples(rows) + self.log_scale_of_columns

    def given(self, X):
        """Return the prediction for rows of X."""
        return ZukoPrediction(self, X)


class ZukoPrediction(Prediction):
    """Of a flow of one target."""

    def __init__(self, model, X):
        self.model, self.X = model, X
        self.mean, self.scale = model.flow.mean_, model.flow.scale_
        context = (X - self.mean[:-1]) / self.scale[:-1]
        self.context = torch.from_numpy(context.astype(np.float32))

    def log_density(self, y):
        return self.model.score_samples(np.column_stack([self.X, y]))

    @torch.no_grad()
    def cdf(self, y):
        targets = torch.from_numpy(((y - self.mean[-1]) / self.scale[-1]).astype(np.float32))
        blocks = zip(self.context.split(_BLOCK_ROWS), targets.split(_BLOCK_ROWS), strict=True)
        network = self.model.flow.network_
        latents = [network(x).transform(target[:, None]) for x, target in blocks]
        return ndtr(torch.cat(latents)[:, 0].double().numpy())

    @torch.no_grad()
    def quantiles(self):
        latents = torch.from_numpy(ndtri(LEVELS).astype(np.float32))[:, None, None]
        network = self.model.flow.network_
        found = [
            network(x).transform.inv(latents.expand(-1, len(x), 1))[..., 0].T
            for x in self.context.split(_BLOCK_ROWS)
        ]
        return self.mean[-1] + self.scale[-1] * torch.cat(found).double().numpy()


def fit_zuko(task, name):
    rows = np.column_stack([task.X, task.y])
    train, validation = train_test_split(rows, test_size=0.1, random_state=task.seed)
    model = ConditionalZuko(ZUKO[name](1), 1, max_time=task.max_time, random_state=task.seed).fit(
        train, validation
    )
    return Fitted(model.given, f"{model.flow.n_epochs_} epochs")
