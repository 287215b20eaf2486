"""The whole distribution of targets given features."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest, norm
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skflow import ConditionalFlow, RelativeGradientFlow
from skflow.exceptions import ColumnWarning


def waves(n, seed):
    """Return rows whose spread and whose number of modes depend on the first feature."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n, 2))
    side = np.where(X[:, 0] > 0, rng.choice([-1, 1], size=n), 0)
    return X, np.sin(3 * X[:, 0]) + 2 * side + 0.2 * (1 + X[:, 1] ** 2) * rng.normal(size=n)


def chain(n, seed):
    """Return features, and two targets of which the second depends on the first."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    first = X[:, 0] + 0.5 * rng.normal(size=n)
    return X, np.c_[first, first * X[:, 1] + 0.3 * rng.normal(size=n)]


@pytest.fixture(scope="module")
def one():
    return ConditionalFlow(n_trees=50, max_iter=40, random_state=0).fit(*waves(800, 0))


@pytest.fixture(scope="module")
def two():
    return ConditionalFlow(n_trees=0, n_layers=1, max_iter=30, random_state=0).fit(*chain(600, 0))


def test_densities_integrate_to_one(one):
    X, _ = waves(50, 1)
    at = np.linspace(-8, 8, 4001)
    density = np.exp([one.score_samples(np.tile(x, (len(at), 1)), at) for x in X])
    np.testing.assert_allclose(density.sum(1) * (at[1] - at[0]), 1, atol=1e-3)


def test_quantiles_invert_the_distribution_function(one):
    X, y = waves(100, 1)
    levels = [0.01, 0.2, 0.5, 0.9, 0.99]
    quantiles = one.predict_quantiles(X, levels)
    assert quantiles.shape == (100, 5)
    for level, column in zip(levels, quantiles.T, strict=True):
        np.testing.assert_allclose(one.cdf(X, column), level, atol=1e-6)
        np.testing.assert_allclose(one.predict_quantiles(X, level), column, rtol=1e-12)
    np.testing.assert_allclose(norm.cdf(one.to_latents(X, y)), one.cdf(X, y), atol=1e-12)
    ends = one.predict_quantiles(X, [0.1, 0.9])
    np.testing.assert_allclose(one.predict_interval(X, 0.8), ends, rtol=1e-12)


def test_the_density_is_the_derivative_of_the_distribution_function(one):
    X, y = waves(100, 1)
    step = 1e-5
    slope = (one.cdf(X, y + step) - one.cdf(X, y - step)) / (2 * step)
    np.testing.assert_allclose(slope, np.exp(one.score_samples(X, y)), rtol=1e-3, atol=1e-6)


def test_samples_follow_the_distribution_function(one):
    X, _ = waves(20, 1)
    y = one.sample(X, 100, random_state=0)
    assert y.shape == (20, 100)
    p = one.cdf(X.repeat(100, axis=0), y.ravel())
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.array_equal(y, one.sample(X, 100, random_state=0))


def test_moments_are_those_of_samples(one, two):
    for flow, (X, _) in ((one, waves(5, 1)), (two, chain(5, 1))):
        y = flow.sample(X, 4000, random_state=1)
        error = 6 * y.std(-1) / np.sqrt(1000)
        assert (abs(flow.predict(X) - y.mean(-1)) < error).all()
        np.testing.assert_allclose(flow.predict_std(X), y.std(-1), rtol=0.15)


def test_it_learns_modes_and_spread(one):
    X, y = waves(2000, 1)
    scale = 0.2 * (1 + X[:, 1] ** 2)
    centre = np.sin(3 * X[:, 0])
    apart = np.where(X[:, 0] > 0, 2.0, 0.0)
    truth = 0.5 * (norm.pdf(y, centre - apart, scale) + norm.pdf(y, centre + apart, scale))
    assert one.score(X, y) > np.log(truth).mean() - 0.35
    at_right = np.tile([0.5, 0.0], (2, 1))
    low, high = np.exp(one.score_samples(at_right, [np.sin(1.5), np.sin(1.5) + 2]))
    assert high > 3 * low


def test_several_targets_are_learned_together(two):
    X, y = chain(2000, 1)
    features, targets = chain(600, 0)
    alone = [clone(two).fit(features, target) for target in targets.T]
    independent = sum(flow.score(X, y[:, k]) for k, flow in enumerate(alone))
    assert two.score(X, y) > independent + 0.05
    assert two.sample(X[:3], 4, random_state=0).shape == (3, 2, 4)
    assert two.predict(X[:3]).shape == two.predict_std(X[:3]).shape == (3, 2)
    assert two.predict_quantiles(X[:3], 0.5).shape == two.cdf(X[:3], y[:3]).shape == (3, 2)
    assert two.predict_quantiles(X[:3], [0.1, 0.2, 0.3]).shape == (3, 2, 3)
    assert two.predict_interval(X[:3]).shape == (3, 2, 2)
    p = two.cdf(X[:200], y[:200])
    assert kstest(p[:, 1], "uniform").statistic < 0.2


def test_latents_are_standard_normal_and_lead_back(two):
    X, y = chain(500, 0)
    Z = two.to_latents(X, y)
    assert abs(np.corrcoef(Z.T)[0, 1]) < 0.3
    np.testing.assert_allclose(Z.std(0), 1, atol=0.5)
    np.testing.assert_allclose(two.from_latents(X, Z), y, atol=1e-8)


def test_never_below_a_regression_or_what_ignores_the_features(rng):
    X = rng.normal(size=(600, 5))
    line = X @ rng.normal(size=5) + rng.normal(size=600)
    ring = rng.choice([-2.0, 2.0], size=600) + 0.3 * rng.normal(size=600)
    half = slice(300), slice(300, None)
    flow = ConditionalFlow(max_iter=30, random_state=0)
    plain = LinearRegression().fit(X[half[0]], line[half[0]])
    scale = np.std(line[half[0]] - plain.predict(X[half[0]]))
    by_line = norm.logpdf(line[half[1]], plain.predict(X[half[1]]), scale).mean()
    assert clone(flow).fit(X[half[0]], line[half[0]]).score(X[half[1]], line[half[1]]) > (
        by_line - 0.1
    )
    ignoring = RelativeGradientFlow(max_iter=30, random_state=0).fit(ring[half[0], None])
    assert clone(flow).fit(X[half[0]], ring[half[0]]).score(X[half[1]], ring[half[1]]) > (
        ignoring.score(ring[half[1], None]) - 0.3
    )


def test_rows_are_scored_one_by_one(one):
    X, y = waves(30, 1)
    scores = one.score_samples(X, y)
    order = np.random.default_rng(0).permutation(30)
    np.testing.assert_allclose(one.score_samples(X[order], y[order]), scores[order], rtol=1e-10)
    each = np.concatenate([one.score_samples(X[[i]], y[[i]]) for i in range(30)])
    np.testing.assert_allclose(each, scores, rtol=1e-10)
    assert one.score(X, y) == pytest.approx(scores.mean())
    weights = np.arange(30)
    assert one.score(X, y, weights) == pytest.approx(np.average(scores, weights=weights))


@pytest.mark.usefixtures("quick_mixtures")
def test_rows_of_no_weight_are_as_if_they_were_not_there():
    X, y = waves(200, 0)
    weights = np.where(np.arange(200) % 4, 1.0, 0.0)
    flow = ConditionalFlow(max_iter=3, random_state=0)
    weighted = clone(flow).fit(X, y, weights).score_samples(X, y)
    kept = weights > 0
    assert np.array_equal(weighted, clone(flow).fit(X[kept], y[kept]).score_samples(X, y))


def test_weights_count():
    X, y = waves(1000, 0)
    test = waves(1000, 1)
    heavy, far = X[:, 0] > 0, test[0][:, 0] > 0
    flow = ConditionalFlow(n_layers=1, n_trees=0, max_iter=20, random_state=0)
    weighted = clone(flow).fit(X, y, np.where(heavy, 20.0, 1.0)).score_samples(*test)
    plain = flow.fit(X, y).score_samples(*test)
    assert weighted[~far].mean() < plain[~far].mean()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_may_have_categories_and_holes(library):
    frames = pytest.importorskip(library)
    X, y = waves(300, 0)
    kinds = np.where(X[:, 0] > 0, "right", "left")
    data = {"number": np.where(X[:, 1] > 0.8, np.nan, X[:, 1]), "kind": kinds}
    frame = frames.DataFrame(data)
    flow = ConditionalFlow(max_iter=20, random_state=0).fit(frame, y)
    assert list(flow.feature_names_in_) == ["number", "kind"]
    without = ConditionalFlow(max_iter=20, random_state=0).fit(X[:, 1:], y)
    assert flow.score(frame, y) > without.score(X[:, 1:], y) + 0.1
    unseen = frames.DataFrame({"number": [0.5, np.nan], "kind": ["left", "nowhere"]})
    assert np.isfinite(flow.predict(unseen)).all()


def test_missing_features_are_known_to_be_missing(rng):
    X = rng.normal(size=(400, 2))
    y = np.where(rng.random(400) < 0.5, 4.0, 0.0)
    X[y > 2, 0] = np.nan
    y = y + 0.3 * rng.normal(size=400)
    flow = ConditionalFlow(max_iter=20, random_state=0).fit(X, y)
    np.testing.assert_allclose(flow.predict([[np.nan, 0.0], [0.0, 0.0]]), [4, 0], atol=0.4)


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize("cv", [3, ShuffleSplit(1, test_size=0.4, random_state=0)])
def test_calibrated_intervals_cover_what_they_say(rng, cv):
    X = rng.normal(size=(600, 2))
    y = X[:, 0] + rng.standard_t(3, size=600)
    flow = ConditionalFlow(max_iter=5, cv=cv, random_state=0).fit(X[:300], y[:300])
    assert flow.calibration_scores_.shape == (300 if cv == 3 else 120, 1)
    for coverage in (0.5, 0.8, 0.9):
        low, high = flow.predict_interval(X[300:], coverage).T
        # Four standard errors, of the rows that calibrate and of those that are covered.
        error = 4 * np.sqrt(coverage * (1 - coverage) * (1 / 120 + 1 / 300))
        assert np.mean((low <= y[300:]) & (y[300:] <= high)) == pytest.approx(coverage, abs=error)


@pytest.mark.usefixtures("quick_mixtures")
def test_intervals_are_infinite_where_few_rows_calibrate():
    X, y = chain(60, 0)
    flow = ConditionalFlow(max_iter=2, cv=ShuffleSplit(1, test_size=9), random_state=0).fit(X, y)
    assert np.isinf(flow.predict_interval(X[:3], 0.95)).all()
    finite = flow.predict_interval(X[:3], 0.8)
    assert np.isfinite(finite).all()
    assert (finite[..., 0] < finite[..., 1]).all()


@pytest.mark.usefixtures("quick_mixtures")
def test_searches_and_pipelines(one):
    X, y = waves(200, 0)
    search = GridSearchCV(
        ConditionalFlow(n_trees=20, random_state=0, max_iter=3), {"n_layers": [1, 2]}, cv=2
    ).fit(X, y)
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()
    frame = pd.DataFrame({"a": X[:, 0], "b": np.where(X[:, 1] > 0, "x", "y")})
    columns = make_column_transformer((StandardScaler(), ["a"]), (OneHotEncoder(), ["b"]))
    pipeline = make_pipeline(columns, ConditionalFlow(max_iter=3, random_state=0)).fit(frame, y)
    assert pipeline.predict(frame).shape == (200,)
    again = pickle.loads(pickle.dumps(one))
    assert np.array_equal(again.score_samples(X, y), one.score_samples(X, y))


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize(
    ("parameters", "y", "message"),
    [
        ({"n_trees": -1}, None, "'n_trees' parameter"),
        ({"cv": 1}, None, "'cv' parameter"),
        ({"device": "tpu"}, None, "device must be"),
        ({}, np.r_[np.nan, np.zeros(49)], "y contains NaN"),
        ({}, np.zeros((50, 2, 2)), "dim 3"),
        ({}, np.zeros(49), "inconsistent numbers of samples"),
    ],
)
def test_a_fit_that_fails_leaves_the_estimator_as_it_was(rng, parameters, y, message):
    X = rng.normal(size=(50, 2))
    flow = ConditionalFlow(max_iter=2, random_state=0).fit(X, X[:, 0])
    before = flow.score_samples(X, X[:, 0])
    flow.set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        flow.fit(X, X[:, 0] if y is None else y)
    flow.set_params(device="auto")
    assert np.array_equal(flow.score_samples(X, X[:, 0]), before)


def test_wrong_questions_are_refused(one, two):
    X, y = waves(5, 1)
    with pytest.raises(ValueError, match="q must be between 0 and 1"):
        one.predict_quantiles(X, [0.5, 1.0])
    with pytest.raises(ValueError, match="coverage must be between 0 and 1"):
        one.predict_interval(X, 1.0)
    with pytest.raises(ValueError, match=r"y has 1 target\(s\).*fitted to 2"):
        two.score_samples(X, y)
    with pytest.raises(ValueError, match="n_samples must be 1 or more"):
        one.sample(X, 0)
    with pytest.raises(ValueError, match="has 3 features"):
        one.predict(np.c_[X, X[:, 0]])


@pytest.mark.usefixtures("quick_mixtures")
def test_a_fit_ends_in_time_and_keeps_the_record():
    X, y = waves(300, 0)
    flow = ConditionalFlow(max_iter=50, max_time=0.5, early_stopping=False, random_state=0)
    flow.fit(X, y)
    assert 1 <= flow.n_iter_ == len(flow.loss_curve_) <= 50
    assert flow.best_validation_score_ is None
    kept = ConditionalFlow(max_iter=5, random_state=0).fit(*waves(2100, 0))
    assert len(kept.validation_scores_) == 5
    assert kept.best_validation_score_ >= max(kept.validation_scores_) - 1e-9


def test_rows_far_out_have_finite_densities(one):
    X = np.array([[1e6, 0.0], [0.0, -1e6]])
    assert np.isfinite(one.score_samples(X, [0.0, 1e6])).all()
    assert np.isfinite(one.predict(X)).all()


def test_passes_over_further_rows_learn():
    X, y = waves(1500, 0)
    test = waves(1000, 1)
    flow = ConditionalFlow(random_state=0).partial_fit(X, y)
    first = flow.score(*test)
    for _ in range(7):
        flow.partial_fit(X, y)
    assert flow.score(*test) > first + 0.1
    assert flow.n_samples_seen_ == 8 * 1500
    assert len(flow.loss_curve_) == flow.n_iter_ == 8
    with pytest.raises(ValueError, match=r"y has 2 target\(s\)"):
        flow.partial_fit(X, np.c_[y, y])


def test_a_pass_goes_on_from_a_fit(one):
    X, y = waves(2000, 2)
    test = waves(1000, 1)
    flow = pickle.loads(pickle.dumps(one)).partial_fit(X, y, np.ones(len(X)))
    assert flow.score(*test) > one.score(*test) - 0.1
    assert flow.n_samples_seen_ == 2800


def test_a_pass_after_a_fit_follows_the_random_state(rng):
    X = rng.normal(size=(60, 2))
    y = X[:, 0] + rng.normal(size=60)
    fitted = ConditionalFlow(max_iter=2, n_trees=0, random_state=0).fit(X, y)
    one, other = (copy.deepcopy(fitted).partial_fit(X, y).score(X, y) for _ in range(2))
    assert one == other


def test_targets_without_a_density_are_named(rng):
    X = rng.normal(size=(200, 2))
    whole = rng.integers(0, 3, size=200)
    with pytest.warns(ColumnWarning, match=r"Columns of y .*Whole numbers that repeat: column 0"):
        ConditionalFlow(max_iter=1, random_state=0).fit(X, whole)
    with pytest.warns(ColumnWarning, match=r"Columns of y .*Constant, .*: column 1"):
        flow = ConditionalFlow(max_iter=20, n_trees=0, random_state=0).fit(
            X, np.c_[X[:, 0], whole * 0]
        )
    assert flow.predict_std(X[:5])[:, 1] == pytest.approx(np.ones(5), abs=0.7)


def test_latents_of_rows_that_were_held_out_have_unit_variance():
    # So many parameters for so few rows that the network is too sure of others.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 20))
    y = X[:, 0] + rng.normal(size=4000)
    flow = ConditionalFlow(n_trees=0, max_iter=30, random_state=0).fit(X[:2000], y[:2000])
    assert flow.to_latents(X[2000:], y[2000:]).std() == pytest.approx(1, abs=0.12)


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.parametrize("configuration", [{}, {"array_api_dispatch": True}])
def test_arrays_of_other_libraries_are_taken(configuration):
    X, y = waves(100, 0)
    flow = ConditionalFlow(max_iter=2, n_trees=10, random_state=0)
    expected = clone(flow).fit(X, y).predict(X)
    with config_context(**configuration):
        flow.fit(torch.from_numpy(X), torch.from_numpy(y))
        found = flow.predict(torch.from_numpy(X))
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, expected)


@pytest.mark.usefixtures("quick_mixtures")
def test_it_fits_where_transformers_are_to_return_frames():
    X, y = waves(100, 0)
    flow = ConditionalFlow(max_iter=2, n_trees=10, random_state=0)
    expected = clone(flow).fit(X, y).predict(X)
    with config_context(transform_output="pandas"):
        np.testing.assert_array_equal(flow.fit(X, y).predict(X), expected)


@pytest.mark.usefixtures("quick_mixtures")
def test_callbacks_see_the_epochs():
    pytest.importorskip("sklearn.callback", reason="callbacks came with scikit-learn 1.9")
    from skflow.callbacks import LogLikelihoodMonitor

    X, y = waves(2100, 0)
    test = waves(200, 1)
    monitor = LogLikelihoodMonitor(*test)
    flow = ConditionalFlow(max_iter=3, n_trees=0, random_state=0).set_callbacks(monitor).fit(X, y)
    log = monitor.get_logs().data
    assert [row["validation_score"] for row in log] == flow.validation_scores_
    assert log[-1]["X_val_score"] == pytest.approx(flow.score(*test))


def test_rows_that_are_asked_for_several_times_have_the_same_answers(rng):
    X = rng.normal(size=(200, 2))
    flow = ConditionalFlow(max_iter=2, random_state=0).fit(X, X.sum(1) + rng.normal(size=200))
    repeated, y = np.repeat(X[:20], 3, axis=0), rng.normal(size=60)
    mixed = rng.permutation(60)
    together = flow.score_samples(repeated, y)
    found = flow.score_samples(repeated[mixed], y[mixed])
    np.testing.assert_allclose(found, together[mixed], rtol=1e-5, atol=1e-5)
