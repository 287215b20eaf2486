import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow.datasets import half_moons
from skflow.inspection import DensityDisplay
from skflow.preprocessing import LogitTransformer


def integral(display):
    width, height = display.xx0[0, 1] - display.xx0[0, 0], display.xx1[1, 0] - display.xx1[0, 0]
    return display.density.sum() * width * height


@pytest.fixture
def gaussian(rng):
    """A correlated normal distribution of three columns, with rows of it and its parameters."""
    mean, factor = np.array([1.0, -2.0, 5.0]), np.array([[1, 0, 0], [0.5, 2, 0], [-1, 0.5, 0.5]])
    X = mean + rng.standard_normal((500, 3)) @ factor.T
    model = GaussianMixture(random_state=0, reg_covar=0).fit(X)
    return model, X


@pytest.fixture
def moons():
    """A density of two columns that is known, and rows of it."""
    truth = half_moons()
    return KernelDensity(bandwidth=truth.noise).fit(truth.centres), truth.sample(
        300, random_state=0
    )


@pytest.mark.parametrize("features", [(0, 1), (1, 0)])
def test_density_of_two_columns_is_exact(moons, features):
    model, X = moons
    display = DensityDisplay.from_estimator(model, X, features=features, grid_resolution=60)
    assert display.bandwidth is None
    assert display.density.shape == display.xx0.shape == display.xx1.shape == (60, 60)
    truth = half_moons()
    for row, column in [(7, 50), (30, 12)]:
        point = np.empty(2)
        point[list(features)] = display.xx0[row, column], display.xx1[row, column]
        expected = np.exp(truth.score_samples([point])[0])
        assert display.density[row, column] == pytest.approx(expected, rel=1e-6)
    assert integral(display) == pytest.approx(1, abs=5e-3)


def test_flow_in_single_precision(plane_flow, plane):
    display = DensityDisplay.from_estimator(plane_flow, plane)
    assert 0.95 < integral(display) < 1.01
    assert (display.xlabel, display.ylabel) == ("x0", "x1")


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_frames_go_to_the_estimator_as_frames(kind, rng):
    module = pytest.importorskip(kind)
    make = {"pandas": "DataFrame", "polars": "DataFrame", "pyarrow": "table"}[kind]
    X = getattr(module, make)(dict(zip("ab", rng.standard_normal((2, 100)), strict=True)))
    model = GaussianMixture(random_state=0).fit(X)
    if not hasattr(model, "feature_names_in_"):
        pytest.skip(f"this scikit-learn does not read the names of this {kind}")
    display = DensityDisplay.from_estimator(model, X, features=["b", "a"])  # warns else
    assert (display.xlabel, display.ylabel) == ("b", "a")
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("b", "a")


def test_pipeline_is_drawn_in_original_units(rng):
    X = 1000 * rng.standard_normal((300, 2))
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(random_state=0)).fit(X)
    assert integral(DensityDisplay.from_estimator(pipeline, X)) == pytest.approx(1, abs=0.02)


def test_search_is_drawn_by_its_best_estimator(rng):
    X = rng.standard_normal((200, 3))
    search = GridSearchCV(KernelDensity(), {"bandwidth": [0.3, 0.5]}, cv=2).fit(X)
    display = DensityDisplay.from_estimator(search, X, n_samples=2000, random_state=0)
    again = DensityDisplay.from_estimator(
        search.best_estimator_, X, n_samples=2000, random_state=0
    )
    np.testing.assert_array_equal(display.density, again.density)


@pytest.mark.parametrize("features", [(0, 1), (2, 1)])
def test_density_of_two_of_more_columns_is_near_their_marginal(gaussian, features):
    model, X = gaussian
    display = DensityDisplay.from_estimator(model, X, features=features, random_state=0)
    pair = list(features)
    marginal = stats.multivariate_normal(
        model.means_[0, pair], model.covariances_[0][np.ix_(pair, pair)]
    )
    exact = marginal.pdf(np.stack([display.xx0, display.xx1], axis=-1))
    distance = np.abs(display.density - exact).sum() / (2 * exact.sum())
    assert distance < 0.05
    assert integral(display) == pytest.approx(1, abs=0.02)
    assert (display.bandwidth > 0).all()


def test_bandwidth_is_narrow_where_the_parts_are(rng):
    # A bandwidth by the variance of the whole would spread the parts over a fifth of the plane.
    means = np.array([[-10, 0, 0], [10, 0, 0]])
    X = means[rng.integers(2, size=400)] + 0.5 * rng.standard_normal((400, 3))
    model = GaussianMixture(2, random_state=0, means_init=means).fit(X)
    display = DensityDisplay.from_estimator(model, X, random_state=0)
    assert display.bandwidth[0] < 0.5
    peaks = [display.density[:, side].max() for side in (slice(50), slice(50, None))]
    exact = 0.5 / (2 * np.pi * 0.5**2)
    np.testing.assert_allclose(peaks, exact, rtol=0.35)


def test_samples_beyond_the_grid_count(gaussian):
    model, X = gaussian
    display = DensityDisplay.from_estimator(model, X[X[:, 0] > 1], random_state=0)
    edge = display.xx0[0, 0]
    expected = stats.norm(model.means_[0, 0], np.sqrt(model.covariances_[0, 0, 0])).sf(edge)
    assert 0.55 < expected < 0.75
    assert integral(display) == pytest.approx(expected, abs=0.03)


