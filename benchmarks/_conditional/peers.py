"""Peers that are not flows: a line, forests and boosted trees, and a diffusion by trees.

- linear Gaussian: least squares, with the residuals' standard deviation.
- NGBoost: its defaults, a normal distribution by trees of depth 3 at a rate of 0.01, with the
  protocol of its paper: of up to 2,000 stages as many as are best on a fifth of the rows, and
  another fit to all of them. The search ends after 100 stages that are no better.
- quantile forest: the defaults of quantile-forest.
- boosted quantiles: scikit-learn's histogram gradient boosting, a model with its defaults for each
  of 17 levels.
- Treeffuser: its defaults, and 200 samples of each test row.
"""

from functools import partial

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split

from .predictions import Normals, Quantiles, Samples
from .task import LEVELS, Fitted, Prediction

__all__ = ["fit_boosted", "fit_forest", "fit_linear", "fit_ngboost", "fit_treeffuser"]

N_STAGES, PATIENCE = 2000, 100
BOOSTED_LEVELS = np.array(
    [0.01, 0.025, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.975, 0.99]
)
N_SAMPLES = 200


def fit_linear(task):
    model = LinearRegression().fit(task.X, task.y)
    residuals = task.y - model.predict(task.X)
    scale = np.sqrt((residuals**2).sum() / (len(task.X) - task.X.shape[1] - 1))
    return Fitted(lambda X: Normals(model.predict(X), scale))


def fit_ngboost(task):
    from ngboost import NGBRegressor

    make = partial(NGBRegressor, verbose=False, random_state=task.seed)
    X, X_held_out, y, y_held_out = train_test_split(
        task.X, task.y, test_size=0.2, random_state=task.seed
    )
    searching = make(n_estimators=N_STAGES)
    searching.fit(X, y, X_val=X_held_out, Y_val=y_held_out, early_stopping_rounds=PATIENCE)
    n_stages = int(searching.best_val_loss_itr) + 1
    model = make(n_estimators=n_stages).fit(task.X, task.y)

    def predict(X):
        found = model.pred_dist(X)
        return Normals(found.loc, found.scale)

    return Fitted(predict, f"{n_stages} stages")


class ForestPrediction(Prediction):
    """Of a quantile forest."""

    def __init__(self, forest, X):
        self.forest, self.X = forest, X

    def cdf(self, y):
        return self.forest.quantile_ranks(self.X, y, kind="mean")

    def quantiles(self):
        return self.forest.predict(self.X, quantiles=list(LEVELS))


def fit_forest(task):
    from quantile_forest import RandomForestQuantileRegressor

    forest = RandomForestQuantileRegressor(random_state=task.seed, n_jobs=1).fit(task.X, task.y)
    return Fitted(partial(ForestPrediction, forest), f"{forest.n_estimators} trees")


def fit_boosted(task):
    models = [
        HistGradientBoostingRegressor(loss="quantile", quantile=level, random_state=task.seed).fit(
            task.X, task.y
        )
        for level in BOOSTED_LEVELS
    ]

    def predict(X):
        return Quantiles(np.stack([model.predict(X) for model in models], 1), BOOSTED_LEVELS)

    return Fitted(predict, f"{len(models)} levels")


def fit_treeffuser(task):
    from treeffuser import Treeffuser

    model = Treeffuser(seed=task.seed, n_jobs=1).fit(task.X, task.y)

    def predict(X):
        return Samples(np.asarray(model.sample(X, n_samples=N_SAMPLES, seed=task.seed)).T)

    return Fitted(predict, f"{N_SAMPLES} samples")
