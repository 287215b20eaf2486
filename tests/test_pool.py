"""A density pooled with stiff ones, and what detectors find by it."""

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import binom, multivariate_normal
from sklearn.base import BaseEstimator
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import ShuffleSplit
from sklearn.neighbors import KernelDensity
from sklearn.utils.estimator_checks import parametrize_with_checks

from skflow import FlowOutlierDetector, LogarithmicPool, RelativeGradientFlow
from skflow.exceptions import ColumnWarning
from skflow.training.stiff import stiff_densities

# It learns clumps: its bandwidth is about the distance between neighbours.
NARROW = KernelDensity(bandwidth=0.3)


class Told(BaseEstimator):
    """A density of one nat everywhere, which says what it was fitted with."""

    def fit(self, X, y=None, **params):
        self.fitted_with_ = params
        return self

    def score_samples(self, X):
        return np.ones(len(X))


@parametrize_with_checks([LogarithmicPool(KernelDensity())])
def test_sklearn_checks(estimator, check):
    check(estimator)


def curve_with_clump(seed):
    """Return 270 rows on a curve in four columns, and a clump of 30 beside it."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=(270, 1))
    noise = 0.2 * rng.normal(size=(270, 4))
    rows = np.hstack([t, t**2 / 2, np.sin(2 * t), t]) + noise
    clump = rng.normal([2, -1, 2, -2], 0.05, size=(30, 4))
    return np.vstack([rows, clump]), np.arange(300) >= 270


def area(detector, X, outlying):
    return roc_auc_score(outlying, -detector.fit(X).score_fitted_rows()[: len(outlying)])


def test_the_score_is_the_mean_of_three(rng):
    X, new = rng.standard_normal((2, 100, 3))
    pool = LogarithmicPool(NARROW).fit(X)
    flexible = NARROW.fit(X).score_samples(new)
    columns, copula = (
        flow.log_prob(torch.from_numpy(new)).numpy() for flow in (pool.columns_, pool.copula_)
    )
    mean = (flexible + columns + copula) / 3
    np.testing.assert_allclose(pool.score_samples(new), mean, atol=1e-9)
    again = pickle.loads(pickle.dumps(pool))
    np.testing.assert_array_equal(again.score_samples(new), pool.score_samples(new))


@pytest.mark.parametrize("seed", range(10))
def test_a_clump_that_a_flexible_density_learns_is_found(seed):
    X, outlying = curve_with_clump(seed)
    alone = area(FlowOutlierDetector(NARROW, random_state=seed), X, outlying)
    pooled = area(FlowOutlierDetector(LogarithmicPool(NARROW), random_state=seed), X, outlying)
    assert alone < 0.5
    assert pooled > 0.8


@pytest.mark.parametrize("value", [1e5, -1e9])
def test_one_absurd_row_hardly_moves_the_others(value):
    X, outlying = curve_with_clump(0)
    detector = FlowOutlierDetector(LogarithmicPool(NARROW), random_state=0)
    clean = area(detector, X, outlying)
    dirty = area(detector, np.vstack([X, np.full((1, 4), value)]), outlying)
    assert abs(dirty - clean) < 0.02
    assert detector.score_fitted_rows().argmin() == 300


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_default_finds_a_clump(seed):
    X, outlying = curve_with_clump(seed)
    flow = FlowOutlierDetector(RelativeGradientFlow(), random_state=seed)
    assert area(flow, X, outlying) < 0.3
    assert area(FlowOutlierDetector(random_state=seed), X, outlying) > 0.65


@pytest.mark.slow
def test_one_absurd_row_hardly_moves_the_default():
    rng = np.random.default_rng(0)
    t = rng.normal(size=(1500, 1))
    X = np.hstack([t, t**2, np.sin(2 * t)]) + 0.3 * rng.normal(size=(1500, 3))
    X[1450:] = np.column_stack([rng.permutation(column) for column in X[:200].T])[:50]
    outlying = np.arange(1500) >= 1450
    clean = area(FlowOutlierDetector(random_state=0), X, outlying)
    dirty = np.vstack([X, np.full((1, 3), 1e5)])
    assert clean > 0.6
    with pytest.warns(ColumnWarning, match="a few extreme values"):
        dirtied = area(FlowOutlierDetector(random_state=0), dirty, outlying)
    assert abs(dirtied - clean) < 0.02


def test_p_values_are_valid_for_clean_rows(rng):
    alphas = np.array([0.02, 0.1, 0.5])
    cv = ShuffleSplit(n_splits=1, test_size=0.5, random_state=0)
    n_repeats, as_low = 200, np.zeros(3)
    for _ in range(n_repeats):
        X = rng.standard_t(2, size=(201, 2))
        detector = FlowOutlierDetector(LogarithmicPool(NARROW), cv=cv).fit(X[:-1])
        as_low += detector.p_values(X[-1:]) <= alphas
    expected = np.floor(alphas * 101) / 101
    assert (as_low <= binom.ppf(0.999, n_repeats, expected)).all()
    assert (as_low >= binom.ppf(0.001, n_repeats, expected)).all()


def test_p_values_of_several_fits_err_on_the_safe_side(rng):
    X, new = rng.standard_t(2, size=(300, 2)), rng.standard_t(2, size=(3000, 2))
    p = FlowOutlierDetector(LogarithmicPool(NARROW), random_state=0).fit(X).p_values(new)
    for alpha in (0.05, 0.1, 0.5):
        error = np.sqrt(alpha * (1 - alpha) * (1 / 300 + 1 / 3000))
        assert np.mean(p <= alpha) < alpha + 3 * error


def test_the_copula_knows_correlations(rng):
    covariance = np.full((3, 3), 0.9) + 0.1 * np.eye(3)
    X = rng.multivariate_normal(np.zeros(3), covariance, 2000)
    positive = torch.from_numpy(np.exp(X))
    columns, copula = (
        density.log_prob(positive).numpy() + X.sum(axis=1) for density in stiff_densities(positive)
    )
    truth = multivariate_normal(np.zeros(3), covariance).logpdf(X)
    assert abs(np.mean(truth - copula)) < 0.4
    assert np.mean(truth - columns) > 1


def test_independent_columns_are_those_of_clean_rows(rng):
    clean = rng.normal([5, -3], [0.1, 20], size=(1000, 2))
    dirty = clean.copy()
    dirty[:50] = [9, 900]
    density, _ = stiff_densities(torch.from_numpy(dirty))
    log_density = density.log_prob(torch.from_numpy(clean[50:])).numpy()
    normal = multivariate_normal([5, -3], np.diag([0.01, 400])).logpdf(clean[50:])
    # Student's t is so far from a normal distribution in itself.
    assert abs(np.mean(normal - log_density)) < 0.25
    assert np.corrcoef(normal, log_density)[0, 1] > 0.9


def test_atoms_have_bounded_densities(rng):
    X = np.column_stack([rng.normal(size=500), rng.random(500) < 0.03, np.ones(500)])
    for density in stiff_densities(torch.from_numpy(X)):
        scores = density.log_prob(torch.from_numpy(X))
        assert scores.isfinite().all()
        assert scores.max() < 15
        assert scores[X[:, 1] == 1].max() < scores[X[:, 1] == 0].median()


def test_weights_are_copies(rng):
    X = rng.standard_normal((60, 2))
    weights = rng.integers(1, 4, 60)
    weighted = LogarithmicPool(KernelDensity()).fit(X, sample_weight=weights)
    copied = LogarithmicPool(KernelDensity()).fit(np.repeat(X, weights, axis=0))
    np.testing.assert_allclose(weighted.score_samples(X), copied.score_samples(X), atol=1e-6)


def test_weights_reach_the_estimator_only_if_there_are_any(rng):
    X = rng.standard_normal((20, 2))
    assert LogarithmicPool(Told()).fit(X).estimator_.fitted_with_ == {}
    told = LogarithmicPool(Told()).fit(X, sample_weight=np.ones(20)).estimator_.fitted_with_
    assert list(told) == ["sample_weight"]


def test_many_rows_and_small_numbers(rng):
    X = rng.standard_normal((12_000, 2)).astype(np.float32)
    pool = LogarithmicPool(GaussianMixture()).fit(X, sample_weight=None)
    scores = pool.score_samples(X)
    assert scores.dtype == np.float64
    normal = multivariate_normal([0, 0]).logpdf(X)
    assert np.corrcoef(scores, normal)[0, 1] > 0.95
    weighted, _ = stiff_densities(torch.from_numpy(X), torch.ones(12_000, dtype=torch.float64))
    np.testing.assert_allclose(
        weighted.log_prob(torch.from_numpy(X[:9]).double()),
        pool.columns_.log_prob(torch.from_numpy(X[:9]).double()),
        atol=1e-3,
    )


def test_the_default_pools_a_flow_and_speaks(rng, capsys):
    X = rng.standard_normal((40, 2))
    detector = FlowOutlierDetector(cv=ShuffleSplit(1, test_size=0.5, random_state=0), verbose=True)
    (fitted,) = detector.set_params(random_state=0).fit(X).estimators_
    assert isinstance(fitted, LogarithmicPool)
    assert isinstance(fitted.estimator_, RelativeGradientFlow)
    assert "epoch" in capsys.readouterr().out
    np.testing.assert_array_equal(detector.predict([[0.0, 0.0], [50.0, -50.0]]), [1, -1])
    again = FlowOutlierDetector(cv=detector.cv, random_state=0).fit(X)
    np.testing.assert_array_equal(again.calibration_scores_, detector.calibration_scores_)


def test_a_failed_fit_leaves_the_pool_as_it_was(rng):
    pool = LogarithmicPool(KernelDensity()).fit(rng.standard_normal((20, 2)))
    before = pool.score_samples([[0.0, 1.0]])
    with pytest.raises(ValueError, match="minimum of 2"):
        pool.fit([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(pool.score_samples([[0.0, 1.0]]), before)
