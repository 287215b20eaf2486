import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skflow.metrics import IntervalCoverage, interval_coverage


@pytest.mark.parametrize("spread", [0.7, 1.0, 1.5])
def test_known_coverage_and_width(normal_regression, spread):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, size=(20_000, 1))
    y = normal_regression().draw(X, rng)
    result = interval_coverage(normal_regression(spread=spread), X, y)
    np.testing.assert_array_equal(result.levels, [0.5, 0.8, 0.9, 0.95])
    half_width = norm.ppf(0.5 + 0.5 * result.levels)
    expected = 2 * norm.cdf(spread * half_width) - 1
    np.testing.assert_allclose(result.coverage, expected, atol=0.012)
    mean_scale = np.exp(0.5 * X[:, 0]).mean()
    np.testing.assert_allclose(result.width, 2 * spread * mean_scale * half_width)


@pytest.mark.parametrize("weighted", [False, True])
def test_standard_errors_if_the_model_is_right(normal_regression, weighted):
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=200) if weighted else None
    coverage = []
    for _ in range(500):
        X = rng.uniform(-2, 2, size=(200, 1))
        y = normal_regression().draw(X, rng)
        result = interval_coverage(normal_regression(), X, y, sample_weight=weights)
        coverage.append(result.coverage)
    np.testing.assert_allclose(np.mean(coverage, axis=0), result.levels, atol=0.01)
    np.testing.assert_allclose(np.std(coverage, axis=0), result.standard_error, rtol=0.15)
    if not weighted:
        expected = np.sqrt(result.levels * (1 - result.levels) / 200)
        np.testing.assert_allclose(result.standard_error, expected)


def test_counts_by_hand():
    y = np.array([0.0, 1.0, 2.0, 3.0])
    intervals = [[[0, 1], [2, 3], [0, 2], [3, np.inf]], [[0, 0], [2, 1], [2, 3], [-1, 9]]]
    result = IntervalCoverage.from_predictions(y, [intervals[1]], levels=[0.5])
    # The second is empty: it holds nothing, and its width is none.
    assert (result.coverage, result.width) == (0.75, 11 / 4)
    weights = [1, 2, 3, 0]
    result = IntervalCoverage.from_predictions(
        y, intervals, levels=[0.4, 0.6], sample_weight=weights
    )
    np.testing.assert_allclose(result.coverage, [4 / 6, 4 / 6])
    np.testing.assert_allclose(result.width[1], 3 / 6)
    np.testing.assert_allclose(result.standard_error, np.sqrt(0.24 * 14 / 36))


def test_several_targets_have_a_coverage_each(normal_regression, rng):
    X = rng.uniform(-2, 2, size=(400, 1))
    model = normal_regression(n_targets=3)
    y = np.add(model.draw(X, rng), [0, 0, 100])
    result = interval_coverage(model, X, y, levels=[0.5, 0.9])
    assert result.coverage.shape == result.width.shape == (2, 3)
    assert result.standard_error.shape == (2,)
    np.testing.assert_array_equal(result.coverage[:, 2], 0)
    np.testing.assert_allclose(result.width[:, 1], 2 * result.width[:, 0])
    first = IntervalCoverage.from_predictions(
        y[:, 0], [model.predict_interval(X, 0.9)[:, 0]], levels=[0.9]
    )
    assert result.coverage[1, 0] == first.coverage


def test_pipelines(normal_regression, rng):
    X = rng.uniform(-2, 2, size=(100, 1))
    y = normal_regression().draw(X, rng)
    pipeline = make_pipeline(FunctionTransformer(np.negative), normal_regression()).fit(X, y)
    of_pipeline = interval_coverage(pipeline, -X, y)
    np.testing.assert_array_equal(
        of_pipeline.coverage, interval_coverage(normal_regression(), X, y).coverage
    )


def test_errors(normal_regression, rng):
    X = rng.normal(size=(20, 1))
    y = normal_regression().draw(X, rng)
    with pytest.raises(TypeError, match="must have a method predict_interval"):
        interval_coverage(LinearRegression().fit(X, y), X, y)
    for levels in ([0.5, 1.0], [], 0.5, [np.nan]):
        with pytest.raises(ValueError, match="levels must be a list of one or more numbers"):
            interval_coverage(normal_regression(), X, y, levels=levels)
    with pytest.raises(ValueError, match="y has 19 rows, but X has 20"):
        interval_coverage(normal_regression(), X, y[1:])
    with pytest.raises(ValueError, match="intervals must hold one array for each of 2 levels"):
        IntervalCoverage.from_predictions(y, [np.zeros((20, 2))], levels=[0.5, 0.9])
    with pytest.raises(ValueError, match="intervals must be of shape"):
        IntervalCoverage.from_predictions(y, [np.zeros((2, 20))], levels=[0.5])
    with pytest.raises(ValueError, match="intervals must have no NaN"):
        IntervalCoverage.from_predictions(y, [np.full((20, 2), np.nan)], levels=[0.5])
    with pytest.raises(ValueError, match="sample_weight"):
        interval_coverage(normal_regression(), X, y, sample_weight=np.ones(3))
