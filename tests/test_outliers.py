"""Outliers: thresholds that new rows keep, and which entry of a row is to blame."""

import io
import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.stats import binom
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skflow import FlowOutlierDetector, RelativeGradientFlow
from skflow.estimators.surprise import excess_surprise, grid_of

# It makes the rows that it was fitted to much likelier than others.
NARROW = KernelDensity(bandwidth=0.2)
ONE_SPLIT = ShuffleSplit(n_splits=1, test_size=0.5, random_state=0)


class Table(BaseEstimator):
    """A density that is what a function says."""

    def __init__(self, function=None):
        self.function = function

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def score_samples(self, X):
        return self.function(X)


class Recorder(BaseEstimator):
    """A density that is higher by a nat at the rows that it was fitted to, and keeps these."""

    def fit(self, X, y=None):
        self.X_, self.y_ = X, y
        return self

    def score_samples(self, X):
        return np.isin(np.asarray(X)[:, 0], np.asarray(self.X_)[:, 0]).astype(float)


class Positions(BaseEstimator):
    """A constant density of rows of any kind, which keeps the positions that it was fitted to."""

    def fit(self, X, position):
        self.position_ = position
        return self

    def score_samples(self, X):
        return np.zeros(X.shape[0] if hasattr(X, "shape") else len(X))


# fit_predict judges fitted rows by estimators that have not seen them, and predict judges any row
# by all; these checks want the same labels of both. LocalOutlierFactor differs in the same way.
OTHER_LABELS = ["check_outliers_fit_predict", "check_outliers_train"]


@pytest.mark.filterwarnings("ignore::skflow.exceptions.ColumnWarning")  # some fit whole numbers
@pytest.mark.usefixtures("quick_mixtures")
@parametrize_with_checks(
    [
        FlowOutlierDetector(RelativeGradientFlow(n_layers=1, max_iter=2), cv=3),
        FlowOutlierDetector(GaussianMixture(init_params="random_from_data"), contamination=0.2),
        FlowOutlierDetector(
            make_pipeline(StandardScaler(), KernelDensity()),
            cv=RepeatedKFold(n_splits=2, n_repeats=2, random_state=0),
        ),
    ]
)
def test_sklearn_checks(estimator, check):
    if check.func.__name__ in OTHER_LABELS:
        pytest.skip("see test_what_the_skipped_checks_look_at_but_for_equal_labels")
    check(estimator)


def test_what_the_skipped_checks_look_at_but_for_equal_labels(rng):
    X = rng.standard_normal((300, 3))
    detector = FlowOutlierDetector(NARROW, random_state=0)
    labels = detector.fit_predict(X.tolist())
    assert labels.dtype.kind == "i"
    np.testing.assert_array_equal(np.unique(labels, return_counts=True), [[-1, 1], [30, 270]])
    scores, decision = detector.score_samples(X), detector.decision_function(X)
    assert scores.dtype == decision.dtype == np.float64
    np.testing.assert_array_equal(decision, scores - detector.offset_)
    np.testing.assert_array_equal(detector.predict(X), np.where(decision < 0, -1, 1))
    X.setflags(write=False)
    np.testing.assert_array_equal(detector.fit(X).score_samples(X), scores)
    for method in (detector.predict, detector.decision_function, detector.score_samples):
        with pytest.raises(ValueError, match="X has 300 features"):
            method(X.T)


