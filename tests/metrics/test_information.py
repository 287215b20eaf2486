import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import DensityEnsemble, FlowOutlierDetector, RelativeGradientFlow
from skflow.metrics import entropy, kl_divergence, mutual_information

COVARIANCE = np.array([[1.0, 0.8, 0.3], [0.8, 2.0, -0.5], [0.3, -0.5, 0.7]])
# Estimates of ten seeds: one beyond this is a chance of 6 in 10,000 for all ten together.
MOST_ERRORS = 4


def gaussian(covariance, mean=0.0):
    """Return a mixture of one component whose parameters are known."""
    covariance = np.atleast_2d(np.asarray(covariance, dtype=float))
    n_features = len(covariance)
    model = GaussianMixture(random_state=0)
    model.weights_ = np.ones(1)
    model.means_ = np.full((1, n_features), mean)
    model.covariances_ = covariance[None]
    model.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(covariance))[None]
    model.n_features_in_ = n_features
    return model


def log_det(*columns):
    return np.linalg.slogdet(COVARIANCE[np.ix_(columns, columns)])[1]


def entropy_of_gaussian(covariance):
    covariance = np.atleast_2d(covariance)
    return 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]


def assert_unbiased(results, truth, most=MOST_ERRORS):
    """Compare results with the truth, one by one and in the mean, and their errors with theirs."""
    values = np.array([result.value for result in results])
    errors = np.array([result.standard_error for result in results])
    assert (abs(values - truth) < most * errors).all()
    assert abs(values.mean() - truth) < most * errors.mean() / np.sqrt(len(values))
    assert 0.3 < np.sqrt(np.mean((values - truth) ** 2)) / errors.mean() < 2


def test_entropy_of_a_gaussian():
    model = gaussian(COVARIANCE)
    results = [entropy(model, 2000, random_state=seed) for seed in range(10)]
    assert_unbiased(results, entropy_of_gaussian(COVARIANCE))
    # -log p is half a chi-squared variable and a constant.
    expected = np.sqrt(3 / 2 / 2000)
    assert np.mean([r.standard_error for r in results]) == pytest.approx(expected, rel=0.1)


def test_entropy_of_a_kernel_density_with_disjoint_kernels():
    # A uniform of 50 intervals of length 0.2.
    model = KernelDensity(kernel="tophat", bandwidth=0.1).fit(np.arange(50.0)[:, None])
    result = entropy(model, 100, random_state=0)
    assert result.value == pytest.approx(np.log(50 * 0.2))
    assert result.standard_error == pytest.approx(0, abs=1e-12)


def test_kl_divergence_of_gaussians():
    p, q = gaussian(COVARIANCE), gaussian(np.diag([2.0, 3.0, 1.0]), mean=0.5)
    precision = np.diag(1 / np.array([2.0, 3.0, 1.0]))
    truth = 0.5 * (
        np.trace(precision @ COVARIANCE)
        + 0.25 * precision.sum()
        - 3
        + np.log(6)
        - np.linalg.slogdet(COVARIANCE)[1]
    )
    results = [kl_divergence(p, q, 2000, random_state=seed) for seed in range(10)]
    assert_unbiased(results, truth)


def test_kl_divergence_of_the_same_density_is_exactly_zero():
    result = kl_divergence(gaussian(COVARIANCE), gaussian(COVARIANCE), 100, random_state=0)
    assert (result.value, result.standard_error) == (0, 0)


def test_kl_divergence_is_infinite_outside_of_the_support(rng):
    q = KernelDensity(kernel="tophat", bandwidth=0.5).fit(rng.normal(size=(20, 1)))
    result = kl_divergence(gaussian([1.0]), q, random_state=0)
    assert result.value == np.inf
    assert np.isnan(result.standard_error)
    assert kl_divergence(q, gaussian([1.0]), random_state=0).value > 0


@pytest.mark.parametrize("exact", [False, True])
def test_mutual_information_of_a_gaussian(exact):
    model = gaussian(COVARIANCE)
    marginals = None
    if exact:
        marginals = gaussian(COVARIANCE[1:2, 1:2]), gaussian(COVARIANCE[np.ix_([2, 0], [2, 0])])
    truth = 0.5 * (log_det(1) + log_det(0, 2) - log_det(0, 1, 2))
    results = [
        mutual_information(
            model, 1, [2, 0], marginals=marginals, n_samples=4000, random_state=seed
        )
        for seed in range(10)
    ]
    assert_unbiased(results, truth)


def test_mutual_information_of_columns_that_leave_others_out():
    model = gaussian(COVARIANCE)
    truth = 0.5 * (log_det(0) + log_det(1) - log_det(0, 1))
    results = [
        mutual_information(model, 0, [1], n_samples=4000, random_state=seed) for seed in range(10)
    ]
    assert_unbiased(results, truth)


def test_mutual_information_of_independent_columns_is_noise():
    for seed in range(10):
        result = mutual_information(gaussian(np.eye(2)), 0, n_samples=2000, random_state=seed)
        assert result.value > -1e-12 - MOST_ERRORS * result.standard_error
        assert abs(result.value) < 0.01


def test_marginals_that_fit_badly_raise_mutual_information():
    # The divergence of N(0, 1) from N(0, 4) is log 2 - 3 / 8.
    model = gaussian(np.eye(2))
    excess = np.log(2) - 3 / 8
    results = [
        mutual_information(
            model, 0, marginals=(gaussian([4.0]), gaussian([1.0])), random_state=seed
        )
        for seed in range(10)
    ]
    assert_unbiased(results, excess)


