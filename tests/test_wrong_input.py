"""What is no input ends in an error of ours, that names the parameter and what to do."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skflow
from skflow import FlowOutlierDetector, RelativeGradientFlow
from skflow.datasets import gaussian_ring, half_moons
from skflow.inspection import DensityDisplay, PairDisplay, TrainingCurveDisplay
from skflow.metrics import (
    classifier_two_sample_test,
    energy_distance,
    energy_two_sample_test,
    highest_density_coverage,
)
from skflow.preprocessing import (
    DequantizationTransformer,
    LogitTransformer,
    log_abs_det_jacobian,
    score_samples_in_original_units,
)

pytestmark = pytest.mark.usefixtures("quick_mixtures")


@pytest.fixture(scope="module")
def X():
    return half_moons().sample(60, random_state=0)


@pytest.fixture(scope="module")
def flow(X, while_mixtures_are_quick):
    with while_mixtures_are_quick():
        return RelativeGradientFlow(1, max_iter=1, random_state=0).fit(X)


FRAMES = {
    "pandas strings": (pd.DataFrame({"kind": ["x", "y"], "size": [1.0, 2.0]}), "'kind'"),
    "polars strings": (pl.DataFrame({"kind": ["x", "y"], "size": [1.0, 2.0]}), "'kind'"),
    "categories": (
        pd.DataFrame({"kind": pd.Categorical(["x", "y"]), "size": [1.0, 2.0]}),
        r"'kind' \(category\)",
    ),
    "pandas dates": (
        pd.DataFrame({"size": [1.0, 2.0], "day": pd.to_datetime(["2020-01-01", "2020-01-02"])}),
        r"'day' \(datetime64",
    ),
    "objects that are strings": (
        pd.DataFrame({"kind": pd.Series(["x", "y"], dtype=object), "size": [1.0, 2.0]}),
        r"'kind' \(object\)",
    ),
    "objects that are dates": (
        pd.DataFrame({"day": pd.Series([pd.Timestamp(0)] * 2, dtype=object), "size": [1.0, 2.0]}),
        r"'day' \(object\)",
    ),
    "objects, one of them a string": (
        pd.DataFrame({"kind": pd.Series([1.5, "y"], dtype=object), "size": [1.0, 2.0]}),
        r"'kind' \(object\)",
    ),
    "polars dates": (
        pl.DataFrame({"size": [1.0, 2.0], "day": [pd.Timestamp(0), pd.Timestamp(1)]}),
        "'day'",
    ),
}


@pytest.mark.parametrize("case", FRAMES)
@pytest.mark.parametrize(
    "call",
    [
        lambda X: RelativeGradientFlow().fit(X),
        lambda X: RelativeGradientFlow().partial_fit(X),
        lambda X: DequantizationTransformer().fit(X),
        lambda X: LogitTransformer().fit(X),
        lambda X: energy_distance(X, X),
    ],
    ids=["fit", "partial_fit", "dequantize", "logit", "energy"],
)
def test_columns_that_hold_no_numbers_are_named(case, call):
    X, column = FRAMES[case]
    X = (
        pd.concat([X] * 3, ignore_index=True)
        if isinstance(X, pd.DataFrame)
        else pl.concat([X] * 3)
    )
    match = rf"Columns of X do not hold numbers: {column}.*Drop them, encode .* dates into numbers"
    with pytest.raises(ValueError, match=match):
        call(X)


@pytest.mark.parametrize(
    "column",
    [
        np.array([1.5, 2.0, 4.0], dtype=object),
        pd.array([1, 2, 7], dtype="Int64"),
        np.array([True, False, True]),
        np.array([1.5, 2.0, 4.0], dtype=np.float16),
    ],
    ids=["objects", "Int64", "bools", "float16"],
)
def test_columns_that_hold_numbers_are_taken(column):
    frame = pd.DataFrame({"a": column, "b": [1.0, 2.5, 1.1]})
    flow = RelativeGradientFlow(1, max_iter=1, random_state=0).fit(frame)
    assert np.isfinite(flow.score_samples(frame)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_tensors_of_half_precision_and_with_gradients_are_taken(X, flow, dtype):
    half = torch.tensor(X).to(dtype)
    rows = half.double().numpy()
    np.testing.assert_array_equal(flow.score_samples(half), flow.score_samples(rows))
    tracked = torch.tensor(X, requires_grad=True)
    np.testing.assert_array_equal(flow.score_samples(tracked), flow.score_samples(X))
    for test in (energy_distance, energy_two_sample_test, classifier_two_sample_test):
        kwargs = {} if test is energy_distance else {"random_state": 0}
        assert test(tracked, rows, **kwargs) == test(X, rows, **kwargs)
    assert DensityDisplay.from_estimator(flow, tracked).ax_ is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_tensors_reach_estimators_of_others(X, dtype):
    tracked = torch.tensor(X, dtype=dtype, requires_grad=True)
    rows = tracked.detach().double().numpy()
    mixture = GaussianMixture().fit(X)
    pipeline = make_pipeline(StandardScaler(), GaussianMixture()).fit(X)
    calls = [
        lambda X: score_samples_in_original_units(mixture, X),
        lambda X: score_samples_in_original_units(pipeline, X),
        lambda X: log_abs_det_jacobian(pipeline[:-1], X),
        lambda X: highest_density_coverage(mixture, X, n_samples=9, random_state=0).coverage,
        half_moons().score_samples,
    ]
    for call in calls:
        np.testing.assert_array_equal(call(tracked), call(rows))


@pytest.mark.parametrize("X", ["a", 3, [1.0, 2.0], np.zeros((2, 2, 2))], ids=str)
@pytest.mark.parametrize("last", [True, False], ids=["pipeline", "passthrough"])
def test_what_is_no_table(X, last):
    rows = np.zeros((3, 1))
    pipeline = make_pipeline("passthrough", KernelDensity()).fit(rows)
    with pytest.raises(ValueError, match=r"X must be an array of two dimensions, got [013]"):
        score_samples_in_original_units(pipeline, X) if last else log_abs_det_jacobian(None, X)


class SamplesOfOneDimension(GaussianMixture):
    """Forgets the columns of its samples."""

    def sample(self, n_samples=1):
        return np.zeros(n_samples), None


@pytest.mark.parametrize("ax", ["a", 3, [1]], ids=repr)
@pytest.mark.parametrize(
    "draw",
    [
        lambda flow, X, ax: DensityDisplay.from_estimator(flow, X, ax=ax),
        lambda flow, X, ax: PairDisplay.from_estimator(flow, X, ax=ax),
        lambda flow, X, ax: TrainingCurveDisplay.from_estimator(flow, ax=ax),
    ],
    ids=["density", "pairs", "training"],
)
def test_what_is_no_axes(flow, X, ax, draw):
    with pytest.raises(TypeError, match="ax must be an Axes of matplotlib, or None for a new fig"):
        draw(flow, X, ax)


@pytest.mark.parametrize("estimator", [None, "a", object()], ids=["None", "a", "object"])
def test_what_is_no_density(estimator, X):
    with pytest.raises(TypeError, match="Log-densities come from the score_samples of a density"):
        score_samples_in_original_units(estimator, X)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda flow, X: half_moons().sample("a"), TypeError, "n_samples must be a whole number"),
        (lambda flow, X: half_moons().sample(10**30), ValueError, "more than any memory holds"),
        (lambda flow, X: gaussian_ring(None), TypeError, "n_components must be an instance of"),
        (lambda flow, X: gaussian_ring(10**30), ValueError, "n_components == 1000.* must be <="),
        (
            lambda flow, X: highest_density_coverage(flow, X, n_samples=2**63),
            ValueError,
            "n_samples=9223372036854775808 .* more than any memory holds",
        ),
        (
            lambda flow, X: energy_two_sample_test(X, X, n_permutations=10**30),
            ValueError,
            "n_permutations == 1000.* must be <=",
        ),
        (lambda flow, X: half_moons("a"), TypeError, "noise must be an instance of"),
        (lambda flow, X: gaussian_ring(radius="a"), TypeError, "radius must be an instance of"),
        (
            lambda flow, X: classifier_two_sample_test(X, X, classifier=[]),
            TypeError,
            r"classifier must have a method fit, got \[\]",
        ),
        (
            lambda flow, X: classifier_two_sample_test(X, X, classifier=GaussianMixture()),
            TypeError,
            r"classifier must give the probabilities of 2 classes, .* the shape \(24, 1\)",
        ),
        (
            lambda flow, X: PairDisplay.from_estimator(SamplesOfOneDimension().fit(X), X),
            ValueError,
            "sample of the estimator must give rows, got an array of shape",
        ),
        (
            lambda flow, X: FlowOutlierDetector(
                KernelDensity(), cv=[(np.arange(60), np.array([], dtype=int))]
            ).fit(X),
            ValueError,
            "cv must hold rows out",
        ),
    ],
)
def test_numbers_that_are_none_or_too_many(flow, X, call, error, match):
    with pytest.raises(error, match=match):
        call(flow, X)


def test_energy_distances_of_extreme_units(rng):
    X, Y = rng.normal(size=(2, 30, 3))
    plain = energy_distance(X, Y)
    for exponent in (-1000, -500, 3, 500, 1000):
        unit = 2.0**exponent
        assert energy_distance(unit * X, unit * Y) == unit * plain
    assert np.isfinite(energy_distance(1e307 * X, 1e307 * Y))
    assert energy_distance(0 * X, 0 * Y) == 0


def test_callbacks_are_there_when_they_are_asked_for():
    pytest.importorskip("sklearn.callback")
    assert "callbacks" in dir(skflow)
    assert skflow.callbacks.LogLikelihoodMonitor.__name__ == "LogLikelihoodMonitor"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        skflow.nothing  # noqa: B018
