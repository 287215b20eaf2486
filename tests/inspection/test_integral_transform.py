import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.linear_model import LinearRegression

from skflow.inspection import PITDisplay


@pytest.fixture
def data(normal_regression, rng):
    X = rng.uniform(-2, 2, size=(400, 1))
    return X, normal_regression().draw(X, rng)


def test_histogram_and_test_are_those_of_the_values(normal_regression, data):
    display = PITDisplay.from_estimator(normal_regression(), *data, n_bins=8)
    values = normal_regression().cdf(*data)
    expected = np.histogram(values, 8, range=(0, 1), density=True)[0]
    np.testing.assert_allclose(display.density, expected)
    np.testing.assert_allclose([bar.get_height() for bar in display.bars_], expected)
    of_scipy = kstest(values, "uniform")
    assert display.statistic == pytest.approx(of_scipy.statistic)
    assert display.ax_.get_title() == f"KS {of_scipy.statistic:.3f}, p = {of_scipy.pvalue:.3f}"


def test_band_holds_as_many_bars_as_it_says():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(100):
        display = PITDisplay.from_predictions(rng.uniform(size=1000), n_bins=10)
        low, high = np.sort(np.unique(display.band_.get_paths()[0].vertices[:, 1]))
        inside += list((low <= display.density) & (display.density <= high))
        plt.close("all")
    # The share is discrete: a little more than 95 %.
    assert 0.93 < np.mean(inside) < 0.98


def test_too_narrow_distributions_make_a_u(normal_regression, data):
    display = PITDisplay.from_estimator(normal_regression(spread=0.5), *data, n_bins=5, name="a")
    assert display.density[[0, -1]].min() > 1.2 > 0.9 > display.density[1:-1].max()
    assert display.ax_.get_title().startswith("a\nKS 0.")
    assert display.ax_.get_title().endswith("p < 0.001")


def test_weights_count_rows(rng):
    values, weights = rng.uniform(size=200), np.repeat([1.0, 0.0], 100)
    weighted = PITDisplay.from_predictions(values, sample_weight=weights)
    alone = PITDisplay.from_predictions(values[:100])
    np.testing.assert_allclose(weighted.density, alone.density)
    assert (weighted.n_rows, weighted.pvalue) == (100, pytest.approx(alone.pvalue))


@pytest.mark.parametrize(("n_rows", "n_bins"), [(20, 5), (240, 12), (5000, 20)])
def test_number_of_bins(rng, n_rows, n_bins):
    assert len(PITDisplay.from_predictions(rng.uniform(size=n_rows)).density) == n_bins


def test_artists_and_axes(rng):
    _, ax = plt.subplots()
    display = PITDisplay.from_predictions(rng.uniform(size=50), ax=ax, color="red")
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert display.bars_[0].get_facecolor()[:3] == (1, 0, 0)
    again = display.plot(name="again")
    assert again.ax_ is not ax
    assert again.ax_.get_title().startswith("again")


def test_a_column_of_targets_is_one_target(normal_regression, data):
    X, y = data
    column = PITDisplay.from_estimator(normal_regression(n_targets=1), X, y[:, None])
    flat = PITDisplay.from_estimator(normal_regression(), X, y)
    np.testing.assert_array_equal(column.density, flat.density)


def test_errors(normal_regression, data):
    X, y = data
    several = r"y must be one target, got 2.*PITDisplay.from_predictions\(estimator.cdf"
    with pytest.raises(ValueError, match=several):
        PITDisplay.from_estimator(normal_regression(n_targets=2), X, np.column_stack([y, y]))
    with pytest.raises(TypeError, match="must have a method cdf"):
        PITDisplay.from_estimator(LinearRegression().fit(X, y), X, y)
    with pytest.raises(ValueError, match="n_bins == 1"):
        PITDisplay.from_estimator(normal_regression(), X, y, n_bins=1)
    with pytest.raises(ValueError, match="values must be between 0 and 1"):
        PITDisplay.from_predictions([0.5, 1.5])
    with pytest.raises(ValueError, match="values must be between 0 and 1"):
        PITDisplay.from_predictions([0.5, np.nan])
    with pytest.raises(TypeError, match="ax must be an Axes"):
        PITDisplay.from_predictions([0.5, 0.6], ax="here")
