import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from skflow import RelativeGradientFlow
from skflow.inspection import TrainingCurveDisplay


def chosen(flow):
    """Return the fit that chose how few rows were fitted."""
    scores = [candidate["best_validation_score"] for candidate in flow.candidates_]
    return flow.candidates_[scores.index(flow.best_validation_score_)]


def test_curves_are_the_record_of_the_fit(flow, rng):
    many = RelativeGradientFlow(n_layers=1, max_iter=3, random_state=0)
    many.fit(rng.normal(size=(2000, 2)))
    display = TrainingCurveDisplay.from_estimator(many)
    np.testing.assert_array_equal(display.training_scores, -np.array(many.loss_curve_))
    np.testing.assert_array_equal(display.validation_scores, many.validation_scores_)

    display = TrainingCurveDisplay.from_estimator(flow)
    np.testing.assert_array_equal(display.training_scores, -np.array(chosen(flow)["loss_curve"]))
    np.testing.assert_array_equal(display.validation_scores, chosen(flow)["validation_scores"])
    training, validation = display.lines_
    np.testing.assert_array_equal(training.get_xdata(), np.arange(1, 6))
    np.testing.assert_array_equal(training.get_ydata(), display.training_scores)
    np.testing.assert_array_equal(validation.get_ydata(), display.validation_scores)
    assert display.ax_.get_ylabel() == "log-likelihood (nats per row)"


def test_best_epoch_is_marked(flow, iris):
    # From this base, epochs gain more than chance does.
    flow = clone(flow).set_params(base_distribution="logistic", max_iter=20).fit(iris)
    display = TrainingCurveDisplay.from_estimator(flow)
    of_epochs = chosen(flow)["validation_scores"]
    assert display.best_epoch == of_epochs.index(flow.best_validation_score_) + 1
    x, y = display.best_.get_data()
    assert (*x, *y) == (display.best_epoch, flow.best_validation_score_)


@pytest.fixture
def harmful():
    """A flow that starts from the best there is, and whose steps are too large."""
    return RelativeGradientFlow(
        n_layers=1,
        activation="leaky_tanh",
        learning_rate=0.95,
        batch_size=10,
        max_iter=2,
        random_state=0,
    )


def test_best_weights_may_be_those_of_the_start(harmful, plane):
    harmful.fit(plane)
    assert harmful.best_validation_score_ > max(chosen(harmful)["validation_scores"])
    display = TrainingCurveDisplay.from_estimator(harmful)
    assert display.best_epoch == 0
    assert list(display.best_.get_xdata()) == [0]


def test_continued_fit_that_gains_nothing_has_no_best_epoch(harmful, plane):
    many = np.tile(plane, (40, 1))
    harmful.set_params(warm_start=True).fit(many[::2])
    harmful.set_params(learning_rate=5.0).fit(many[1::2])
    assert harmful.best_validation_score_ not in harmful.validation_scores_
    display = TrainingCurveDisplay.from_estimator(harmful)
    assert display.best_epoch is None
    assert display.best_ is None
    assert len(display.training_scores) == 4


def test_without_early_stopping_there_is_training_alone(flow, iris):
    flow = clone(flow).set_params(early_stopping=False, max_iter=2).fit(iris)
    display = TrainingCurveDisplay.from_estimator(flow)
    assert display.validation_scores is None
    assert len(display.lines_) == 1
    assert display.best_ is None


def test_two_flows_on_the_same_axes(flow, plane_flow):
    first = TrainingCurveDisplay.from_estimator(flow, name="first", line_kw={"linestyle": "--"})
    second = TrainingCurveDisplay.from_estimator(plane_flow, name="second", ax=first.ax_)
    assert second.ax_ is first.ax_
    assert second.figure_ is first.figure_
    assert {line.get_linestyle() for line in first.lines_} == {"--"}
    labels = [text.get_text() for text in second.ax_.get_legend().get_texts()]
    assert labels[:2] == ["first: training", "first: validation"]
    assert labels[3:5] == ["second: training", "second: validation"]


def test_a_display_is_drawn_again_under_another_name(flow):
    display = TrainingCurveDisplay.from_estimator(flow, name="first")
    _, ax = plt.subplots()
    assert display.plot(ax, name="again").ax_ is ax
    assert ax.get_legend().get_texts()[0].get_text() == "again: training"


def test_estimator_must_be_a_fitted_flow(flow):
    with pytest.raises(NotFittedError):
        TrainingCurveDisplay.from_estimator(RelativeGradientFlow())
    regression = LinearRegression().fit([[0], [1]], [0, 1])
    with pytest.raises(TypeError, match=r"RelativeGradientFlow, got LinearRegression\(\)"):
        TrainingCurveDisplay.from_estimator(regression)
    with pytest.raises(TypeError, match="of a Pipeline the last step"):
        TrainingCurveDisplay.from_estimator(make_pipeline(flow))
