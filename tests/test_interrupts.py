"""Ctrl-C at chosen moments: a fit ends at its best weights, or the estimator stays as it was."""

import signal
import threading
from pkgutil import resolve_name

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, ShuffleSplit

from skflow import (
    ConditionalFlow,
    DensityEnsemble,
    DensityRatio,
    FlowClassifier,
    FlowImputer,
    FlowOutlierDetector,
    LogarithmicPool,
    RelativeGradientFlow,
    TableFlow,
)
from skflow.datasets import half_moons
from skflow.metrics import mutual_information

pytestmark = pytest.mark.usefixtures("quick_mixtures", "ctrl_c_raises")

STEP = "skflow.training.steps:Steps.take"
VALIDATION = "skflow.training.fits:log_probs"
MIXTURE = "skflow.training.plan:simple_start"


@pytest.fixture(scope="module")
def X():
    return half_moons().sample(300, random_state=0)


@pytest.fixture
def flow():
    return RelativeGradientFlow(n_layers=2, max_iter=4, batch_size=30, random_state=0)


@pytest.fixture
def ctrl_c(monkeypatch):
    """Press Ctrl-C as a function is called for the nth time, or for several of them."""
    originals = {}

    def press(target, *moments):
        original, calls = originals.setdefault(target, resolve_name(target)), []

        def pressing(*args, **kwargs):
            calls.append(target)
            for _ in range(moments.count(len(calls))):
                signal.raise_signal(signal.SIGINT)
            return original(*args, **kwargs)

        monkeypatch.setattr(target.replace(":", "."), pressing)
        return calls

    yield press
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def fits(monkeypatch):
    """The plans of all fits, and the fits."""
    found = []
    for plan in ("plan:Plan", "conditional:ConditionalPlan", "chain:ChainPlan"):
        original = resolve_name(f"skflow.training.{plan}.fit")

        def begun(plan, started, original=original):
            fit = original(plan, started)
            found.append((plan, fit))
            return fit

        monkeypatch.setattr(f"skflow.training.{plan.replace(':', '.')}.fit", begun)
    return found


def held_out(plan):
    rows = plan.validation
    return rows.data[rows.which].numpy()


def test_ctrl_c_ends_an_epoch_between_two_steps(X, flow, ctrl_c):
    steps = ctrl_c(STEP, 7)
    flow.set_params(early_stopping=False, batch_size=10)
    with pytest.warns(ConvergenceWarning, match="Ctrl-C ended the fit, in epoch 1"):
        flow.fit(X)
    assert len(steps) == 7 < len(X) // 10
    assert flow.n_iter_ == len(flow.loss_curve_) == 1
    assert np.isfinite(flow.score(X))
    # Nothing is left of it: the next fit is what it would be.
    again = RelativeGradientFlow(**flow.get_params())
    assert np.array_equal(flow.fit(X).score_samples(X), again.fit(X).score_samples(X))


@pytest.fixture
def mixtures_are_surpassed(monkeypatch):
    """Let weights be kept that are hardly better than the mixture that they start from."""
    monkeypatch.setattr("skflow.training.plan._STANDARD_ERRORS_BEHIND_MIXTURE", 0.0)


# An epoch is nine steps, and the two fits that choose how all rows are fitted have four each.
@pytest.mark.parametrize(
    ("target", "moment", "n_candidates"),
    [
        *((STEP, 1, 0), (STEP, 20, 0), (STEP, 36, 0), (VALIDATION, 3, 0)),
        *((STEP, 37, 1), (STEP, 50, 1), (STEP, 72, 1), (VALIDATION, 9, 1)),
        *((STEP, 74, 2), (STEP, 80, 2)),
    ],
)
@pytest.mark.parametrize("base", ["normal", "logistic"])  # a mixture to start from, and none
@pytest.mark.usefixtures("mixtures_are_surpassed")
def test_the_best_candidate_so_far_is_left(
    X, flow, ctrl_c, fits, target, moment, n_candidates, base
):
    ctrl_c(target, moment)
    with pytest.warns(ConvergenceWarning):
        flow.set_params(base_distribution=base).fit(X)
    ((plan, fit),) = fits
    assert len(flow.candidates_) == n_candidates
    candidates = list(fit.histories)
    if n_candidates < len(plan.input_noises):
        candidates.append(fit.current.history)
    which = int(np.argmax([candidate.compared_score for candidate in candidates]))
    best = candidates[which]
    assert flow.best_validation_score_ == best.best_score
    assert flow.score(held_out(plan)) == pytest.approx(best.best_score, abs=1e-4)
    assert flow.validation_scores_ == best.validation_scores
    assert flow.input_noise_ == plan.input_noises[which]
    flow.sample(3, random_state=0)
    flow.partial_fit(X)


