"""Fitting a pass at a time."""

import copy
import pickle
import warnings
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone

from skflow import RelativeGradientFlow, default_bijections
from skflow.datasets import half_moons
from skflow.exceptions import DivergenceError
from skflow.flow import LinearStack
from skflow.flow.determinants import Determinants

pytestmark = pytest.mark.usefixtures("quick_mixtures")


@pytest.fixture(scope="module")
def X():
    return half_moons().sample(500, random_state=0)


@pytest.fixture(scope="module")
def held_out():
    return half_moons().sample(2000, random_state=1)


def passes(flow, X, n, **kwargs):
    for _ in range(n):
        flow.partial_fit(X, **kwargs)
    return flow


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["relative", "sgd", "adam"])
def test_passes_are_about_as_good_as_a_fit_of_as_many_epochs(X, held_out, optimizer):
    flow = RelativeGradientFlow(
        4, optimizer=optimizer, early_stopping=False, max_iter=20, random_state=0
    )
    fitted = clone(flow).fit(X).score(held_out)
    first = passes(flow, X, 1).score(held_out)
    assert passes(flow, X, 19).score(held_out) > max(fitted - 0.1, first + 0.1)


def test_what_is_recorded(X):
    flow = passes(RelativeGradientFlow(2, random_state=0), X, 3)
    assert flow.n_iter_ == len(flow.loss_curve_) == 3
    assert flow.n_samples_seen_ == 1500
    assert flow.loss_curve_[-1] < flow.loss_curve_[0]
    assert flow.validation_scores_ == []
    assert flow.best_validation_score_ is None
    stacks = [b for b in flow.flow_.bijections if isinstance(b, LinearStack)]
    exact = sum(float(torch.linalg.slogdet(b.weight.detach().double())[1].sum()) for b in stacks)
    assert flow.log_det_ == pytest.approx(exact, abs=1e-9)


def test_it_goes_on_after_a_fit(X, held_out):
    flow = RelativeGradientFlow(4, max_iter=15, random_state=0).fit(X)
    before, curve = flow.score(held_out), list(flow.loss_curve_)
    n_scores = len(flow.validation_scores_)
    passes(flow, X, 4)
    assert flow.score(held_out) > before - 0.03
    assert flow.loss_curve_[:-4] == curve
    assert flow.n_iter_ == len(curve) + 4
    assert len(flow.validation_scores_) == n_scores
    assert flow.best_validation_score_ is None
    assert flow.n_samples_seen_ == 5 * len(X)


def test_a_fit_starts_anew_and_a_warm_one_goes_on(X):
    flow = RelativeGradientFlow(2, activation="leaky_tanh", max_iter=3, random_state=0)
    plain = clone(flow).fit(X).score_samples(X)
    passes(flow, X, 2).fit(X)
    assert flow.n_iter_ == 3
    assert flow.n_samples_seen_ == len(X)
    assert np.array_equal(flow.score_samples(X), plain)

    warm = passes(clone(flow), X, 2).set_params(warm_start=True).fit(X)
    assert warm.n_iter_ == 5
    assert not np.array_equal(warm.score_samples(X), plain)
    passes(warm, X, 1)
    assert warm.n_iter_ == 6


def test_a_changing_distribution_is_followed(held_out):
    flow = passes(RelativeGradientFlow(2, random_state=0), half_moons().sample(500), 3)
    moved = held_out + 3
    before = flow.score(moved)
    passes(flow, moved, 5)
    assert flow.score(moved) > before + 1


@pytest.mark.parametrize("optimizer", ["relative", "sgd", "adam"])
def test_pickled_in_between_it_goes_on_bit_for_bit(X, optimizer, tmp_path):
    flow = passes(RelativeGradientFlow(2, optimizer=optimizer, random_state=0), X, 2)
    joblib.dump(flow, tmp_path / "flow.joblib")
    twins = [joblib.load(tmp_path / "flow.joblib"), pickle.loads(pickle.dumps(flow))]
    twins.append(copy.deepcopy(flow))
    expected = passes(flow, X, 2).score_samples(X)
    for twin in twins:
        assert np.array_equal(passes(twin, X, 2).score_samples(X), expected)
    assert np.array_equal(passes(clone(flow), X, 4).score_samples(X), expected)


def test_a_clone_keeps_nothing(X):
    flow = passes(RelativeGradientFlow(2, random_state=0), X, 1)
    assert set(vars(clone(flow))) == set(flow.get_params())


@pytest.mark.parametrize("n_rows", [1, 7])
def test_calls_may_be_small(X, held_out, n_rows):
    flow = passes(RelativeGradientFlow(2, random_state=0), X, 10)
    before = flow.score(held_out)
    for start in range(0, 20 * n_rows, n_rows):
        flow.partial_fit(X[start : start + n_rows])
    assert flow.score(held_out) == pytest.approx(before, abs=0.05)
    assert flow.n_iter_ == 30
    assert flow.n_samples_seen_ == 5000 + 20 * n_rows


