"""Outliers: thresholds that new rows keep, and which entry of a row is to blame."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold, RepeatedKFold, ShuffleSplit
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skflow import FlowOutlierDetector, RelativeGradientFlow

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
    """A density that is higher by a nat at the rows that it was fitted to."""

    def fit(self, X, y=None):
        self.X_ = X
        return self

    def score_samples(self, X):
        return np.isin(X[:, 0], self.X_[:, 0]).astype(float)


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
    check(estimator)


def share_flagged(detector, X):
    return np.mean(detector.predict(X) == -1)


@pytest.mark.parametrize("contamination", [0.02, 0.1])
def test_fitted_and_new_rows_are_flagged_alike(rng, contamination):
    X, new = rng.standard_normal((500, 3)), rng.standard_normal((4000, 3))
    detector = FlowOutlierDetector(NARROW, contamination=contamination, random_state=0)
    assert (detector.fit_predict(X) == -1).sum() == 500 * contamination
    # What is calibrated has an error, too; mixtures err on the side of fewer.
    error = np.sqrt(contamination * (1 - contamination) * (1 / 500 + 1 / 4000))
    assert contamination / 2 < share_flagged(detector, new) < contamination + 3 * error
    scores = NARROW.fit(X).score_samples
    assert np.mean(scores(new) < np.quantile(scores(X), contamination)) > 3 * contamination


def test_contamination_changes_without_a_fit(rng):
    X = rng.standard_normal((200, 2))
    detector = FlowOutlierDetector(NARROW, contamination=0.1, random_state=0).fit(X)
    scores = detector.score_samples(X)
    for contamination, n_flagged in [(0.25, 50), (0.01, 2), (0.5, 100)]:
        detector.set_params(contamination=contamination)
        assert (detector.predict(X) == -1).sum() == n_flagged
        assert (scores < detector.offset_).sum() == n_flagged
        np.testing.assert_array_equal(detector.decision_function(X), scores - detector.offset_)
    with pytest.raises(ValueError, match=r"contamination == 0.7, must be <= 0.5"):
        _ = detector.set_params(contamination=0.7).offset_


def test_rows_are_scored_by_those_that_have_not_seen_them(rng):
    X, new = rng.standard_normal((60, 2)), rng.standard_normal((20, 2))
    folds = KFold(3, shuffle=True, random_state=0)
    detector = FlowOutlierDetector(NARROW, cv=folds).fit(X)
    of_fitted, of_new = np.empty(60), np.empty((3, 20))
    for k, (train, test) in enumerate(folds.split(X)):
        density = KernelDensity(bandwidth=0.2).fit(X[train])
        of_fitted[test] = density.score_samples(X[test])
        of_new[k] = density.score_samples(new)
    np.testing.assert_allclose(detector.calibration_scores_, of_fitted)
    order = rng.permutation(60)
    np.testing.assert_allclose(detector.score_samples(X[order]), of_fitted[order])
    mixture = np.log(np.exp(of_new).mean(axis=0))
    np.testing.assert_allclose(detector.score_samples(new), mixture)


def test_each_row_is_held_out_from_two_fits(rng):
    X = rng.standard_normal((42, 1))
    detector = FlowOutlierDetector(Recorder(), random_state=0).fit(X)
    fitted = np.array([np.isin(X[:, 0], estimator.X_[:, 0]) for estimator in detector.estimators_])
    np.testing.assert_array_equal((~fitted).sum(axis=0), 2)
    shares = fitted.mean(axis=1)
    assert len(shares) == 5
    np.testing.assert_allclose(shares, 0.6, atol=0.03)
    assert (np.diff(np.flatnonzero(~fitted[0])) > 1).any()  # in random order
    np.testing.assert_array_equal(detector.score_samples(X), 0)


def test_a_row_is_known_by_its_values(rng):
    X = rng.standard_normal((40, 2)).astype(np.float32)
    X[0] = [0.0, 1.0]
    detector = FlowOutlierDetector(NARROW, random_state=0).fit(X)
    scores = detector.score_samples(X)
    np.testing.assert_allclose(detector.score_samples(X.astype(float).tolist()), scores, rtol=1e-5)
    np.testing.assert_allclose(detector.score_samples([[-0.0, 1.0]]), scores[:1], rtol=1e-5)
    nearly = np.nextafter(X, np.float32(9))
    assert (detector.score_samples(nearly) > scores).mean() > 0.9  # three of five have seen it


def test_equal_rows_share_their_judges():
    X = np.repeat(np.arange(8.0), [1, 2, 1, 1, 1, 1, 1, 2])[:, None]
    splits = [([0, 1, 3, 4, 6], [2, 5, 7]), ([2, 5, 7, 8, 9], [0, 1, 3, 4, 6])]
    detector = FlowOutlierDetector(KernelDensity(), contamination=0.3, cv=splits).fit(X)
    first, second = (KernelDensity().fit(X[train]).score_samples(X) for train, _ in splits)
    both = np.logaddexp(first, second) - np.log(2)
    # The rows 1 and 2 are equal, and held out by different splits; 8 and 9 by none.
    expected = [second[0], both[1], both[2], second[3], second[4], first[5], second[6], first[7]]
    np.testing.assert_allclose(detector.calibration_scores_, expected)
    np.testing.assert_allclose(detector.score_samples(X), [*expected, both[8], both[9]])


def test_p_values_count_rows_that_are_as_unlikely(rng):
    X, new = rng.integers(5, size=(50, 1)).astype(float), np.arange(-2.0, 8)[:, None]
    detector = FlowOutlierDetector(KernelDensity(), random_state=0).fit(X)
    scores = detector.score_samples(new)
    slow = [(1 + sum(s <= score for s in detector.calibration_scores_)) / 51 for score in scores]
    np.testing.assert_allclose(detector.p_values(new), slow)


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
    odd = [[2.5], [3.5], [4.5], [0.0]]
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
    detector.set_params(contamination=0.1)
    assert share_flagged(detector, X) == 0.1
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


def test_the_default_is_a_flow(rng):
    X = rng.standard_normal((40, 2))
    detector = FlowOutlierDetector(cv=3, random_state=0).fit(X)
    assert [type(estimator) for estimator in detector.estimators_] == [RelativeGradientFlow] * 3
    np.testing.assert_array_equal(detector.predict([[0.0, 0.0], [50.0, -50.0]]), [1, -1])


def test_a_search_may_choose_the_density(rng):
    X = rng.standard_normal((60, 2))
    search = GridSearchCV(KernelDensity(), {"bandwidth": [0.01, 0.5]}, cv=3)
    detector = FlowOutlierDetector(search, random_state=0).fit(X)
    assert {estimator.best_params_["bandwidth"] for estimator in detector.estimators_} == {0.5}
    assert (detector.predict(X) == -1).sum() == 6


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
        ({"cv": 51}, "n_splits=51 greater than the number of samples"),
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
    alone = FlowOutlierDetector(Table(detector.estimators_[0].score_samples)).fit(X)
    np.testing.assert_allclose(detector.explain(X[:3]), alone.explain(X[:3]))


def test_explain_where_there_is_no_density(rng):
    X = np.column_stack([rng.uniform(size=(100, 2)), np.ones(100)])
    estimator = KernelDensity(kernel="tophat", bandwidth=0.5)
    detector = FlowOutlierDetector(estimator, random_state=0).fit(X)
    surprise = detector.explain([[0.5, 0.5, 1], [9, 0.5, 1], [0.5, 0.5, 9], [9, 9, 1]])
    assert np.isfinite(surprise[0]).all()
    np.testing.assert_array_equal(surprise[1:] == np.inf, [[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(surprise[3], 0)  # no entry alone is to blame


def test_explain_in_blocks(rng, monkeypatch):
    X = rng.standard_normal((30, 3))
    detector = FlowOutlierDetector(NARROW, random_state=0).fit(X)
    whole = detector.explain(X)
    monkeypatch.setattr("skflow._conditionals._BLOCK_ENTRIES", 1)
    np.testing.assert_allclose(detector.explain(X), whole)
