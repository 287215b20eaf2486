"""Searches for hyperparameters: in two processes, with weights, and with fits that fail."""

import numpy as np
import pytest
import sklearn
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV

from skflow import RelativeGradientFlow
from skflow.datasets import half_moons
from skflow.exceptions import DivergenceError


@pytest.fixture(scope="module")
def X():
    return half_moons().sample(200, random_state=0)


def search(kind, flow, learning_rates, **kwargs):
    """Return a search in two processes, which spends epochs if it halves the candidates."""
    # From this base no fit starts from a mixture, which is no matter here.
    flow.set_params(base_distribution="logistic")
    if kind is HalvingGridSearchCV:
        epochs = {"resource": "max_iter", "min_resources": 2, "max_resources": 8, "factor": 2}
        kwargs |= epochs | {"random_state": 0}
    return kind(flow, {"learning_rate": learning_rates}, cv=2, n_jobs=2, **kwargs)


@pytest.mark.parametrize("kind", [GridSearchCV, HalvingGridSearchCV])
@pytest.mark.parametrize("routing", [False, True])
def test_searches_in_two_processes(X, kind, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        flow = RelativeGradientFlow(n_layers=2, max_iter=5, random_state=0)
        params = {}
        if routing:
            flow.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
            params["sample_weight"] = np.linspace(0.5, 2, len(X))
        found = search(kind, flow, [1e-3, 0.1], error_score="raise").fit(X, **params)
    assert np.isfinite(found.cv_results_["mean_test_score"]).all()
    assert np.isfinite(found.best_estimator_.score_samples(X)).all()


class Divergent(RelativeGradientFlow):
    """Diverges at high learning rates, which the estimator itself does not."""

    def fit(self, X, y=None, sample_weight=None):
        if self.learning_rate > 1:
            raise DivergenceError("Training diverged.")
        return super().fit(X, y, sample_weight)


@pytest.mark.filterwarnings("ignore:One or more of the:UserWarning")
@pytest.mark.parametrize("kind", [GridSearchCV, HalvingGridSearchCV])
def test_a_divergent_candidate_never_ranks_first(X, kind):
    flow = Divergent(n_layers=2, max_iter=5, random_state=0)
    rates = [100.0, 1e-3, 50.0, 0.1]
    with pytest.warns(FitFailedWarning):
        found = search(kind, flow, rates).set_params(n_jobs=None).fit(X)
    assert found.best_params_["learning_rate"] <= 1
    scores, ranks = (found.cv_results_[name] for name in ("mean_test_score", "rank_test_score"))
    assert np.isnan(scores).any()
    assert ranks[np.isnan(scores)].min() > ranks[np.isfinite(scores)].max()


# A senseless rate may fail, or be warned of.
@pytest.mark.filterwarnings("ignore:.* not finite:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite:UserWarning")
@pytest.mark.parametrize("optimizer", ["relative", "sgd", "adam"])
def test_senseless_rates_rank_below_sensible_ones(X, optimizer):
    flow = RelativeGradientFlow(2, optimizer=optimizer, max_iter=10, random_state=0)
    found = search(GridSearchCV, flow, [1e3, 1e-3]).fit(X)
    senseless, sensible = found.cv_results_["mean_test_score"]
    assert np.isfinite(sensible)
    assert np.isnan(senseless) or sensible >= senseless  # both may stay where they start