def test_a_better_running_candidate_is_left(X, flow, ctrl_c, fits, monkeypatch):
    # Each fit seems better than the one before.
    winsorized = resolve_name("skflow.training.fits:winsorized")
    monkeypatch.setattr(
        "skflow.training.fits.winsorized",
        lambda values: winsorized(values) + 10 * len(fits and fits[0][1].histories),
    )
    ctrl_c(STEP, 50)
    with pytest.warns(ConvergenceWarning):
        flow.fit(X)
    ((plan, fit),) = fits
    assert fit.best == len(fit.histories) == 1
    assert flow.input_noise_ == plan.input_noises[1]
    assert flow.score(held_out(plan)) == pytest.approx(flow.best_validation_score_, abs=1e-4)


@pytest.mark.usefixtures("mixtures_are_surpassed")
def test_ctrl_c_while_the_last_fit_begins_leaves_the_best_candidate(X, flow, ctrl_c, fits):
    mixtures = ctrl_c(MIXTURE, 2)  # the first is what candidates start from
    with pytest.warns(ConvergenceWarning):
        flow.fit(X)
    assert len(mixtures) == 2
    ((plan, fit),) = fits
    assert len(fit.histories) == len(plan.input_noises)
    assert flow.score(held_out(plan)) == pytest.approx(flow.best_validation_score_, abs=1e-4)


@pytest.mark.parametrize(
    ("target", "moment"), [("skflow.training.plan:rival_start", 1), (STEP, 25)]
)
def test_a_fit_that_starts_from_a_mixture_after_all(ctrl_c, fits, monkeypatch, target, moment):
    rng = np.random.default_rng(0)
    X = 4 * rng.normal(size=(12, 5))[rng.integers(12, size=2100)] + rng.normal(size=(2100, 5))
    flow = RelativeGradientFlow(n_layers=1, max_iter=1, batch_size=100, random_state=0)
    monkeypatch.setattr("skflow.training.stacking._sizes", lambda *_: iter((16,)))
    ctrl_c(target, moment)
    with pytest.warns(ConvergenceWarning):
        flow.fit(X)
    ((plan, fit),) = fits
    assert fit.current.history.n_epochs == (target == STEP)
    assert fit.state_dict()["first"] is not None  # the second fit is what is left
    assert flow.score(held_out(plan)) == pytest.approx(flow.best_validation_score_, abs=1e-4)


@pytest.mark.parametrize("n_targets", [1, 2, 9])
@pytest.mark.parametrize("moment", [1, 10, 72])
def test_conditional_flows(ctrl_c, n_targets, moment):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 2))
    Y = X[:, :1] + 0.3 * rng.normal(size=(100, n_targets))
    flow = ConditionalFlow(n_trees=0, max_iter=8, batch_size=10, random_state=0)
    steps = ctrl_c(STEP, moment)
    with pytest.warns(ConvergenceWarning):
        flow.fit(X, Y)
    assert moment <= len(steps) <= moment + n_targets
    assert np.isfinite(flow.score(X, Y))
    assert np.isfinite(flow.sample(X[:2], 3, random_state=0)).all()


def test_what_calibrates_belongs_to_the_weights_that_are_left(monkeypatch, ctrl_c):
    monkeypatch.setattr("skflow.training.conditional.STANDARD_ERRORS", 0.0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 2))
    y = np.sin(3 * X[:, 0]) + 0.1 * rng.normal(size=100)
    left = []
    for moment in (72, 75):  # in the last step of the candidate, and when all rows are fitted
        flow = ConditionalFlow(n_trees=0, max_iter=8, batch_size=10, random_state=0)
        ctrl_c(STEP, moment)
        with pytest.warns(ConvergenceWarning):
            flow.fit(X, y)
        left.append(flow)
    assert np.array_equal(left[0].score_samples(X, y), left[1].score_samples(X, y))
    assert left[0].validation_scores_ == left[1].validation_scores_ != []


def test_the_second_ctrl_c_raises(X, flow, ctrl_c):
    flow.fit(X)
    before, scores = dict(vars(flow)), flow.score_samples(X)
    ctrl_c(STEP, 20, 20)
    with pytest.raises(KeyboardInterrupt):
        flow.fit(X[:200])
    assert vars(flow) == before
    assert np.array_equal(flow.score_samples(X), scores)


