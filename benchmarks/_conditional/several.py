"""Several targets: tables cut into features and targets, and the joint log-density of these.

The contenders are those of `_likelihood`: rows are the features and then the targets, and the
score of a row is the log-density of its targets given its features.

- skflow: one fit of all targets. skflow, one by one: a fit of each, and the sum of their scores.
- zuko NSF, zuko MAF: the seconds of our joint fit.
- linear Gaussian: least squares, with the full covariance of the residuals.
"""

from functools import partial

import numpy as np
from _likelihood.task import LEADER, Contender, Fitted
from scipy.stats import multivariate_normal
from sklearn.linear_model import LinearRegression

from .flows import ZUKO, ConditionalZuko

__all__ = ["ONE_BY_ONE", "TARGETS_OF", "contenders"]

# The last columns.
TARGETS_OF = {"wilt": 2, "pendigits": 4, "vowels": 5}
ONE_BY_ONE = "skflow, one by one"


def parts(rows, n_targets):
    rows = np.asarray(rows, float)
    return rows[:, :-n_targets], rows[:, -n_targets:]


def all_rows(task, n_targets):
    return parts(np.concatenate([task.train, task.validation]), n_targets)


def fit_skflow(task, n_targets):
    from skflow import ConditionalFlow

    X, y = all_rows(task, n_targets)
    parameters = {} if task.max_time is None else {"max_time": task.max_time}
    model = ConditionalFlow(random_state=task.seed, **parameters).fit(X, y)
    return Fitted(lambda rows: model.score_samples(*parts(rows, n_targets)), len(X))


def fit_one_by_one(task, n_targets):
    from skflow import ConditionalFlow

    X, y = all_rows(task, n_targets)
    models = [ConditionalFlow(random_state=task.seed).fit(X, column) for column in y.T]

    def score_samples(rows):
        X, y = parts(rows, n_targets)
        return sum(m.score_samples(X, column) for m, column in zip(models, y.T, strict=True))

    return Fitted(score_samples, len(X))


def fit_linear(task, n_targets):
    X, y = all_rows(task, n_targets)
    model = LinearRegression().fit(X, y)
    residuals = y - model.predict(X)
    covariance = residuals.T @ residuals / (len(X) - X.shape[1] - 1)

    def score_samples(rows):
        X, y = parts(rows, n_targets)
        return multivariate_normal.logpdf(y - model.predict(X), cov=covariance)

    n_parameters = (X.shape[1] + 1) * n_targets + n_targets * (n_targets + 1) // 2
    return Fitted(score_samples, len(X), n_parameters)


def fit_zuko(task, n_targets, name):
    recipe = ZUKO[name](n_targets)
    model = ConditionalZuko(recipe, n_targets, max_time=task.max_time, random_state=task.seed)
    model.fit(task.train, task.validation)
    return Fitted(
        model.score_samples,
        len(task.train) + len(task.validation),
        model.flow.n_parameters_,
        model.best_validation_score_,
        f"width {recipe.width}, {model.flow.n_epochs_} epochs",
    )


def contenders(n_targets):
    """Return those that take part, for so many targets."""
    own = {
        LEADER: (fit_skflow, "skflow"),
        ONE_BY_ONE: (fit_one_by_one, "skflow"),
        "linear Gaussian": (fit_linear, "scikit-learn"),
    }
    return {
        name: Contender(partial(fit, n_targets=n_targets), package)
        for name, (fit, package) in own.items()
    } | {
        name: Contender(
            partial(fit_zuko, n_targets=n_targets, name=name), "zuko", timed=True, validates=True
        )
        for name in ZUKO
    }
