import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm
from scipy.stats import norm
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skflow.inspection import ConditionalDensityDisplay


@pytest.fixture
def data(normal_regression, rng):
    X = rng.uniform(-2, 2, size=(300, 3))
    return X, normal_regression().draw(X, rng)


@pytest.fixture
def display(normal_regression, data):
    return ConditionalDensityDisplay.from_estimator(
        normal_regression(), *data, levels=[0.1, 0.5, 0.9, 0.99], random_state=0
    )


class Recorder:
    """Records the rows that it is asked about, and has one density for all of them."""

    def score_samples(self, X, y):
        self.X, self.y = X, y
        return norm.logpdf(np.ravel(y))


def test_density_and_quantiles_are_the_estimators(display):
    x, y = display.feature_values, display.target_values
    expected = norm.pdf(y[:, None], loc=np.sin(x), scale=np.exp(0.5 * x))
    np.testing.assert_allclose(display.density, expected)
    expected = norm.ppf(display.levels[:, None], loc=np.sin(x), scale=np.exp(0.5 * x))
    np.testing.assert_allclose(display.quantiles, expected)
    np.testing.assert_array_equal(display.surface_.get_array(), display.density)
    for line, quantile in zip(display.lines_, display.quantiles, strict=True):
        np.testing.assert_array_equal(line.get_data(), (x, quantile))
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["quantiles 0.1, 0.9, 0.99", "median"]


def test_strips_integrate_to_one(normal_regression, data):
    X, y = data
    wide = np.append(y, [-20, 20])
    X = np.append(X, X[:2], axis=0)
    display = ConditionalDensityDisplay.from_estimator(normal_regression(), X, wide)
    step = display.target_values[1] - display.target_values[0]
    np.testing.assert_allclose(display.density.sum(axis=0) * step, 1, atol=1e-3)


def test_grid_spans_the_rows(display, data):
    X, y = data
    for values, grid in ((X[:, 0], display.feature_values), (y, display.target_values)):
        assert grid[0] < values.min() < values.max() < grid[-1]
    assert display.ax_.get_xlim() == (display.feature_values[0], display.feature_values[-1])
    rows = np.column_stack([X[:, 0], y])
    assert len(display.points) == 300
    np.testing.assert_array_equal(np.sort(display.points, axis=0), np.sort(rows, axis=0))
    np.testing.assert_array_equal(display.points_.get_offsets(), display.points)


def test_other_features_are_at_their_medians(data):
    X, y = data
    X[:50, 2] = np.nan
    model = Recorder()
    display = ConditionalDensityDisplay.from_estimator(
        model, X, y, feature=1, levels=None, grid_resolution=20
    )
    assert model.X.shape == (400, 3)
    np.testing.assert_array_equal(model.X[:, 0], np.median(X[:, 0]))
    np.testing.assert_array_equal(model.X[:, 2], np.median(X[50:, 2]))
    np.testing.assert_array_equal(np.unique(model.X[:, 1]), display.feature_values)
    assert (display.xlabel, display.ylabel) == ("x1", "y")
    assert display.quantiles is None
    assert display.lines_ == []


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_with_categories(kind, rng):
    frames = pytest.importorskip(kind)
    kinds = ["b", "a", "b", None] * 25
    X = frames.DataFrame({"age": rng.integers(20, 60, 100), "kind": kinds, "w": [1.0, 5.0] * 50})
    dtype = "category" if kind == "pandas" else frames.Categorical
    cast = X.astype if kind == "pandas" else X.cast
    X = cast({"kind": dtype})
    name = {"name": "income"}
    y = frames.Series(**name, **{"data" if kind == "pandas" else "values": rng.normal(size=100)})
    model = Recorder()
    display = ConditionalDensityDisplay.from_estimator(
        model, X, y, feature="age", levels=None, grid_resolution=10
    )
    assert (display.xlabel, display.ylabel) == ("age", "income")
    assert type(model.X) is type(X)
    assert list(model.X.columns) == ["age", "kind", "w"]
    assert model.X["kind"].dtype == X["kind"].dtype
    assert set(model.X["kind"]) == {"b"}
    assert set(model.X["w"]) == {3.0}
    with pytest.raises(ValueError, match="feature must be a column of numbers, which 'kind' is"):
        ConditionalDensityDisplay.from_estimator(model, X, y, feature="kind")