def test_columns_by_name(rng):
    frame = pd.DataFrame(rng.normal(size=(200, 3)), columns=["a", "b", "c"])
    model = GaussianMixture(random_state=0).fit(frame)
    by_name, by_position, others = (
        mutual_information(model, first, second, n_samples=500, random_state=0)
        for first, second in (("c", ["a", "b"]), (2, [0, 1]), (["c"], None))
    )
    assert by_name == by_position == others


@pytest.mark.parametrize(
    "estimator",
    [
        GaussianMixture(2, random_state=0),
        GaussianMixture(2),
        KernelDensity(bandwidth=0.1),
        RelativeGradientFlow(n_layers=1, max_iter=2, random_state=0),
        RelativeGradientFlow(n_layers=1, max_iter=2).set_output(transform="polars"),
        RelativeGradientFlow(n_layers=1, max_iter=2).set_output(transform="pandas"),
        make_pipeline(StandardScaler(), GaussianMixture(random_state=0)),
        DensityEnsemble([("one", GaussianMixture()), ("two", KernelDensity())], cv=3),
    ],
    ids=repr,
)
def test_random_state_and_kinds_of_estimators(estimator, rng):
    frame = pd.DataFrame(rng.normal(size=(120, 2)) * [1, 0.1], columns=["a", "b"])
    estimator.fit(frame)
    other = GaussianMixture().fit(frame)
    before = vars(estimator).copy()
    for ask in (
        lambda seed: entropy(estimator, 300, random_state=seed),
        lambda seed: kl_divergence(estimator, other, 300, random_state=seed),
        lambda seed: mutual_information(estimator, "a", n_samples=300, random_state=seed),
    ):
        first, again, differs = (ask(seed) for seed in (0, 0, 1))
        assert first == again
        assert first != differs
        assert np.isfinite([first.value, first.standard_error]).all()
    assert vars(estimator) == before
    truth = entropy_of_gaussian(np.diag([1, 0.01]))
    assert entropy(estimator, 2000, random_state=0).value == pytest.approx(truth, abs=0.6)


def test_pipelines_and_searches_are_in_original_units():
    X = np.random.default_rng(0).normal(size=(500, 2)) * [1, 100]
    pipeline = make_pipeline(StandardScaler(), GaussianMixture())
    search = GridSearchCV(pipeline, {"gaussianmixture__n_components": [1]}, cv=2).fit(X)
    plain = GaussianMixture().fit(X)
    results = [entropy(search, 2000, random_state=seed) for seed in range(10)]
    assert_unbiased(results, entropy_of_gaussian(plain.covariances_[0]))
    assert kl_divergence(search, plain, random_state=0).value == pytest.approx(0, abs=1e-6)


def test_frames_of_categories_and_an_estimator_without_random_states():
    class Coins:
        """Two coins in words, the second of which is a copy of the first."""

        def sample(self, n_samples):
            faces = np.where(np.random.default_rng(0).random(n_samples) < 0.5, "head", "tail")
            return pl.DataFrame({"first": faces, "second": faces})

        def score_samples(self, X):
            assert isinstance(X, pl.DataFrame)
            return np.full(len(X), -np.log(2))

    class Coin(Coins):
        pass

    assert entropy(Coins(), 10).value == pytest.approx(np.log(2))
    result = mutual_information(Coins(), "first", marginals=(Coin(), Coin()), n_samples=10)
    assert result.value == pytest.approx(np.log(2))


def test_errors(rng):
    X = rng.normal(size=(50, 2))
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = GaussianMixture().fit(frame)
    with pytest.raises(ValueError, match="n_samples == 1, must be >= 2"):
        entropy(model, 1)
    with pytest.raises(TypeError, match="Samples come from the method sample"):
        entropy(StandardScaler().fit(X))
    with pytest.raises(TypeError, match="Log-densities come from the score_samples"):
        kl_divergence(model, FlowOutlierDetector(GaussianMixture()).fit(X))
    with pytest.raises(NotFittedError):
        entropy(GaussianMixture())
    with pytest.raises(ValueError, match="same columns, got 2 in p and 1 in q"):
        kl_divergence(model, GaussianMixture().fit(X[:, :1]))
    with pytest.raises(ValueError, match=r"same order, got \['a', 'b'\] in p and \['b', 'a'\]"):
        kl_divergence(model, GaussianMixture().fit(frame[["b", "a"]]))
    for first, second, message in (
        ("c", None, "first must list columns by names"),
        (2, None, "positions from 0 to 1, got 2"),
        (0, [-1], "second must list columns"),
        ([0, "a"], None, "first must list each column once"),
        (0, "a", r"must share no column, got \[0\] in both"),
        ([0, 1], None, "must each have a column at least"),
        ([], [0], "must each have a column at least"),
    ):
        with pytest.raises(ValueError, match=message):
            mutual_information(model, first, second, n_samples=10)
    wide = GaussianMixture().fit(rng.normal(size=(50, 3)))
    with pytest.raises(ValueError, match="each column must be in first or in second"):
        mutual_information(wide, 0, 1, marginals=(model, model))


@pytest.mark.parametrize(
    ("log_density", "message"),
    [
        (np.nan, "must give neither NaN nor"),
        (np.inf, "must give neither NaN nor"),
        (-np.inf, "5 of 5 samples have no density under the estimator that drew them"),
    ],
)
def test_broken_densities(log_density, message):
    class Broken:
        def sample(self, n_samples):
            return np.zeros((n_samples, 1))

        def score_samples(self, X):
            return np.full(len(X), log_density)

    with pytest.raises(ValueError, match=message):
        entropy(Broken(), 5)
