"""Samples of pipelines in the units of what these were fitted to."""

import numpy as np
import pandas as pd
import pytest
from scipy import special
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from skflow import RelativeGradientFlow
from skflow.preprocessing import (
    LogitTransformer,
    log_abs_det_jacobian,
    sample_in_original_units,
    score_samples_in_original_units,
)
from skflow.preprocessing.functions import KNOWN_FUNCTIONS, LOG_SLOPES, log_slope

POSITIVE = ("log", "log2", "log10", "sqrt", "cbrt")
DOMAINS = dict.fromkeys(POSITIVE, (0.1, 5)) | {
    "arctanh": (-0.9, 0.9),
    "log1p": (-0.9, 5),
    "logit": (0.05, 0.95),
    "ndtri": (0.05, 0.95),
}


@pytest.fixture
def X(rng):
    return np.c_[rng.exponential(size=300), rng.uniform(size=300), rng.normal(size=300)]


@pytest.mark.parametrize("function", list(LOG_SLOPES), ids=lambda f: f.__name__)
def test_slopes_of_functions(function):
    x = np.linspace(*DOMAINS.get(function.__name__, (-3, 3)), 41)
    step = 1e-4
    points = [function(x + k * step) for k in (-2, -1, 1, 2)]
    slope = (points[0] - 8 * points[1] + 8 * points[2] - points[3]) / (12 * step)
    np.testing.assert_allclose(log_slope(function, x), np.log(np.abs(slope)), atol=1e-8)
    assert function.__name__ in KNOWN_FUNCTIONS


def test_functions_far_out():
    x = np.array([-1e3, 1e3])
    assert np.isfinite(log_slope(np.tanh, x)).all()
    assert np.isfinite(log_slope(special.expit, x)).all()
    np.testing.assert_allclose(log_slope(np.sinh, x), 1e3 - np.log(2))
    assert log_slope(np.fix, x) is None
    assert log_slope([], x) is None


@pytest.mark.parametrize("inverse", [np.expm1, None])
def test_a_function_that_is_known_keeps_count_of_densities(X, inverse):
    X = np.abs(X)
    logs = FunctionTransformer(np.log1p, inverse_func=inverse)
    pipeline = make_pipeline(logs, GaussianMixture(random_state=0)).fit(X)
    expected = pipeline[-1].score_samples(np.log1p(X)) - np.log1p(X).sum(axis=1)
    np.testing.assert_allclose(score_samples_in_original_units(pipeline, X), expected)


def test_functions_with_arguments_are_refused(X):
    scaled = FunctionTransformer(np.log1p, kw_args={"where": True}).fit(X)
    with pytest.raises(
        TypeError, match=r"whose slopes are known are .*log1p.*, without arguments"
    ):
        log_abs_det_jacobian(scaled, X)


@pytest.mark.usefixtures("quick_mixtures")
def test_a_flow_is_a_step(X):
    flow = RelativeGradientFlow(n_layers=2, max_iter=3, random_state=0)
    pipeline = make_pipeline(StandardScaler(), flow, GaussianMixture(random_state=0)).fit(X)
    Z = pipeline[:-1].transform(X)
    flow = pipeline[1]
    scaled = pipeline[0].transform(X)
    base = -0.5 * (np.square(Z) + np.log(2 * np.pi)).sum(axis=1)
    jacobian = flow.log_abs_det_jacobian(scaled)
    np.testing.assert_allclose(jacobian, flow.score_samples(scaled) - base, atol=1e-10)
    expected = pipeline[-1].score_samples(Z) + jacobian - np.log(pipeline[0].scale_).sum()
    np.testing.assert_allclose(score_samples_in_original_units(pipeline, X), expected)


def columns_apart():
    return make_column_transformer(
        (FunctionTransformer(np.log1p, inverse_func=np.expm1), [2]),
        (make_pipeline(MinMaxScaler(), StandardScaler()), [0]),
        remainder="passthrough",
    )


def test_samples_go_back_through_columns(X):
    X = np.abs(X)
    pipeline = make_pipeline(columns_apart(), PCA(whiten=True), GaussianMixture(random_state=0))
    samples = sample_in_original_units(pipeline.fit(X), 5000, random_state=0)
    assert samples.shape == (5000, 3)
    np.testing.assert_allclose(samples.mean(axis=0), X.mean(axis=0), atol=0.2)
    again = sample_in_original_units(pipeline, 5000, random_state=0)
    assert np.array_equal(samples, again)

    # And each row exactly to where it came from.
    Z = pipeline[-1].sample(10)[0]
    drawn = pipeline[:-1].transform(
        sample_in_original_units(make_pipeline(pipeline[:-1], Fixed(Z)), 10)
    )
    np.testing.assert_allclose(drawn, Z, atol=1e-10)


class Fixed(GaussianMixture):
    """Draws the rows that it was given."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def sample(self, n_samples=1):
        return self.rows[:n_samples], None


def test_samples_behind_columns_by_name(X):
    frame = pd.DataFrame(np.abs(X), columns=["a", "b", "c"])
    columns = make_column_transformer((StandardScaler(), ["c", "a"]), (LogitTransformer(), ["b"]))
    search = GridSearchCV(
        make_pipeline(columns, GaussianMixture(random_state=0)),
        {"gaussianmixture__n_components": [1]},
        cv=2,
    ).fit(frame)
    samples = sample_in_original_units(search, 1000, random_state=0)
    assert ((samples[:, 1] > 0) & (samples[:, 1] < 1)).all()
    np.testing.assert_allclose(samples.mean(axis=0), frame.mean(), atol=0.2)


@pytest.mark.parametrize(
    ("columns", "error", "match"),
    [
        (
            make_column_transformer((StandardScaler(), [0])),
            ValueError,
            r"columns \[1, 2\] are dropped",
        ),
        (
            make_column_transformer((StandardScaler(), [0, 1, 2]), (MinMaxScaler(), [0])),
            ValueError,
            "more than once, or never",
        ),
        (
            FunctionTransformer(np.cbrt),
            TypeError,
            r"through step 'functiontransformer' .*: its inverse_func is not given, .* Pass inv",
        ),
        (
            make_column_transformer((FunctionTransformer(np.cbrt), [0, 1, 2])),
            TypeError,
            r"of step 'columntransformer' .*: its inverse_func is not given",
        ),
    ],
)
def test_what_cannot_go_back(X, columns, error, match):
    pipeline = make_pipeline(columns, GaussianMixture(random_state=0)).fit(X)
    with pytest.raises(error, match=match):
        sample_in_original_units(pipeline, 3)


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize(
    ("n_samples", "error", "match"),
    [
        (True, TypeError, "n_samples must be a whole number, got True of type bool"),
        (1.5, TypeError, "n_samples must be a whole number, got 1.5"),
        ("a", TypeError, "got 'a' of type str"),
        (0, ValueError, "n_samples must be 1 or more, got 0"),
        (10**30, ValueError, "more than any memory"),
        (2**63, ValueError, "more than any memory"),
    ],
)
def test_numbers_of_samples(X, n_samples, error, match):
    flow = RelativeGradientFlow(1, max_iter=1, random_state=0).fit(X)
    with pytest.raises(error, match=match):
        flow.sample(n_samples)
    with pytest.raises(error, match=match):
        sample_in_original_units(flow, n_samples)