class Dense(KernelDensity):
    """A kernel density that takes sparse rows."""

    def fit(self, X, y=None):
        return super().fit(X.toarray())

    def score_samples(self, X):
        return super().score_samples(X.toarray() if hasattr(X, "toarray") else X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def share_flagged(detector, X):
    return np.mean(detector.predict(X) == -1)


@pytest.mark.parametrize("contamination", [0.02, 0.1])
def test_fitted_and_new_rows_are_flagged_alike(rng, contamination):
    X, new = rng.standard_normal((500, 3)), rng.standard_normal((4000, 3))
    detector = FlowOutlierDetector(NARROW, contamination=contamination, random_state=0)
    assert (detector.fit_predict(X) == -1).sum() == 500 * contamination
    # What is calibrated has an error, too; mixtures err on the side of fewer.
    error = np.sqrt(contamination * (1 - contamination) * (1 / 500 + 1 / 4000))
    assert contamination / 8 < share_flagged(detector, new) < contamination + 3 * error
    scores = NARROW.fit(X).score_samples
    assert np.mean(scores(new) < np.quantile(scores(X), contamination)) > 3 * contamination


def test_contamination_changes_without_a_fit(rng):
    X, new = rng.standard_normal((200, 2)), rng.standard_normal((100, 2))
    detector = FlowOutlierDetector(NARROW, contamination=0.1, random_state=0).fit(X)
    fitted, scores = detector.score_fitted_rows(), detector.score_samples(new)
    for contamination, n_below in [(0.25, 49), (0.01, 1), (0.5, 99)]:
        detector.set_params(contamination=contamination)
        assert (fitted < detector.offset_).sum() == n_below  # one more has p = k / 201
        decision = detector.decision_function(new)
        np.testing.assert_array_equal(decision, scores - detector.offset_)
        labels = detector.predict(new)
        np.testing.assert_array_equal(labels == -1, decision < 0)
        assert (detector.p_values(new)[labels == -1] <= contamination).all()
    with pytest.raises(ValueError, match=r"contamination == 0.7, must be <= 0.5"):
        _ = detector.set_params(contamination=0.7).offset_


def test_fitted_rows_are_scored_by_those_that_have_not_seen_them(rng):
    X, new = rng.standard_normal((60, 2)), rng.standard_normal((20, 2))
    folds = KFold(3, shuffle=True, random_state=0)
    detector = FlowOutlierDetector(NARROW, cv=folds).fit(X)
    of_fitted, of_all = np.empty(60), np.empty((3, 80))
    for k, (train, test) in enumerate(folds.split(X)):
        density = KernelDensity(bandwidth=0.2).fit(X[train])
        of_fitted[test] = density.score_samples(X[test])
        of_all[k] = density.score_samples(np.vstack([X, new]))
    np.testing.assert_allclose(detector.calibration_scores_, of_fitted)
    np.testing.assert_allclose(detector.score_fitted_rows(), of_fitted)
    mixture = np.log(np.exp(of_all).mean(axis=0))
    np.testing.assert_allclose(detector.score_samples(np.vstack([X, new])), mixture)
    least = of_fitted <= np.sort(of_fitted)[5]
    np.testing.assert_array_equal(detector.fit_predict(X) == -1, least)


def test_each_row_is_held_out_from_two_fits(rng):
    X = rng.standard_normal((42, 1))
    detector = FlowOutlierDetector(Recorder(), random_state=0).fit(X)
    fitted = np.array([np.isin(X[:, 0], estimator.X_[:, 0]) for estimator in detector.estimators_])
    np.testing.assert_array_equal((~fitted).sum(axis=0), 2)
    shares = fitted.mean(axis=1)
    assert len(shares) == 5
    np.testing.assert_allclose(shares, 0.6, atol=0.03)
    assert (np.diff(np.flatnonzero(~fitted[0])) > 1).any()  # in random order
    np.testing.assert_array_equal(detector.score_fitted_rows(), 0)
    np.testing.assert_allclose(detector.score_samples(X), np.log((3 * np.e + 2) / 5))


def test_rows_that_no_split_held_out():
    X = np.arange(8.0)[:, None]
    splits = [([0, 1, 2, 3, 4], [5, 6]), ([0, 1, 2, 3, 5], [4, 6])]
    detector = FlowOutlierDetector(Recorder(), contamination=0.4, cv=splits).fit(X)
    np.testing.assert_allclose(detector.score_fitted_rows(), [1, 1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(detector.calibration_scores_, [0, 0, 0])
    p = detector.p_values_of_fitted_rows()  # the last row is in no split
    np.testing.assert_array_equal(p, 1)


def in_csv(X):
    file = io.StringIO()
    np.savetxt(file, X, fmt="%.15g")
    file.seek(0)
    return np.loadtxt(file)


@pytest.mark.parametrize(
    "estimator", [NARROW, make_pipeline(StandardScaler(), PCA(3), NARROW), GaussianMixture(2)]
)
def test_labels_depend_on_the_row_alone(rng, estimator):
    X = rng.standard_normal((100, 4)) @ rng.standard_normal((4, 4))
    X = X.astype(np.float32).astype(np.float64) / 3
    detector = FlowOutlierDetector(estimator, random_state=0).fit(X)
    X = np.vstack([X, 3 * X])  # fitted and new
    scores, labels = detector.score_samples(X), detector.predict(X)
    assert len(set(labels)) == 2
    assert (in_csv(X) != X).any()
    one_by_one = np.concatenate([detector.score_samples(row[None]) for row in X])
    for again in (
        one_by_one,
        detector.score_samples(in_csv(X)),
        detector.score_samples(np.nextafter(X, np.inf)),
        detector.score_samples(X[::-1])[::-1],
        detector.score_samples(X.tolist()),
    ):
        np.testing.assert_allclose(again, scores, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(again < detector.offset_, labels == -1)
    p = detector.p_values(X)
    np.testing.assert_array_equal(p, np.concatenate([detector.p_values(x[None]) for x in X]))


@pytest.mark.usefixtures("quick_mixtures")
def test_labels_of_a_table_after_csv_and_in_float32():
    X = load_breast_cancer().data.astype(np.float32)
    flow = RelativeGradientFlow(n_layers=1, max_iter=2)
    detector = FlowOutlierDetector(flow, cv=3, random_state=0).fit(X.astype(np.float64))
    labels = detector.predict(X.astype(np.float64))
    np.testing.assert_array_equal(detector.predict(X), labels)
    np.testing.assert_array_equal(detector.predict(in_csv(X)), labels)
    one_by_one = [detector.predict(x[None])[0] for x in X[::4]]
    np.testing.assert_array_equal(one_by_one, labels[::4])


def test_copies_do_not_vouch_for_each_other(rng):
    X = np.vstack([rng.standard_normal((500, 3)), np.full((25, 3), 6.0)])[rng.permutation(525)]
    copies = X[:, 0] == 6
    for estimator in (NARROW, GaussianMixture(2)):
        detector = FlowOutlierDetector(estimator, contamination=0.05, random_state=0)
        labels = detector.fit_predict(X)
        np.testing.assert_allclose(detector.p_values_of_fitted_rows()[copies], 25 / 525)
        assert (labels[copies] == -1).all()


MIXED = {
    "colour": ["red", "green", None, "green", "red", "red", None, "blue"] * 2,
    "size": [1.0, 2.0, np.nan, 2.0, 1.0, 1.5, np.nan, 4.0] * 2,
    "day": [1, 1, 1, 2, 1, 1, 1, 1] * 2,
}
SAME = [0, 1, 2, 3, 0, 4, 2, 5] * 2


@pytest.mark.parametrize(
    "X",
    [
        pd.DataFrame(MIXED),
        pd.DataFrame(MIXED).astype({"colour": "category", "size": "Float64"}),
        pd.DataFrame(MIXED).assign(day=pd.to_datetime(MIXED["day"], unit="D")),
        pd.DataFrame(MIXED).to_numpy(),
        pl.DataFrame(MIXED),
        np.column_stack(
            [[0.0, 1, np.nan, 1, -0.0, 5, np.nan, 6], [1, 1, 3, 2, 1, 1, 3, 6]] * 2
        ).repeat(2, axis=0)[[*range(0, 16, 2), *range(1, 17, 2)]],
        csr_matrix([[0, 1], [1, 1], [0, 3], [1, 2], [0, 1], [5, 1], [0, 3], [6, 6]] * 2),
        [["a", 1], ["b", 1], ["c", 3], ["b", 2], ["a", 1], ["e", 1], ["c", 3], ["f", 6]] * 2,
    ],
    ids=["pandas", "nullable", "dates", "objects", "polars", "holes", "sparse", "lists"],
)
def test_equal_rows_are_held_out_together(X):
    for seed in range(5):
        detector = FlowOutlierDetector(Positions(), contamination=0.5, cv=3, random_state=seed)
        detector.fit(X, position=np.arange(16))
        fitted = np.array([np.isin(range(16), fit.position_) for fit in detector.estimators_])
        np.testing.assert_array_equal(fitted.sum(axis=0), 1)
        for label in set(SAME):
            assert len(set(fitted.argmax(axis=0)[np.array(SAME) == label])) == 1


def test_too_few_different_rows():
    X = np.arange(40).reshape(20, 2) // 2 % 4
    with pytest.raises(ValueError, match=r"cv=5 .* and X has 4 \(n_samples=20\).*or a splitter"):
        FlowOutlierDetector(KernelDensity()).fit(X)
    groups = np.arange(20) // 7
    with pytest.raises(ValueError, match=r"cv=5 .* and X has 3 \(n_samples=20\)"):
        FlowOutlierDetector(KernelDensity()).fit(np.arange(40).reshape(20, 2), groups=groups)
    FlowOutlierDetector(KernelDensity(), cv=KFold(5), contamination=0.2).fit(X)


def test_rows_of_a_group_are_held_out_together(rng):
    X = rng.standard_normal((60, 2))
    groups = np.array(list("abcdefghij") * 6)
    X[groups == "a"] = 1.0  # of which a copy is in another group
    X[1] = 1.0
    for enabled in (False, True):  # metadata routing
        with config_context(enable_metadata_routing=enabled):
            detector = FlowOutlierDetector(Recorder(), random_state=0).fit(X, groups=groups)
        of_row = {tuple(row): group for row, group in zip(X, groups, strict=True)}
        of_row[1.0, 1.0] = "b"  # which it therefore goes with
        seen = [{of_row[tuple(row)] for row in kde.X_} for kde in detector.estimators_]
        np.testing.assert_array_equal(detector.score_fitted_rows(), 0)
        assert sorted(group for fit in seen for group in fit) == sorted("bcdefghij" * 3)
        np.testing.assert_array_equal(
            detector.fit_predict(X, groups=groups) == -1, detector.p_values_of_fitted_rows() <= 0.1
        )


@pytest.mark.parametrize("enabled", [False, True])
def test_splitters_are_asked_as_searches_ask_them(rng, enabled):
    X, y, groups = rng.standard_normal((60, 2)), np.arange(60) % 2, np.arange(60) // 6
    with config_context(enable_metadata_routing=enabled):
        detector = FlowOutlierDetector(Recorder(), cv=GroupKFold(3)).fit(X, groups=groups)
        for estimator, (train, _) in zip(
            detector.estimators_, GroupKFold(3).split(X, groups=groups), strict=True
        ):
            np.testing.assert_array_equal(estimator.X_, X[train])
            assert estimator.y_ is None
        with pytest.raises(ValueError, match="'groups' parameter should not be None"):
            detector.fit(X)
        folds = StratifiedKFold(3)
        detector = FlowOutlierDetector(Recorder(), cv=folds).fit(X, y)
        for estimator, (train, _) in zip(detector.estimators_, folds.split(X, y), strict=True):
            np.testing.assert_array_equal(estimator.X_, X[train])
            np.testing.assert_array_equal(estimator.y_, y[train])
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            detector.fit(X, y[1:])


def counts(rng, n):
    return (rng.poisson(1.0, size=(n, 1)) + rng.poisson(0.5, size=(n, 3))).astype(float)


@pytest.mark.parametrize("estimator", [NARROW, GaussianMixture(2, reg_covar=0.01)])
def test_ties_give_no_more_alarms(rng, estimator):
    alphas = np.array([0.01, 0.05, 0.1, 0.2, 0.3, 0.5])
    shares, flagged = [], []
    for seed in range(25):
        X, new = counts(rng, 100), counts(rng, 300)
        detector = FlowOutlierDetector(estimator, contamination=0.1, random_state=seed).fit(X)
        shares.append((detector.p_values(new)[:, None] <= alphas).mean(axis=0))
        flagged.append(share_flagged(detector, new))
    shares = np.column_stack([shares, flagged])
    error = shares.std(axis=0, ddof=1) / 5
    assert (shares.mean(axis=0) <= [*alphas, 0.1] + 2 * error).all()


def test_p_values_count_rows_that_are_as_unlikely(rng):
    X, new = rng.integers(5, size=(50, 1)).astype(float), np.arange(-2.0, 8)[:, None]
    detector = FlowOutlierDetector(KernelDensity(), cv=KFold(5)).fit(X)
    scores, fitted = detector.score_samples(new), detector.score_fitted_rows()
    slow = [(1 + sum(s <= score for s in fitted)) / 51 for score in scores]
    np.testing.assert_allclose(detector.p_values(new), slow)
    slow = [sum(s <= score for s in fitted) / 50 for score in fitted]
    np.testing.assert_allclose(detector.p_values_of_fitted_rows(), slow)

    detector = FlowOutlierDetector(KernelDensity(), cv=ONE_SPLIT).fit(X)
    _, test = next(ONE_SPLIT.split(X))
    seen = np.setdiff1d(np.arange(50), test)
    expected = detector.p_values(X)
    expected[test] = (26 * expected[test] - 1) / 25  # it has counted itself already
    np.testing.assert_allclose(detector.p_values_of_fitted_rows(), expected)
    np.testing.assert_allclose(detector.score_fitted_rows()[seen], detector.score_samples(X[seen]))


def test_p_values_of_one_split_are_valid(rng):
    alphas = np.array([0.01, 0.05, 0.1, 0.5])
    n_repeats = 200
    as_low = np.zeros(len(alphas))
    for _ in range(n_repeats):
        X = rng.standard_t(2, size=(201, 2))
        detector = FlowOutlierDetector(NARROW, cv=ONE_SPLIT).fit(X[:-1])
        as_low += detector.p_values(X[-1:]) <= alphas
    # One new row for each fit: draws are independent. 100 rows calibrate: alpha is attained.
    expected = np.floor(alphas * 101) / 101
    assert (as_low <= binom.ppf(0.999, n_repeats, expected)).all()
    assert (as_low >= binom.ppf(0.001, n_repeats, expected)).all()


def test_p_values_of_several_fits_err_on_the_safe_side(rng):
    X, new = rng.standard_t(2, size=(300, 2)), rng.standard_t(2, size=(3000, 2))
    p = FlowOutlierDetector(NARROW, random_state=0).fit(X).p_values(new)
    for alpha in (0.05, 0.1, 0.5):
        error = np.sqrt(alpha * (1 - alpha) * (1 / 300 + 1 / 3000))
        assert np.mean(p <= alpha) < alpha + 3 * error


def test_infinite_and_undefined_scores_are_the_lowest(rng):
    X = rng.uniform(size=(50, 1))

    def log_density(X):
        return np.select(
            [X[:, 0] > 4, X[:, 0] > 3, X[:, 0] > 2], [np.nan, np.inf, -np.inf], -X[:, 0]
        )

    detector = FlowOutlierDetector(Table(log_density), random_state=0).fit(X)
    odd = np.array([[2.5], [3.5], [4.5], [0.0]])
    scores = detector.score_samples(odd)
    np.testing.assert_array_equal(scores[[0, 2]], -np.inf)
    assert np.isfinite(scores[[1, 3]]).all()
    np.testing.assert_allclose(detector.p_values(odd), [1 / 51, 1, 1 / 51, 1])
    np.testing.assert_array_equal(detector.predict(odd), [-1, 1, -1, 1])
    np.testing.assert_array_equal(detector.explain(odd)[[0, 2]], np.inf)
    # With rows like these among the fitted ones, too.
    for n_odd, n_flagged in [(3, 5), (5, 5), (8, 0)]:
        X[:n_odd] = np.linspace(4.1, 5, n_odd)[:, None]
        labels = detector.fit_predict(X)
        assert (labels == -1).sum() == n_flagged  # ties are not told apart
        assert not np.isnan(detector.decision_function(X)).any()
        np.testing.assert_allclose(detector.p_values(odd[:1]), (1 + n_odd) / 51)


def test_too_few_rows_for_the_contamination(rng):
    X = rng.standard_normal((30, 2))
    detector = FlowOutlierDetector(NARROW, contamination=0.01, random_state=0)
    with pytest.warns(UserWarning, match=r"calls for 99 rows .* and 30 were held out.*one in 31"):
        detector.fit(X)
    labels = detector.set_params(contamination=0.1).fit_predict(X)
    assert (labels == -1).sum() == 3
    detector.set_params(contamination=0.02)
    with pytest.warns(UserWarning, match="contamination=0.02 calls for 49 rows"):
        detector.predict(X)


def test_parameters_of_fit_are_those_of_the_rows(rng):
    X, weights = rng.standard_normal((40, 2)), rng.uniform(size=40)
    folds = KFold(2)
    expected = np.empty(40)
    for train, test in folds.split(X):
        density = KernelDensity().fit(X[train], sample_weight=weights[train])
        expected[test] = density.score_samples(X[test])
    detector = FlowOutlierDetector(KernelDensity(), cv=folds).fit(X, sample_weight=weights)
    np.testing.assert_allclose(detector.calibration_scores_, expected)

    pipeline = make_pipeline("passthrough", KernelDensity())
    detector = FlowOutlierDetector(pipeline, cv=folds)
    detector.fit(X, kerneldensity__sample_weight=weights)
    np.testing.assert_allclose(detector.calibration_scores_, expected)

    with config_context(enable_metadata_routing=True):
        asking = KernelDensity().set_fit_request(sample_weight=True)
        for estimator in (asking, make_pipeline("passthrough", asking)):
            detector = FlowOutlierDetector(estimator, cv=folds).fit(X, sample_weight=weights)
            np.testing.assert_allclose(detector.calibration_scores_, expected)
            detector.fit_predict(X, sample_weight=weights)
        with pytest.raises(TypeError, match="unexpected argument"):
            FlowOutlierDetector(asking).fit(X, colour=weights)


@pytest.mark.usefixtures("quick_mixtures")
def test_seeds(rng):
    X, new = rng.standard_normal((40, 2)), rng.standard_normal((10, 2))
    flow = RelativeGradientFlow(n_layers=1, max_iter=2)
    pipeline = make_pipeline(StandardScaler(), flow)
    first, again, other = (
        FlowOutlierDetector(pipeline, cv=3, random_state=seed).fit(X).score_samples(new)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    own = FlowOutlierDetector(flow.set_params(random_state=7), cv=3, random_state=0).fit(X)
    assert {estimator.random_state for estimator in own.estimators_} == {7}
    assert flow.random_state == 7
    assert not hasattr(flow, "flow_")


def test_fits_in_parallel_are_the_same(rng):
    X = rng.standard_normal((100, 2))
    detector = FlowOutlierDetector(NARROW, random_state=0).fit(X)
    with joblib.parallel_config(backend="threading"):
        parallel = FlowOutlierDetector(NARROW, n_jobs=2, random_state=0).fit(X)
    np.testing.assert_array_equal(parallel.calibration_scores_, detector.calibration_scores_)


def test_a_search_may_choose_the_density(rng):
    X = rng.standard_normal((60, 2))
    search = GridSearchCV(KernelDensity(), {"bandwidth": [0.01, 0.5]}, cv=3)
    detector = FlowOutlierDetector(search, random_state=0).fit(X)
    assert {estimator.best_params_["bandwidth"] for estimator in detector.estimators_} == {0.5}
    assert (detector.fit_predict(X) == -1).sum() == 6


@pytest.fixture
def survey(rng):
    """Rows with names, holes and categories."""
    height = rng.normal(170, 10, size=120)
    return pd.DataFrame(
        {
            "sex": rng.choice(["f", "m"], size=120),
            "height": np.where(rng.uniform(size=120) < 0.1, np.nan, height),
            "weight": height - 100 + rng.normal(0, 5, size=120),
        }
    )


def by_name(density):
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["height", "weight"]),
        (OneHotEncoder(sparse_output=False), ["sex"]),
    )
    return make_pipeline(columns, density)


# Encoded categories are columns of 0 and 1.
@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.filterwarnings("ignore::skflow.exceptions.ColumnWarning")
@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_pipelines_with_names_holes_and_encoders(survey, kind):
    X = survey if kind == "pandas" else pl.DataFrame(survey.to_dict("list")).fill_nan(None)
    groups = np.arange(120) // 2
    for density in (NARROW, RelativeGradientFlow(n_layers=1, max_iter=1)):
        detector = FlowOutlierDetector(by_name(density), cv=3, random_state=0)
        assert (detector.fit_predict(X, groups=groups) == -1).sum() == 12
        assert list(detector.feature_names_in_) == ["sex", "height", "weight"]
        # Equals what is fitted to the rows by hand, and holds for new frames of the same kind.
        np.testing.assert_allclose(detector.score_samples(X)[:5], detector.score_samples(X[:5]))
        assert detector.estimators_[0][0].feature_names_in_[0] == "sex"
        surprise = detector.explain(X[:40])
        missing = np.isnan(X["height"].to_numpy().astype(float))[:40]
        assert missing.any()
        np.testing.assert_array_equal(surprise[:, 1] == 0, missing)
        assert np.isfinite(surprise).all()
    with pytest.raises(ValueError, match="contains NaN"):
        FlowOutlierDetector(NARROW).fit(X[["height", "weight"]])  # as the estimator says it


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_explain_with_columns_by_name(survey, kind):
    survey = survey.assign(sex=survey["sex"] == "f").dropna()
    X = survey if kind == "pandas" else pl.DataFrame(survey.to_dict("list"))
    scaler = make_column_transformer((StandardScaler(), ["weight", "height"]))
    detector = FlowOutlierDetector(make_pipeline(scaler, KernelDensity()), cv=KFold(3)).fit(X)
    plain = FlowOutlierDetector(make_pipeline(StandardScaler(), KernelDensity()), cv=KFold(3))
    plain.fit(survey[["height", "weight"]].to_numpy())
    surprise = detector.explain(X[:4], fitted_rows=[0, 1, 2, 3])
    expected = plain.explain(survey[["height", "weight"]].to_numpy()[:4], [0, 1, 2, 3])
    np.testing.assert_allclose(surprise[:, 1:], expected)
    np.testing.assert_allclose(surprise[:, 0], 0, atol=1e-12)  # the pipeline leaves it out


def test_sparse_rows_and_lists(rng):
    X = rng.poisson(0.5, size=(60, 5)).astype(float)
    X[:, 0] = rng.standard_normal(60)
    detector = FlowOutlierDetector(KernelDensity(), random_state=0).fit(X)
    for kind in (csr_matrix, np.ndarray.tolist):
        if kind is csr_matrix:
            estimator = make_pipeline(StandardScaler(with_mean=False, with_std=False), Dense())
        else:
            estimator = KernelDensity()
        other = FlowOutlierDetector(estimator, random_state=0).fit(kind(X))
        np.testing.assert_allclose(other.score_fitted_rows(), detector.score_fitted_rows())
        np.testing.assert_allclose(other.score_samples(kind(X)), detector.score_samples(X))
        np.testing.assert_allclose(other.explain(kind(X[:3])), detector.explain(X[:3]))


@pytest.mark.usefixtures("array_api", "quick_mixtures")
def test_tensors(rng):
    X = rng.standard_normal((40, 2))
    flow = RelativeGradientFlow(n_layers=1, max_iter=1, random_state=0, device="cpu")
    of_arrays, of_tensors = (
        FlowOutlierDetector(flow, cv=KFold(3)).fit(rows) for rows in (X, torch.from_numpy(X))
    )
    new = rng.standard_normal((5, 2))
    for method in ("score_samples", "predict", "p_values", "explain"):
        given, expected = (
            getattr(of_tensors, method)(torch.from_numpy(new)),
            getattr(of_arrays, method)(new),
        )
        assert isinstance(given, np.ndarray)
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-6)


def test_names_and_pickles(rng):
    frame = pd.DataFrame(rng.standard_normal((50, 2)), columns=["a", "b"])
    detector = FlowOutlierDetector(NARROW, random_state=0).fit(frame)
    assert list(detector.feature_names_in_) == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        detector.predict(frame[["b", "a"]])
    reloaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(reloaded.score_samples(frame), detector.score_samples(frame))


def test_errors_leave_the_detector_as_it_was(rng):
    X = rng.standard_normal((50, 2))
    detector = FlowOutlierDetector(NARROW, random_state=0).fit(X)
    before = detector.score_samples(X)
    for parameters, message in [
        ({"estimator": StandardScaler()}, "'estimator' parameter .* 'score_samples'"),
        ({"contamination": 0.0}, "'contamination' parameter .* Got 0.0"),
        ({"cv": 2}, "'cv' parameter"),
        ({"cv": [(np.arange(50), [])]}, "cv must hold rows out to calibrate with"),
        ({"cv": 51}, r"cv=51 .* and X has 50 "),
        ({"estimator": KernelDensity(bandwidth=-1.0)}, "'bandwidth' parameter"),
    ]:
        kept = detector.get_params(deep=False)
        with pytest.raises(ValueError, match=message):
            detector.set_params(**parameters).fit(X[:, :1])
        np.testing.assert_array_equal(detector.set_params(**kept).score_samples(X), before)


def gaussian(covariance):
    precision = np.linalg.inv(covariance)
    _, log_det = np.linalg.slogdet(2 * np.pi * covariance)
    return lambda X: -0.5 * (np.einsum("ij,jk,ik->i", X, precision, X) + log_det)


def test_explain_knows_what_is_usual_given_the_others(rng):
    covariance = np.array([[1, 0.95, 0], [0.95, 1, 0], [0, 0, 1e-6]])
    X = rng.multivariate_normal(np.zeros(3), covariance, size=1000)
    detector = FlowOutlierDetector(Table(gaussian(covariance)), random_state=0).fit(X)
    central = X[(np.abs(X[:, :2]) < 1).all(axis=1)][:50]
    odd = central + rng.choice([0, 2], size=(50, 3)) * np.sqrt(np.diag(covariance))
    precision = np.linalg.inv(covariance)
    residuals = odd @ precision / np.sqrt(np.diag(precision))  # given the others
    expected = (residuals**2 - 1) / 2
    np.testing.assert_allclose(detector.explain(odd), expected, atol=0.3)
    assert np.abs(detector.explain(odd) - expected).mean() < 0.05


def test_explain_sums_to_the_surprise_of_independent_columns(rng):
    covariance = np.diag([1.0, 4.0, 1e4])
    X = rng.standard_normal((500, 3)) * np.sqrt(np.diag(covariance))
    detector = FlowOutlierDetector(Table(gaussian(covariance)), random_state=0).fit(X)
    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
    surprise = -detector.score_samples(X) - entropy
    np.testing.assert_allclose(detector.explain(X).sum(axis=1), surprise, atol=0.2)


def test_explain_names_the_entry_that_is_wrong(rng):
    mixing = rng.standard_normal((6, 2))
    X = rng.standard_normal((500, 2)) @ mixing.T + 0.1 * rng.standard_normal((500, 6))
    scale = 10.0 ** np.arange(-3, 3)  # units do not matter
    detector = FlowOutlierDetector(GaussianMixture(reg_covar=0.0), random_state=0).fit(X * scale)
    wrong, column = X[:100].copy(), rng.integers(6, size=100)
    wrong[np.arange(100), column] = X[100:200][np.arange(100), column]  # ordinary by itself
    surprise = detector.explain(wrong * scale)
    outlying = detector.p_values(wrong * scale) < 0.01
    assert outlying.mean() > 0.5
    assert (surprise.argmax(axis=1) == column)[outlying].mean() > 0.9
    assert abs(detector.explain(X * scale).mean()) < 0.1  # zero for rows like the others


def test_explain_scores_fitted_rows_by_those_that_held_them_out(rng):
    X = rng.standard_normal((100, 2))
    detector = FlowOutlierDetector(NARROW, cv=KFold(2), random_state=0).fit(X)
    for rows, k in ((slice(0, 3), 0), (slice(60, 63), 1)):
        alone = FlowOutlierDetector(Table(detector.estimators_[k].score_samples)).fit(X)
        surprise = detector.explain(X[rows], fitted_rows=np.arange(100)[rows])
        np.testing.assert_allclose(surprise, alone.explain(X[rows]))
    assert np.abs(detector.explain(X[:3]) - detector.explain(X[:3], [0, 1, 2])).min() > 1e-6
    for wrong in ([0, 1], [0, 1, 100], [-1, 1, 2], [0.0, 1.0, 2.0], [[0, 1, 2]]):
        with pytest.raises(ValueError, match=r"one position for each of the 3 rows .* 0 to 99"):
            detector.explain(X[:3], wrong)


@pytest.mark.parametrize(
    ("entry", "message"),
    [(np.nan, "NaN"), (np.inf, r"infinities, or entries that are none of these, in column 1\.")],
)
def test_explain_refuses_infinities_and_what_the_estimator_refuses(rng, entry, message):
    X = rng.standard_normal((30, 2))
    detector = FlowOutlierDetector(KernelDensity(), contamination=0.2, random_state=0).fit(X)
    X[1, 1] = entry
    with pytest.raises(ValueError, match=message):
        detector.explain(X)


@pytest.mark.usefixtures("quick_mixtures")
def test_verbose(rng, capsys):
    X = rng.standard_normal((40, 2))
    for n_jobs in (None, 2):
        with joblib.parallel_config(backend="threading"):
            FlowOutlierDetector(NARROW, verbose=True, n_jobs=n_jobs).fit(X)
        lines = capsys.readouterr().out.splitlines()
        assert lines == [f"FlowOutlierDetector: fit {k} of 5" for k in (1, 2, 3, 4, 5)]
    FlowOutlierDetector(NARROW).fit(X)
    assert not capsys.readouterr().out
    flow = RelativeGradientFlow(n_layers=1, max_iter=1)
    for estimator in (flow, make_pipeline(StandardScaler(), flow)):
        detector = FlowOutlierDetector(estimator, cv=3, verbose=True).fit(X)
        headings = capsys.readouterr().out.split("FlowOutlierDetector: fit ")[1:]
        assert [heading[:6] for heading in headings] == ["1 of 3", "2 of 3", "3 of 3"]
        assert all("epoch" in heading for heading in headings)
        assert detector.estimator is estimator
        assert flow.verbose is False


def test_explain_where_there_is_no_density(rng):
    X = np.column_stack([rng.uniform(size=(100, 2)), np.ones(100)])
    estimator = KernelDensity(kernel="tophat", bandwidth=0.5)
    detector = FlowOutlierDetector(estimator, random_state=0).fit(X)
    surprise = detector.explain([[0.5, 0.5, 1], [9, 0.5, 1], [0.5, 0.5, 9], [9, 9, 1]])
    assert np.isfinite(surprise[0]).all()
    np.testing.assert_array_equal(surprise[1:] == np.inf, [[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(surprise[3], 0)  # no entry alone is to blame


def test_explain_in_blocks(rng):
    X, grid = rng.standard_normal((30, 3)), grid_of(rng.standard_normal((3, 100)))
    log_density = gaussian(np.eye(3) + 0.5)
    shift = rng.standard_normal(30)  # each row has its own density

    def of_rows(hybrids, of_row):
        return log_density(hybrids) + shift[of_row]

    whole = excess_surprise(of_rows, X, grid)
    np.testing.assert_allclose(excess_surprise(of_rows, X, grid, block_entries=1), whole)