def test_missing_values_of_the_feature(data):
    X, y = data
    frame = pd.DataFrame(X, columns=list("abc"))
    frame["a"] = frame["a"].where(frame["a"] > 0).astype("Float64")
    display = ConditionalDensityDisplay.from_estimator(Recorder(), frame, y, levels=None)
    assert display.feature_values[0] == pytest.approx(frame["a"].min(), abs=0.1)
    X[:, 0] = np.nan
    with pytest.raises(ValueError, match="column 0 has none"):
        ConditionalDensityDisplay.from_estimator(Recorder(), X, y, levels=None)


def test_a_column_of_targets_goes_to_the_estimator_as_one(normal_regression, data):
    X, y = data
    column = ConditionalDensityDisplay.from_estimator(
        normal_regression(n_targets=1), X, y[:, None], random_state=0
    )
    flat = ConditionalDensityDisplay.from_estimator(normal_regression(), X, y, random_state=0)
    np.testing.assert_allclose(column.density, flat.density)
    np.testing.assert_allclose(column.quantiles, flat.quantiles)
    np.testing.assert_array_equal(column.points, flat.points)


def test_pipelines(normal_regression, data):
    X, y = data
    pipeline = make_pipeline(FunctionTransformer(lambda X: X / 10), normal_regression())
    display = ConditionalDensityDisplay.from_estimator(pipeline.fit(X, y), 10 * X, y)
    alone = ConditionalDensityDisplay.from_estimator(normal_regression(), X, y)
    np.testing.assert_allclose(display.density, alone.density)
    np.testing.assert_allclose(display.feature_values, 10 * alone.feature_values)


def test_artists_take_arguments(display):
    _, ax = plt.subplots()
    again = display.plot(
        ax, cmap="magma", vmax=1, scatter_kw={"s": 1}, line_kw={"color": "red", "label": "q"}
    )
    assert again.ax_ is ax
    assert again.surface_.get_cmap().name == "magma"
    assert again.surface_.get_clim() == (display.density.min(), 1)
    assert again.points_.get_sizes() == [1]
    assert {line.get_color() for line in again.lines_} == {"red"}
    assert isinstance(display.plot(norm=LogNorm(1e-3, 1)).surface_.norm, LogNorm)


def test_a_density_out_of_sight_is_drawn(data):
    X, y = data

    class Elsewhere(Recorder):
        def score_samples(self, X, y):
            return np.full(len(y), -np.inf)

    display = ConditionalDensityDisplay.from_estimator(Elsewhere(), X, y, levels=None, n_points=0)
    display.figure_.canvas.draw()
    assert (display.density == 0).all()
    assert display.points_ is None


def test_errors(normal_regression, data):
    X, y = data
    draw = ConditionalDensityDisplay.from_estimator
    with pytest.raises(ValueError, match="feature has 7, but X has the columns 0 to 2"):
        draw(normal_regression(), X, y, feature=7)
    with pytest.raises(ValueError, match="y must be one target, got 2"):
        draw(normal_regression(n_targets=2), X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="y has 299 rows, but X has 300"):
        draw(normal_regression(), X, y[1:])
    with pytest.raises(ValueError, match="levels must be a list of one or more numbers"):
        draw(normal_regression(), X, y, levels=[0, 1])
    with pytest.raises(ValueError, match="grid_resolution == 1"):
        draw(normal_regression(), X, y, grid_resolution=1)
    with pytest.raises(ValueError, match="n_points == -1"):
        draw(normal_regression(), X, y, n_points=-1)
    with pytest.raises(TypeError, match="must have a method score_samples"):
        draw(LinearRegression().fit(X, y), X, y)
    with pytest.raises(TypeError, match="must have a method predict_quantiles"):
        draw(Recorder(), X, y)
    with pytest.raises(TypeError, match="ax must be an Axes"):
        draw(normal_regression(), X, y, ax=3)
