import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.stats import binom, norm
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from skflow.inspection import QuantileCalibrationDisplay


@pytest.fixture
def data(normal_regression, rng):
    X = rng.uniform(-2, 2, size=(400, 1))
    return X, normal_regression().draw(X, rng)


def test_curve_is_the_share_below_quantiles(normal_regression, data):
    X, y = data
    display = QuantileCalibrationDisplay.from_estimator(normal_regression(), X, y)
    np.testing.assert_allclose(display.levels, np.arange(0.05, 0.951, 0.05))
    values = normal_regression().cdf(X, y)
    expected = [np.mean(values <= level) for level in display.levels]
    np.testing.assert_allclose(display.observed, expected)
    np.testing.assert_array_equal(display.line_.get_data(), (display.levels, display.observed))
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["calibrated", "95 % of shares if calibrated", "NormalRegression"]


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_known_curve(normal_regression, spread):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, size=(20_000, 1))
    y = normal_regression().draw(X, rng)
    model = make_pipeline(normal_regression(spread=spread)).fit(X, y)
    display = QuantileCalibrationDisplay.from_estimator(model, X, y, levels=[0.9, 0.1, 0.7])
    np.testing.assert_array_equal(display.levels, [0.1, 0.7, 0.9])
    expected = norm.cdf(spread * norm.ppf(display.levels))
    np.testing.assert_allclose(display.observed, expected, atol=0.013)


def test_band_is_that_of_binomial_shares(normal_regression, data):
    display = QuantileCalibrationDisplay.from_estimator(normal_regression(), *data)
    x, y = display.band_.get_paths()[0].vertices.T
    at_half = np.unique(y[x == 0.5])
    np.testing.assert_allclose(at_half, binom.ppf([0.025, 0.975], 400, 0.5) / 400)


def test_weights_count_rows(rng):
    y, quantiles = rng.normal(size=200), rng.normal(size=(200, 2))
    weights = np.repeat([1.0, 0.0], 100)
    draw = QuantileCalibrationDisplay.from_predictions
    weighted = draw(y, quantiles, levels=[0.2, 0.4], sample_weight=weights)
    alone = draw(y[:100], quantiles[:100], levels=[0.2, 0.4])
    np.testing.assert_allclose(weighted.observed, alone.observed)
    assert weighted.n_rows == alone.n_rows == 100


def test_two_models_on_the_same_axes(normal_regression, data):
    draw = QuantileCalibrationDisplay.from_estimator
    first = draw(normal_regression(), *data, name="right")
    second = draw(normal_regression(spread=2), *data, name="wide", ax=first.ax_, linestyle="--")
    assert second.ax_ is first.ax_
    assert second.band_ is None
    assert second.line_.get_linestyle() == "--"
    labels = [text.get_text() for text in second.ax_.get_legend().get_texts()]
    assert [labels[0], labels[2:]] == ["calibrated", ["right", "wide"]]
    _, ax = plt.subplots()
    assert second.plot(ax, name="again").ax_ is ax
    assert second.line_.get_label() == "again"
    assert second.band_ is not None


def test_errors(normal_regression, data):
    X, y = data
    draw = QuantileCalibrationDisplay.from_estimator
    with pytest.raises(ValueError, match="y must be one target, got 2"):
        draw(normal_regression(n_targets=2), X, np.column_stack([y, y]))
    with pytest.raises(TypeError, match="must have a method predict_quantiles"):
        draw(LinearRegression().fit(X, y), X, y)
    with pytest.raises(ValueError, match="levels must be a list of one or more numbers"):
        draw(normal_regression(), X, y, levels=[0.5, 1])
    draw = QuantileCalibrationDisplay.from_predictions
    with pytest.raises(ValueError, match="quantiles must be of shape"):
        draw(y, np.zeros((400, 3)), levels=[0.1, 0.9])
    with pytest.raises(ValueError, match="quantiles must have no NaN"):
        draw(y, np.full((400, 1), np.nan), levels=[0.1])
    with pytest.raises(ValueError, match="y_true must be of shape"):
        draw(np.column_stack([y, y]), np.zeros((400, 1)), levels=[0.1])
    with pytest.raises(TypeError, match="ax must be an Axes"):
        draw(y, np.zeros((400, 1)), levels=[0.1], ax=3)
