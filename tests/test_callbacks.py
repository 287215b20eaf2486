"""scikit-learn's callbacks on the estimator, and our own."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import RelativeGradientFlow
from skflow.datasets import half_moons

callback = pytest.importorskip("sklearn.callback", reason="callbacks came with scikit-learn 1.9")

from skflow.callbacks import LogLikelihoodMonitor  # noqa: E402

pytestmark = pytest.mark.usefixtures("quick_mixtures")


@pytest.fixture(scope="module")
def X():
    """Rows enough for a fit to be what callbacks see of it, even to half of them."""
    return half_moons().sample(2100, random_state=0)


@pytest.fixture
def flow():
    return RelativeGradientFlow(n_layers=2, max_iter=4, random_state=0)


class Recorder:
    """Asks for all that there is, and notes it; fails or ends the fit where it is told to."""

    def __init__(self, *, fail_at=None, stop_after=None):
        self.fail_at = fail_at
        self.stop_after = stop_after
        self.calls = []
        self.fitted = []

    def setup(self, estimator, context):
        self._note("setup", context)

    def teardown(self, estimator, context):
        self._note("teardown", context)

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.X, self.y = X, y
        self.max_subtasks = context.max_subtasks
        self._note("begin", context)

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.fitted.append(fitted_estimator)
        self._note("end", context)
        return context.task_name == "epoch" and context.task_id + 1 == self.stop_after

    def _note(self, hook, context):
        call = f"{hook} {context.task_name} {context.task_id}"
        self.calls.append(call)
        if call == self.fail_at:
            raise ArithmeticError(call)


def attributes(flow):
    """Return what of a fit can be compared."""
    return {k: v for k, v in vars(flow).items() if not k.startswith(("_", "flow", "fit_time"))}


def test_a_fit_is_a_task_of_epochs(X, flow):
    recorder = Recorder()
    flow.set_params(max_iter=2).set_callbacks(recorder)
    y = np.zeros(len(X))
    flow.fit(X, y)
    assert recorder.calls == [
        "setup fit 0",
        "begin fit 0",
        "begin epoch 0",
        "end epoch 0",
        "begin epoch 1",
        "end epoch 1",
        "end fit 0",
        "teardown fit 0",
    ]
    assert recorder.X is X
    assert recorder.y is y


def test_a_fit_that_lands_begins_no_epoch_that_it_does_not_end(X, flow):
    recorder = Recorder()
    flow.set_params(max_iter=50, n_iter_no_change=2, learning_rate=1e-9).set_callbacks(
        recorder
    ).fit(X)
    n_begun, n_ended = (
        sum(call.startswith(f"{hook} epoch") for call in recorder.calls)
        for hook in ("begin", "end")
    )
    assert n_begun == n_ended < 50


def test_callbacks_and_verbosity_leave_the_fit_as_it_is(X, flow):
    plain = clone(flow).fit(X)
    watched = flow.set_params(verbose=1).set_callbacks(Recorder(), LogLikelihoodMonitor(X)).fit(X)
    assert np.array_equal(watched.score_samples(X), plain.score_samples(X))
    assert attributes(watched) | {"verbose": False} == attributes(plain)
    assert set(vars(watched)) - set(vars(plain)) == {"_skl_callbacks"}


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"early_stopping": False},
        {"base_distribution": "student_t"},
        pytest.param(  # determinants are tracked
            {"n_layers": 3, "activation": "leaky_tanh", "batch_size": 1}, marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_a_callback_ends_a_fit_and_saw_what_is_left(X, flow, parameters):
    flow.set_params(**parameters)
    stopper, witness = Recorder(stop_after=2), Recorder()
    stopped = clone(flow).set_callbacks(stopper).fit(X)
    assert stopped.n_iter_ == len(stopped.loss_curve_) == 2
    assert stopper.calls[-3:] == ["end epoch 1", "end fit 0", "teardown fit 0"]

    # A copy of the second epoch is not touched by those that follow.
    flow.set_callbacks(witness).fit(X)
    assert flow.n_iter_ == 4
    for fitted in (stopper.fitted[1], witness.fitted[1]):
        assert attributes(fitted) == attributes(stopped)
        assert np.array_equal(fitted.score_samples(X), stopped.score_samples(X))
        assert np.array_equal(fitted.sample(3, random_state=0), stopped.sample(3, random_state=0))
    assert np.array_equal(witness.fitted[-1].score_samples(X), flow.score_samples(X))


class EndsBelowItsBest(Recorder):
    """Ends the fit with the first epoch that is worse than one before, whichever that is."""

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        super().on_fit_task_end(estimator, context, X=X, y=y, fitted_estimator=fitted_estimator)
        scores = fitted_estimator.validation_scores_
        return context.task_name == "epoch" and scores[-1] < max(scores)


def test_a_fit_that_was_ended_keeps_its_best_weights(X, flow, global_random_seed):
    # At such a rate, epochs go up and down, and none from this base starts close to the best.
    flow.set_params(max_iter=200, learning_rate=0.3, random_state=global_random_seed)
    flow.set_params(base_distribution="logistic")
    flow.set_callbacks(EndsBelowItsBest()).fit(X)
    scores = flow.validation_scores_
    assert len(scores) < 200
    assert flow.best_validation_score_ == max(scores) > scores[-1]

    best = clone(flow).set_callbacks(Recorder(stop_after=1 + int(np.argmax(scores)))).fit(X)
    assert np.array_equal(best.score_samples(X), flow.score_samples(X))


def test_warm_starts_go_on(X, flow):
    flow.set_params(warm_start=True).fit(X)
    recorder = Recorder()
    flow.set_callbacks(recorder).fit(X)
    assert flow.n_iter_ == 8
    assert [fitted.n_iter_ for fitted in recorder.fitted] == [5, 6, 7, 8, 8]
    assert recorder.fitted[0].loss_curve_ == flow.loss_curve_[:5]


@pytest.mark.parametrize(
    "fail_at", ["setup fit 0", "begin fit 0", "begin epoch 1", "end epoch 1", "end fit 0"]
)
def test_a_failed_callback_leaves_the_estimator_as_it_was(X, flow, fail_at):
    recorder = Recorder(fail_at=fail_at)
    flow.fit(X)
    before, scores = dict(vars(flow)), flow.score_samples(X)
    flow.set_callbacks(recorder)
    with pytest.raises(ArithmeticError, match=fail_at):
        flow.fit(X[:100])
    assert recorder.calls[-1] == "teardown fit 0"
    flow.set_callbacks()
    assert vars(flow) == before
    assert np.array_equal(flow.score_samples(X), scores)


def test_callbacks_are_torn_down_when_the_data_are_bad(flow):
    recorder = Recorder()
    flow.set_callbacks(recorder)
    with pytest.raises(ValueError, match="NaN"):
        flow.fit([[np.nan, 1.0], [0.0, 1.0]])
    assert recorder.calls == ["setup fit 0", "teardown fit 0"]
    assert set(vars(flow)) - set(flow.get_params()) == {"_skl_callbacks"}


def test_scikit_learns_progress_bar_in_a_pipeline_in_a_search(X, flow, capsys):
    pytest.importorskip("rich")
    bar = callback.ProgressBar(max_propagation_depth=None)
    pipeline = make_pipeline(StandardScaler(), flow)
    search = GridSearchCV(pipeline, {"relativegradientflow__n_layers": [1, 2]}, cv=2)
    search.set_callbacks(bar).fit(X)
    out = capsys.readouterr().out
    # Two candidates, two splits and a refit.
    assert out.count("RelativeGradientFlow - fit") == 5
    assert out.count("100%") > 5


def test_scikit_learns_scoring_monitor_takes_targets(X, flow):
    monitor = callback.ScoringMonitor(scoring={"nats": lambda flow, X, y: flow.score(X)})
    flow.set_callbacks(monitor)
    frame = pd.DataFrame(X, columns=["a", "b"])
    flow.fit(frame)
    assert all("nats" not in row for row in monitor.get_logs().data)

    flow.fit(frame, np.zeros(len(X)))
    rows = monitor.get_logs().data
    assert [row["task_name"] for row in rows] == ["fit"] + 4 * ["epoch"]
    assert rows[0]["nats"] == rows[-1]["nats"] == flow.score(frame)


class TestLogLikelihoodMonitor:
    def test_records_each_epoch_of_each_run(self, X, flow):
        monitor = LogLikelihoodMonitor()
        flow.set_callbacks(monitor).fit(X)
        first = monitor.get_logs().data
        assert [row["train_score"] for row in first] == [-loss for loss in flow.loss_curve_]
        assert [row["validation_score"] for row in first] == flow.validation_scores_
        assert "X_val_score" not in first[0]

        flow.set_params(early_stopping=False, max_iter=2).fit(X)
        runs = monitor.get_logs(select="all")
        assert [len(run.data) for run in runs] == [4, 2]
        assert "validation_score" not in runs[1].data[0]

    def test_scores_rows_by_what_the_fit_would_leave(self, X, flow):
        monitor, recorder = LogLikelihoodMonitor(X[2000:]), Recorder()
        flow.set_callbacks(monitor, recorder).fit(X[:2000])
        scores = [row["X_val_score"] for row in monitor.get_logs().data]
        assert scores == [fitted.score(X[2000:]) for fitted in recorder.fitted[:-1]]
        assert scores[-1] == flow.score(X[2000:])

    @pytest.mark.parametrize("n_jobs", [1, 2])
    def test_tells_the_fits_of_a_search_apart(self, X, flow, n_jobs):
        monitor = LogLikelihoodMonitor(X_val=X[2000:])
        # From this base no fit starts from a mixture, in whichever process.
        flow.set_params(base_distribution="logistic")
        search = GridSearchCV(
            flow.set_callbacks(monitor), {"max_iter": [2, 3]}, cv=2, n_jobs=n_jobs
        ).fit(X[:2000])
        log = monitor.get_logs().data_as_pandas
        fits = log.groupby("parent_task_id_path")
        best = search.best_params_["max_iter"]
        assert fits.size().tolist() == [2, 2, 3, 3, best]
        refit = fits.get_group(log["parent_task_id_path"].max())
        assert refit["validation_score"].tolist() == search.best_estimator_.validation_scores_
        assert refit["X_val_score"].iloc[-1] == search.best_estimator_.score(X[2000:])

    def test_goes_with_the_estimator_into_a_pickle(self, X, flow):
        flow.set_callbacks(LogLikelihoodMonitor()).fit(X)
        restored = pickle.loads(pickle.dumps(flow))
        assert np.array_equal(restored.score_samples(X), flow.score_samples(X))
        restored.fit(X)
        assert restored.validation_scores_ == flow.validation_scores_
