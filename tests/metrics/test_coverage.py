import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, kstest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import RelativeGradientFlow
from skflow.metrics import highest_density_coverage


class Normal:
    """A density that is known: normal, with a standard deviation in each column."""

    def __init__(self, scale):
        self.scale = np.asarray(scale)

    def sample(self, n_samples, random_state):
        return self.scale * random_state.standard_normal((n_samples, len(self.scale)))

    def score_samples(self, X):
        return -0.5 * ((X / self.scale) ** 2).sum(axis=1)  # up to a constant


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.5])
def test_known_coverage(scale):
    # A region is a ball, and holds what a chi-squared variable says.
    X = np.random.default_rng(0).normal(size=(20_000, 3))
    result = highest_density_coverage(Normal([scale] * 3), X, n_samples=50_000, random_state=0)
    expected = chi2.cdf(scale**2 * chi2.ppf(result.levels, 3), 3)
    np.testing.assert_allclose(result.coverage, expected, atol=0.012)
    x = np.linspace(0, 30, 10_000)
    gap = abs(chi2.cdf(scale**2 * x, 3) - chi2.cdf(x, 3)).max()
    assert result.statistic == pytest.approx(gap, abs=0.012)
    assert (result.pvalue > 0.01) == (scale == 1)


def test_pvalues_and_standard_errors_if_the_model_is_right():
    rng = np.random.default_rng(0)
    results = [
        highest_density_coverage(
            Normal([1, 2]), rng.normal(size=(300, 2)) * [1, 2], n_samples=600, random_state=seed
        )
        for seed in range(300)
    ]
    assert kstest([result.pvalue for result in results], "uniform").pvalue > 0.01
    coverage = np.array([result.coverage for result in results])
    levels, expected = results[0].levels, results[0].standard_error
    np.testing.assert_allclose(coverage.mean(0), levels, atol=0.01)
    np.testing.assert_allclose(coverage.std(0), expected, rtol=0.15)


def test_what_it_cannot_see():
    # As much too wide in one direction as it is too narrow in the other, nearly.
    X = np.random.default_rng(0).normal(size=(1000, 2))
    too_wide, too_narrow = 1.15, 0.89
    result = highest_density_coverage(Normal([too_wide, too_narrow]), X, random_state=0)
    assert result.pvalue > 0.05


def test_good_and_overfitted_models_are_told_apart(moons):
    overfitted = KernelDensity(bandwidth=0.01).fit(moons.X)
    good, bad = (
        highest_density_coverage(model, moons.X_test, levels=[0.5, 0.9], random_state=0)
        for model in (moons.flow, overfitted)
    )
    np.testing.assert_allclose(good.coverage, good.levels, atol=0.1)
    assert (bad.coverage < bad.levels - 0.3).all()
    assert bad.pvalue < 1e-20


@pytest.mark.parametrize(
    "estimator",
    [
        GaussianMixture(2, random_state=0),
        GaussianMixture(2, random_state=None),
        KernelDensity(),
        RelativeGradientFlow(n_layers=1, max_iter=2, random_state=0),
    ],
    ids=repr,
)
def test_random_state_and_frames(estimator, rng):
    frame = pd.DataFrame(rng.normal(size=(100, 2)), columns=["a", "b"])
    estimator.fit(frame)
    before = vars(estimator).copy()
    first, again, other = (
        highest_density_coverage(estimator, frame, n_samples=200, random_state=seed)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.coverage, again.coverage)
    assert first.pvalue == again.pvalue
    assert not np.array_equal(other.coverage, first.coverage)
    assert vars(estimator) == before
    with pytest.raises(ValueError, match="feature names"):
        highest_density_coverage(estimator, frame[["b", "a"]])


def test_an_estimator_without_random_states(rng):
    class Plain(Normal):
        def sample(self, n_samples):
            return super().sample(n_samples, rng)

    result = highest_density_coverage(Plain([1.0]), rng.normal(size=(500, 1)))
    np.testing.assert_allclose(result.coverage, result.levels, atol=0.1)


def test_rows_outside_of_the_support_are_in_no_region(rng):
    model = KernelDensity(kernel="tophat").fit(rng.uniform(size=(50, 1)))
    result = highest_density_coverage(model, np.full((10, 1), 100.0), random_state=0)
    assert (result.coverage == 0).all()
    assert result.statistic == 1


def test_pipelines_and_searches(rng):
    X = rng.normal(size=(200, 2)) * [1, 100]
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(random_state=0))
    search = GridSearchCV(pipeline, {"gaussianmixture__n_components": [1, 2]}, cv=2).fit(X)
    scaler, mixture = search.best_estimator_
    of_search, of_pipeline, by_hand = (
        highest_density_coverage(estimator, rows, n_samples=500, random_state=0)
        for estimator, rows in (
            (search, X),
            (search.best_estimator_, X),
            (mixture, scaler.transform(X)),
        )
    )
    np.testing.assert_array_equal(of_search.coverage, by_hand.coverage)
    np.testing.assert_array_equal(of_pipeline.coverage, by_hand.coverage)
    assert of_search.pvalue > 0.05


def test_errors(rng):
    X = rng.normal(size=(20, 2))
    with pytest.raises(TypeError, match="must have a method score_samples"):
        highest_density_coverage(StandardScaler().fit(X), X)
    with pytest.raises(TypeError, match="Samples come from the method sample"):
        highest_density_coverage(PCA().fit(X), X)
    model = GaussianMixture().fit(X)
    for levels in ([0.5, 1.0], [], 0.5, [np.nan]):
        with pytest.raises(ValueError, match="levels must be a list of one or more numbers"):
            highest_density_coverage(model, X, levels=levels)
    with pytest.raises(ValueError, match="n_samples == 0, must be >= 1"):
        highest_density_coverage(model, X, n_samples=0)
    with pytest.raises(NotFittedError):
        highest_density_coverage(GaussianMixture(), X)
    broken = Normal([np.nan, 1])
    with pytest.raises(ValueError, match="score_samples must give no NaN"):
        highest_density_coverage(broken, X)