def test_a_small_batch_moves_less_than_a_full_one(X):
    flow = passes(RelativeGradientFlow(2, batch_size=100, random_state=0), X, 10)
    before = flow.score_samples(X)
    moves = [
        np.abs(copy.deepcopy(flow).partial_fit(X[:n]).score_samples(X) - before).max()
        for n in (1, 100)
    ]
    assert 0 < moves[0] < 0.2 * moves[1]


def test_the_first_call_needs_two_rows(X):
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        RelativeGradientFlow().partial_fit(X[:1])


def test_columns_that_were_constant_stay_so(X):
    X = np.c_[X, np.full(len(X), 3.0)]
    flow = RelativeGradientFlow(2, random_state=0)
    with pytest.warns(UserWarning, match="Constant, .*: column 2. Drop"):
        flow.partial_fit(X)
    for _ in range(3):
        flow.partial_fit(X[:1])  # where all columns are, and where a warning would be an error
    assert np.median(flow.sample(1000, random_state=0)[:, 2]) == pytest.approx(3, abs=0.3)


def test_a_failed_call_leaves_the_estimator_as_it_was(X, monkeypatch):
    flow = passes(RelativeGradientFlow(2, random_state=0), X, 2)
    twin, before = copy.deepcopy(flow), flow.score_samples(X)
    bad = X.copy()
    bad[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        flow.partial_fit(bad)
    with pytest.raises(ValueError, match="3 features"):
        flow.partial_fit(np.c_[X, X[:, :1]])
    with monkeypatch.context() as patch:
        patch.setattr("skflow.training.optimizers.Optimizer.step", lambda *_, **__: False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            with pytest.raises(DivergenceError):
                flow.set_params(batch_size=10).partial_fit(X)
    flow.set_params(batch_size="auto")
    with monkeypatch.context() as patch:
        # At the end, with all steps taken.
        patch.setattr("skflow.training.passes.Pass.finish", None)
        with pytest.raises(TypeError):
            flow.partial_fit(X)
    assert np.array_equal(flow.score_samples(X), before)
    assert np.array_equal(
        flow.partial_fit(X).score_samples(X), twin.partial_fit(X).score_samples(X)
    )


def test_a_step_that_is_not_finite_is_skipped(X):
    flow = passes(RelativeGradientFlow(2, random_state=0), X, 2)
    before = flow.score_samples(X)
    with pytest.warns(RuntimeWarning, match="1 step.s. were not finite"):
        flow.partial_fit(np.full((1, 2), 1e200))
    assert np.isfinite(flow.score_samples(X)).all()
    np.testing.assert_allclose(flow.score_samples(X), before, atol=0.05)
    assert np.isnan(flow.loss_curve_[-1])


def test_parameters_may_change_in_between(X, held_out):
    flow = passes(RelativeGradientFlow(2, random_state=0), X, 5)
    before = flow.score(held_out)
    flow.set_params(optimizer="adam", learning_rate=1e-4, batch_size=50)
    assert passes(flow, X, 2).score(held_out) > before - 0.05
    # What the flow consists of was settled by the first call.
    assert passes(flow.set_params(n_layers=5, dtype="float64"), X, 1).flow_.n_features == 2


def test_more_columns_than_rows_in_a_batch(rng):
    X = rng.normal(size=(60, 80)) @ rng.normal(size=(80, 80))
    flow = passes(RelativeGradientFlow(2, batch_size=20, random_state=0), X, 3)
    assert flow.loss_curve_[-1] < flow.loss_curve_[0]
    exact = sum(
        float(torch.linalg.slogdet(b.weight.detach().double())[1].sum())
        for b in flow.flow_.bijections
        if isinstance(b, LinearStack)
    )
    assert flow.log_det_ == pytest.approx(exact, abs=1e-8)


def test_beyond_what_has_determinants_the_flow_is_what_is_trained(X):
    def without_determinants(*args, **kwargs):
        bijections = default_bijections(*args, **kwargs)
        for layer in bijections:
            if isinstance(layer, LinearStack):
                layer.determinants = Determinants(most_checked=1)
        return bijections

    averaged = passes(RelativeGradientFlow(2, random_state=0), X, 3)
    last = RelativeGradientFlow(2, bijections=without_determinants, random_state=0)
    last = passes(last, X, 3)
    # The same steps, and so the same losses.
    assert last.loss_curve_ == averaged.loss_curve_
    assert not np.array_equal(last.score_samples(X), averaged.score_samples(X))


def test_weights_are_relative_to_those_of_the_first_call(X):
    def scores(*weights):
        flow = RelativeGradientFlow(
            2,
            activation="leaky_tanh",
            bijections=partial(default_bijections, init="orthogonal"),
            optimizer="sgd",
            random_state=0,
        )
        for weight in weights:
            some = None if weight is None else np.full(len(X), weight)
            flow.partial_fit(X, sample_weight=some)
        return flow.score_samples(X)

    plain, lighter = scores(None, None), scores(None, 0.25)
    np.testing.assert_allclose(scores(4.0, 4.0), plain, rtol=1e-5)
    np.testing.assert_allclose(scores(4.0, None), lighter, rtol=1e-5)
    assert np.abs(plain - lighter).max() > 1e-3