def test_before_training_and_after_it_ctrl_c_raises(X, flow, ctrl_c):
    for target in (MIXTURE, "skflow.training.outcome:Outcome.check"):
        ctrl_c(target, 1)
        with pytest.raises(KeyboardInterrupt):
            flow.fit(X)
        assert not hasattr(flow, "flow_")


def test_a_handler_that_is_kept_raises(X, flow, monkeypatch):
    kept = []
    original = resolve_name(STEP)

    def keeping(*args, **kwargs):
        kept.append(signal.getsignal(signal.SIGINT))
        return original(*args, **kwargs)

    monkeypatch.setattr(STEP.replace(":", "."), keeping)
    flow.fit(X)
    assert kept[0] is not signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        kept[0](signal.SIGINT, None)


@pytest.mark.parametrize("where", ["thread", "custom handler", "ignored"])
def test_other_handlers_and_threads_are_left_alone(X, flow, monkeypatch, where):
    seen, came = set(), []
    original = resolve_name(STEP)

    def looking(*args, **kwargs):
        seen.add(signal.getsignal(signal.SIGINT))
        if where != "thread":
            signal.raise_signal(signal.SIGINT)
        return original(*args, **kwargs)

    monkeypatch.setattr(STEP.replace(":", "."), looking)
    custom = signal.SIG_IGN if where == "ignored" else lambda *_: came.append(True)
    handler = signal.default_int_handler if where == "thread" else custom
    before = signal.signal(signal.SIGINT, handler)
    try:
        if where == "thread":
            thread = threading.Thread(target=flow.fit, args=(X,))
            thread.start()
            thread.join()
        else:
            flow.fit(X)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == {handler}
    assert flow.n_iter_ >= 1
    assert bool(came) == (where == "custom handler")


def frame(X):
    return pd.DataFrame(X, columns=["a", "b"])


WHOLES = {
    "DensityEnsemble": lambda flow: DensityEnsemble([("a", flow), ("b", GaussianMixture())]),
    "LogarithmicPool": LogarithmicPool,
    "FlowOutlierDetector": FlowOutlierDetector,
    "DensityRatio": DensityRatio,
    "TableFlow": lambda flow: TableFlow(max_iter=2),
    "FlowImputer": lambda flow: FlowImputer(TableFlow(max_iter=2)),
    "FlowClassifier": lambda flow: FlowClassifier(TableFlow(max_iter=2)),
    "ConditionalFlow(cv)": lambda flow: ConditionalFlow(
        n_trees=0, max_iter=1, cv=ShuffleSplit(1, random_state=0)
    ),
}


@pytest.mark.parametrize("name", WHOLES)
def test_what_has_no_best_weights_stays_as_it_was(X, flow, ctrl_c, name):
    estimator = WHOLES[name](flow)
    before = dict(vars(estimator))
    takes = {"FlowClassifier": (frame(X), X[:, 0] > 0), "DensityRatio": (X[:150], X[150:])}
    arguments = takes.get(name, (X, X[:, 0]) if "cv" in name else (X,))
    ctrl_c(STEP, 3)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(*arguments)
    assert vars(estimator) == before


def test_the_fit_after_the_calibration_is_a_part_too(X, ctrl_c):
    cv = ShuffleSplit(1, random_state=0)
    flow = ConditionalFlow(n_trees=0, max_iter=1, cv=cv, random_state=0)
    steps = ctrl_c(STEP)
    flow.fit(X[:, :1], X[:, 1])
    n_steps = len(steps)
    before = dict(vars(flow))
    ctrl_c(STEP, n_steps - 1)
    with pytest.raises(KeyboardInterrupt):
        flow.fit(X[:, :1], X[:, 1])
    assert vars(flow) == before


def test_a_function_that_fits_raises(X, flow, ctrl_c):
    flow.fit(X)
    ctrl_c(STEP, 3)
    with pytest.raises(KeyboardInterrupt):
        mutual_information(flow, [0], [1], random_state=0)


def test_a_pass_raises(X, flow, ctrl_c):
    flow.partial_fit(X)
    before = dict(vars(flow))
    ctrl_c(STEP, 3)
    with pytest.raises(KeyboardInterrupt):
        flow.partial_fit(X)
    assert vars(flow) == before


def test_in_a_search_it_ends_one_fit(X, flow, ctrl_c):
    ctrl_c(STEP, 3)
    search = GridSearchCV(flow.set_params(early_stopping=False), {"n_layers": [1, 2]}, cv=2)
    with pytest.warns(ConvergenceWarning) as caught:
        search.fit(X)
    assert len(caught) == 1
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
