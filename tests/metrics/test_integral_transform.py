import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, norm
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skflow.metrics import probability_integral_transform


@pytest.fixture
def data(normal_regression, rng):
    X = rng.uniform(-2, 2, size=(500, 2))
    return X, normal_regression().draw(X, rng)


def test_values_and_test_are_those_of_scipy(normal_regression, data):
    X, y = data
    result = probability_integral_transform(normal_regression(), X, y)
    expected = norm.cdf((y - np.sin(X[:, 0])) / np.exp(0.5 * X[:, 0]))
    np.testing.assert_allclose(result.values, expected)
    of_scipy = kstest(expected, "uniform")
    assert result.statistic == pytest.approx(of_scipy.statistic)
    assert result.pvalue == pytest.approx(of_scipy.pvalue)


@pytest.mark.parametrize("spread", [0.6, 1.0, 1.6])
def test_known_statistic(normal_regression, spread):
    # The share of values below u is Φ(s Φ⁻¹(u)).
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, size=(20_000, 1))
    y = normal_regression().draw(X, rng)
    result = probability_integral_transform(normal_regression(spread=spread), X, y)
    u = np.linspace(0.001, 0.999, 999)
    gap = abs(norm.cdf(spread * norm.ppf(u)) - u).max()
    assert result.statistic == pytest.approx(gap, abs=0.012)
    assert (result.pvalue > 0.01) == (spread == 1)


@pytest.mark.parametrize("weighted", [False, True])
def test_pvalues_are_uniform_if_the_model_is_right(normal_regression, weighted):
    rng = np.random.default_rng(0)
    pvalues = []
    for _ in range(400):
        X = rng.uniform(-2, 2, size=(150, 1))
        y = normal_regression().draw(X, rng)
        weights = rng.exponential(size=150) if weighted else None
        result = probability_integral_transform(normal_regression(), X, y, sample_weight=weights)
        pvalues.append(result.pvalue)
    assert kstest(pvalues, "uniform").pvalue > 0.01


def test_weights_of_nought_leave_rows_out(normal_regression, data):
    X, y = data
    weights = np.repeat([2.0, 0.0], 250)
    weighted = probability_integral_transform(normal_regression(), X, y, sample_weight=weights)
    alone = probability_integral_transform(normal_regression(), X[:250], y[:250])
    assert weighted.statistic == pytest.approx(alone.statistic)
    assert weighted.pvalue == pytest.approx(alone.pvalue)
    assert len(weighted.values) == 500


def test_each_of_several_targets_is_tested_by_itself(normal_regression, rng):
    X = rng.uniform(-2, 2, size=(300, 1))
    model = normal_regression(n_targets=2)
    y = np.add(model.draw(X, rng), [0, 5])
    result = probability_integral_transform(model, X, y)
    assert result.values.shape == (300, 2)
    for j in range(2):
        of_scipy = kstest(result.values[:, j], "uniform")
        assert result.statistic[j] == pytest.approx(of_scipy.statistic)
        assert result.pvalue[j] == pytest.approx(of_scipy.pvalue)
    assert result.pvalue[1] < 1e-6


def test_a_column_of_targets_is_one_target(normal_regression, data):
    X, y = data
    column = probability_integral_transform(normal_regression(n_targets=1), X, y[:, None])
    expected = probability_integral_transform(normal_regression(), X, y)
    np.testing.assert_array_equal(column.values[:, 0], expected.values)
    assert column.pvalue == [expected.pvalue]


def test_pipelines_searches_and_frames(normal_regression, data):
    X, y = data
    expected = probability_integral_transform(normal_regression(), X, y)
    halved = make_pipeline(
        FunctionTransformer(lambda X: X / 2), "passthrough", normal_regression()
    )
    alone = make_pipeline(normal_regression()).fit(X, y)
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(), normal_regression()),
        {"normalregression__spread": [1.0]},
        scoring="r2",
        cv=2,
    ).fit(X, y)
    for model, rows in ((halved.fit(X, y), 2 * X), (alone, X), (search, X)):
        result = probability_integral_transform(model, rows, y)
        np.testing.assert_allclose(result.values, expected.values)
    framed = probability_integral_transform(normal_regression(), pd.DataFrame(X), pd.Series(y))
    np.testing.assert_array_equal(framed.values, expected.values)


def test_errors(normal_regression, data):
    X, y = data

    class Broken(normal_regression):
        value = np.nan

        def cdf(self, X, y):
            return np.full(len(y), self.value)

    with pytest.raises(TypeError, match=r"must have a method cdf, .* got LinearRegression"):
        probability_integral_transform(LinearRegression().fit(X, y), X, y)
    with pytest.raises(ValueError, match="cdf must give no NaN"):
        probability_integral_transform(Broken(), X, y)
    Broken.value = 1.5
    with pytest.raises(ValueError, match=r"cdf must be between 0 and 1, got values from 1\.5"):
        probability_integral_transform(Broken(), X, y)
    Broken.value = np.float32(1 + 1e-7)  # but for rounding
    assert (probability_integral_transform(Broken(), X, y).values == 1).all()
    with pytest.raises(ValueError, match="y has 499 rows, but X has 500"):
        probability_integral_transform(normal_regression(), X, y[1:])
    with pytest.raises(ValueError, match="Input y contains NaN"):
        probability_integral_transform(normal_regression(), X, np.full(500, np.nan))
    with pytest.raises(ValueError, match="cdf must be of shape"):
        probability_integral_transform(normal_regression(n_targets=2), X, y[:, None])
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        probability_integral_transform(normal_regression(), X, y, sample_weight=-np.ones(500))