def test_density_of_two_of_a_pipelines_columns(rng):
    X = rng.beta(2, 3, size=(300, 3))
    pipeline = make_pipeline(LogitTransformer(), "passthrough", KernelDensity(bandwidth=0.2)).fit(
        X
    )
    display = DensityDisplay.from_estimator(pipeline, X, n_samples=5000, random_state=0)
    assert integral(display) == pytest.approx(1, abs=0.03)
    assert display.density[np.abs(display.xx0 - 0.4).argmin()].max() > 1


def test_flow_of_many_columns_gives_the_same_figure_for_the_same_seed(flow, iris):
    arguments = {"features": (2, 3), "n_samples": 500, "n_points": 20}
    first = DensityDisplay.from_estimator(flow, iris, **arguments, random_state=1)
    again = DensityDisplay.from_estimator(flow, iris, **arguments, random_state=1)
    np.testing.assert_array_equal(first.density, again.density)
    np.testing.assert_array_equal(first.points, again.points)
    assert first.xlabel == "petal length (cm)"


def test_rows_over_the_density(flow, iris):
    display = DensityDisplay.from_estimator(
        flow, iris, features=(3, 0), n_samples=500, n_points=30, random_state=0
    )
    rows = iris.to_numpy()[:, [3, 0]]
    assert display.points.shape == (30, 2)
    assert all((rows == point).all(axis=1).any() for point in display.points)
    np.testing.assert_array_equal(display.points_.get_offsets(), display.points)
    none = DensityDisplay.from_estimator(flow, iris, n_samples=500, n_points=0)
    assert none.points_ is None


@pytest.mark.parametrize("plot_method", ["contourf", "contour", "pcolormesh"])
def test_plot_methods_take_their_own_arguments(moons, plot_method):
    display = DensityDisplay.from_estimator(
        *moons, grid_resolution=20, plot_method=plot_method, cmap="magma", scatter_kw={"s": 1}
    )
    assert display.surface_.get_cmap().name == "magma"
    assert display.points_.get_sizes() == [1]
    _, ax = plt.subplots()
    assert display.plot(ax, plot_method="contour", colors="black").ax_ is ax


def test_constant_column(rng):
    X = np.column_stack([rng.standard_normal(100), np.full(100, 3.0), rng.standard_normal(100)])
    model = KernelDensity(bandwidth=0.1).fit(X)
    display = DensityDisplay.from_estimator(model, X, n_samples=2000, random_state=0)
    assert display.xx1.min() < 3 < display.xx1.max()
    assert integral(display) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((0, 4), "features has 4, but X has the columns 0 to 3, named 'sepal length"),
        ((0, -1), "features has -1"),
        ((0, "colour"), "features has 'colour'"),
        ((1, 1), "features must be different columns"),
        ((1,), "features must be two columns"),
        ((0, 1, 2), "features must be two columns"),
        ("petal width (cm)", "features must be a sequence"),
        (1, "features must be a sequence"),
    ],
)
def test_features_must_be_two_columns(flow, iris, features, message):
    with pytest.raises(ValueError, match=message):
        DensityDisplay.from_estimator(flow, iris, features=features)


def test_bad_arguments_are_named(flow, iris):
    with pytest.raises(ValueError, match="plot_method must be one of"):
        DensityDisplay.from_estimator(flow, iris, n_samples=100, plot_method="imshow")
    with pytest.raises(ValueError, match="grid_resolution == 1"):
        DensityDisplay.from_estimator(flow, iris, grid_resolution=1)
    with pytest.raises(TypeError, match="n_samples must be an instance of int"):
        DensityDisplay.from_estimator(flow, iris, n_samples=10.5)
    with pytest.raises(ValueError, match="n_points == -1"):
        DensityDisplay.from_estimator(flow, iris, n_points=-1)


def test_data_must_suit(flow, iris):
    with pytest.raises(ValueError, match="X has one column"):
        DensityDisplay.from_estimator(flow, iris.iloc[:, :1])
    with pytest.raises(ValueError, match="X has 3 columns, but the samples of the estimator have"):
        DensityDisplay.from_estimator(flow, iris.iloc[:, :3], n_samples=100)
    with pytest.raises(ValueError, match="NaN"):
        DensityDisplay.from_estimator(flow, iris.where(iris > 1))


def test_estimator_must_have_a_density(iris):
    with pytest.raises(TypeError, match="score_samples of a density estimator"):
        DensityDisplay.from_estimator(StandardScaler(), iris.iloc[:, :2])
    with pytest.raises(TypeError, match="method sample of a density estimator"):
        DensityDisplay.from_estimator(StandardScaler(), iris)


def test_steps_must_go_back(rng):
    class OneWay(StandardScaler):
        inverse_transform = property()

    X = pd.DataFrame(rng.standard_normal((50, 3)), columns=list("abc"))
    pipeline = make_pipeline("passthrough", OneWay(), KernelDensity()).fit(X)
    with pytest.raises(TypeError, match=r"\(OneWay\) of Pipeline: it has no inverse_transform"):
        DensityDisplay.from_estimator(pipeline, X)
