from inspect import signature

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import RelativeGradientFlow, inspection
from skflow.inspection import PairDisplay


def test_a_panel_for_each_pair(flow, iris):
    display = PairDisplay.from_estimator(flow, iris, random_state=0)
    assert display.axes_.shape == (4, 4)
    assert display.names == list(iris.columns)
    assert display.data.shape == display.samples.shape == (150, 4)
    np.testing.assert_array_equal(np.sort(display.data, 0), np.sort(iris.to_numpy(), 0))
    np.testing.assert_array_equal(display.samples, flow.sample(150, random_state=0))
    assert [ax.get_xlabel() for ax in display.axes_[-1]] == list(iris.columns)
    assert [ax.get_ylabel() for ax in display.axes_[:, 0]] == list(iris.columns)


def test_data_below_the_diagonal_and_samples_above(flow, iris):
    display = PairDisplay.from_estimator(flow, iris, random_state=0)
    (below,) = display.axes_[2, 1].collections
    (above,) = display.axes_[1, 2].collections
    np.testing.assert_array_equal(below.get_offsets(), display.data[:, [1, 2]])
    np.testing.assert_array_equal(above.get_offsets(), display.samples[:, [2, 1]])
    assert display.axes_[2, 1].get_xlim() == display.axes_[1, 2].get_ylim()
    (legend,) = display.figure_.legends
    assert [text.get_text() for text in legend.get_texts()] == ["data", "samples"]


def test_axes_hold_all_data_and_do_not_follow_a_sample_far_out(rng):
    data = rng.standard_normal((1000, 2))
    samples = data.copy()
    samples[0] = 1e6
    ax = PairDisplay(data=data, samples=samples, names=["a", "b"]).plot().axes_[1, 0]
    low, high = ax.get_xlim()
    assert low < data[:, 0].min() < data[:, 0].max() < high < 10


def test_first_five_of_many_columns(rng):
    X = rng.standard_normal((50, 8))
    display = PairDisplay.from_estimator(GaussianMixture(random_state=0).fit(X), X)
    assert display.axes_.shape == (5, 5)
    assert display.names == ["x0", "x1", "x2", "x3", "x4"]


def test_chosen_columns_in_the_order_asked_for(flow, iris):
    display = PairDisplay.from_estimator(
        flow, iris.to_numpy(), features=["petal width (cm)", 0], n_points=40, random_state=0
    )
    assert display.names == ["petal width (cm)", "sepal length (cm)"]
    np.testing.assert_array_equal(
        display.samples, flow.sample(40, random_state=0)[:, [3, 0]].astype(float)
    )
    assert len(display.data) == 40


def test_samples_of_a_pipeline_are_in_the_units_of_the_data(rng):
    X = 5000 + 100 * rng.standard_normal((500, 2))
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(random_state=0)).fit(X)
    display = PairDisplay.from_estimator(pipeline, X)
    np.testing.assert_allclose(display.samples.mean(0), 5000, atol=30)
    np.testing.assert_allclose(display.samples.std(0), 100, atol=20)


def test_one_column(rng):
    X = rng.standard_normal((60, 1)).astype(np.float32)
    flow = RelativeGradientFlow(n_layers=1, max_iter=2, random_state=0).fit(X)
    display = PairDisplay.from_estimator(flow, X, random_state=0)
    assert display.axes_.shape == (1, 1)
    assert len(display.axes_[0, 0].patches) > 0


def test_artists_take_arguments(flow, iris):
    display = PairDisplay.from_estimator(
        flow,
        iris,
        features=(0, 1),
        hist_kw={"bins": 7, "histtype": "bar", "color": "red"},
        scatter_kw={"s": 9, "color": "green"},
    )
    assert len(display.axes_[0, 0].patches) == 14
    (dots,) = display.axes_[0, 1].collections
    assert dots.get_sizes() == [9]


def test_axes_that_are_passed(flow, iris):
    figure, (left, right) = plt.subplots(1, 2)
    display = PairDisplay.from_estimator(flow, iris, features=(0, 1), ax=right)
    assert display.figure_ is figure
    assert display.bounding_ax_ is right
    assert not right.axison
    assert left.axison
    count = len(figure.axes)
    again = display.plot(display.axes_)
    assert again.bounding_ax_ is None
    assert len(figure.axes) == count
    with pytest.raises(ValueError, match="it was divided before"):
        display.plot(right)
    with pytest.raises(ValueError, match="ax cannot be divided"):
        display.plot(plt.figure().add_axes((0, 0, 1, 1)))
    with pytest.raises(ValueError, match="ax must hold 4 axes, one for each panel, got 2"):
        display.plot([left, right])


def test_bad_input(flow, iris):
    with pytest.raises(ValueError, match="features has 'colour'"):
        PairDisplay.from_estimator(flow, iris, features=["colour"])
    with pytest.raises(ValueError, match="features must be different columns"):
        PairDisplay.from_estimator(flow, iris, features=[])
    with pytest.raises(ValueError, match="n_points == 0"):
        PairDisplay.from_estimator(flow, iris, n_points=0)
    with pytest.raises(ValueError, match="X has 3 columns, but the samples of the estimator have"):
        PairDisplay.from_estimator(flow, iris.to_numpy()[:, :3])
    with pytest.raises(TypeError, match="method sample of a density estimator"):
        PairDisplay.from_estimator(StandardScaler(), iris)


@pytest.mark.parametrize("name", inspection.__all__)
def test_without_matplotlib_an_error_names_the_extra(name, flow, iris, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    draw = getattr(inspection, name).from_estimator
    given = {"estimator": flow, "X": iris, "y": iris.iloc[:, 0]}
    arguments = {
        name: value for name, value in given.items() if name in signature(draw).parameters
    }
    with pytest.raises(ImportError, match=f"{name}.from_estimator needs matplotlib.*'plot'"):
        draw(**arguments)
