"""A citizen of scikit-learn: its checks, with what is excused explained, and its tools."""

import importlib
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skflow import NormalMixture, RelativeGradientFlow, SmoothLeakyReLU, default_bijections
from skflow.preprocessing import DequantizationTransformer


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return DequantizationTransformer(step=0.1, random_state=0).fit_transform(X), y


def expected_failed_checks(estimator):
    if not estimator.early_stopping:
        return {}
    reason = "a copy of a row may be held out, or fall into another batch: see test_weights.py"
    return {"check_sample_weight_equivalence_on_dense_data": reason}


class Changed:
    """Makes the default bijections with changes, and has the same name in every process.

    Without the first one, which starts from quantiles, copies of a row have no say in rounding:
    where a knot is a row, that decides on which side the row lies.
    """

    def __init__(self, name, first=0, **changes):
        self.name, self.first, self.changes = name, first, changes

    def __repr__(self):
        return self.name

    def __call__(self, n_rows, n_features, **settings):
        return default_bijections(n_rows, n_features, **settings, **self.changes)[self.first :]


# Some checks fit whole numbers, and fits of two epochs may end below their start.
@pytest.mark.filterwarnings("ignore::skflow.exceptions.ColumnWarning")
@pytest.mark.filterwarnings("ignore:The fit ended at .* below its start:RuntimeWarning")
@pytest.mark.usefixtures("quick_mixtures")
@parametrize_with_checks(
    [
        RelativeGradientFlow(max_iter=2),
        RelativeGradientFlow(
            n_layers=2, activation="smooth_leaky_relu", optimizer="adam", max_iter=2
        ),
        RelativeGradientFlow(
            activation=SmoothLeakyReLU(alpha=0.01),
            base_distribution="hyperbolic_secant",
            bijections=Changed("unbiased", bias=False, init="orthogonal"),
            max_iter=2,
        ),
        RelativeGradientFlow(
            n_layers=1,
            bijections=Changed("without_quantiles", first=1),
            input_noise=0.0,
            early_stopping=False,
            dtype="float64",
            max_iter=2,
        ),
        RelativeGradientFlow(n_layers=2, base_distribution=NormalMixture(4), max_iter=2),
        RelativeGradientFlow(
            n_layers=2,
            activation="leaky_tanh",
            optimizer="sgd",
            batch_size=1000,
            early_stopping=False,
            dtype="float64",
            input_noise=0.0,
            max_iter=2,
        ),
    ],
    expected_failed_checks=expected_failed_checks,
)
def test_sklearn_checks(estimator, check):
    check(estimator)


def test_clone_keeps_the_parameters():
    flow = RelativeGradientFlow(activation=SmoothLeakyReLU(alpha=0.2), n_layers=3)
    twin = clone(flow)
    assert twin.activation is not flow.activation
    assert repr(twin) == repr(flow)


def test_grid_search_in_two_processes_equals_one(iris):
    X, _ = iris
    searches = [
        GridSearchCV(
            # From this base no fit starts from a mixture, in whichever process.
            RelativeGradientFlow(base_distribution="logistic", max_iter=5, random_state=0),
            {"n_layers": [1, 3], "activation": ["leaky_tanh", SmoothLeakyReLU(alpha=0.1)]},
            cv=3,
            n_jobs=n_jobs,
        ).fit(X)
        for n_jobs in (1, 2)
    ]
    one, two = (search.cv_results_["mean_test_score"] for search in searches)
    assert np.isfinite(one).all()
    np.testing.assert_allclose(one, two, rtol=1e-6)
    assert searches[0].best_params_["n_layers"] == searches[1].best_params_["n_layers"]


@pytest.mark.usefixtures("quick_mixtures")
def test_halving_over_epochs(iris):
    X, _ = iris
    search = HalvingGridSearchCV(
        RelativeGradientFlow(n_layers=2, random_state=0),
        {"learning_rate": [0.001, 0.01, 0.05, 0.1]},
        resource="max_iter",
        min_resources=2,
        max_resources=8,
        factor=2,
        cv=2,
        random_state=0,
    ).fit(X)
    assert search.best_estimator_.max_iter == 8
    assert search.n_resources_ == [2, 4, 8]


@pytest.mark.usefixtures("quick_mixtures")
def test_latents_are_features_in_a_pipeline(iris):
    X, y = iris
    pipeline = make_pipeline(
        StandardScaler(),
        RelativeGradientFlow(max_iter=20, random_state=0),
        LogisticRegression(),
    )
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.75


@pytest.mark.usefixtures("quick_mixtures")
def test_a_pipeline_ends_in_a_density(iris):
    X, _ = iris
    pipeline = make_pipeline(StandardScaler(), RelativeGradientFlow(max_iter=5, random_state=0))
    assert pipeline.fit(X).score_samples(X).shape == (150,)


@pytest.mark.usefixtures("quick_mixtures")
def test_frames_and_names(iris):
    X, _ = iris
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    flow = RelativeGradientFlow(max_iter=2, random_state=0).set_output(transform="pandas")
    latents = flow.fit_transform(frame)
    assert list(flow.feature_names_in_) == ["a", "b", "c", "d"]
    assert list(latents.columns) == list(flow.get_feature_names_out())
    assert list(latents.columns) == [f"relativegradientflow{i}" for i in range(4)]
    with pytest.raises(ValueError, match="feature names"):
        flow.score_samples(frame[["d", "c", "b", "a"]])


def test_joblib_workers_do_not_compete_for_cores():
    available = joblib.cpu_count()
    counts = joblib.Parallel(n_jobs=2, backend="loky")(
        joblib.delayed(torch.get_num_threads)() for _ in range(4)
    )
    assert max(counts) <= max(1, available // 2)


def test_callbacks_name_the_release_that_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    monkeypatch.delitem(sys.modules, "skflow.callbacks", raising=False)
    match = r"skflow\.callbacks needs scikit-learn 1\.9 or later, .* this is scikit-learn \d"
    with pytest.raises(ImportError, match=match):
        importlib.import_module("skflow.callbacks")


def test_the_adapter_to_skpro_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "skpro.distributions.base", None)
    monkeypatch.delitem(sys.modules, "skflow.skpro", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'skflow\[skpro\]'"):
        importlib.import_module("skflow.skpro")
