import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import LinearSVC

from skflow import DensityRatio


def shifted(seed, n=1000, m=1000, shift=1.0, n_features=2):
    """Return normal samples whose log-ratio is known: shift / 2 - shift · x of one column."""
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, n_features)), rng.normal(size=(m, n_features))
    Y[:, 0] += shift
    return X, Y, lambda Z: shift**2 / 2 - shift * Z[:, 0]


@pytest.mark.parametrize(
    ("estimator", "most"),
    [
        (None, 0.7),
        (LogisticRegression(), 0.3),
        (GaussianMixture(), 0.4),
        (make_pipeline(StandardScaler(), GaussianMixture()), 0.4),
    ],
    ids=repr,
)
@pytest.mark.parametrize("m", [1000, 300])
def test_known_ratio_whatever_the_sizes_of_the_samples(estimator, most, m):
    test, moved, log_ratio = shifted(99, 2000)
    Z = np.concatenate([test, moved])
    for seed in range(10):
        X, Y, _ = shifted(seed, m=m)
        found = DensityRatio(estimator, random_state=seed).fit(X, Y).score_samples(Z)
        assert np.sqrt(np.mean((found - log_ratio(Z)) ** 2)) < most
        assert found[:2000].mean() == pytest.approx(0.5, abs=0.35)  # the divergence


def test_a_ratio_of_one_is_found_to_be_about_one():
    for seed in range(10):
        X, Y, _ = shifted(seed, shift=0)
        found = DensityRatio(random_state=seed).fit(X, Y).score_samples(shifted(99)[0])
        assert np.sqrt(np.mean(found**2)) < 0.4
        assert abs(found.mean()) < 0.1


def test_products_of_columns_by_a_classifier_of_ones_own():
    rng = np.random.default_rng(0)
    X, Y, test = rng.normal(size=(3, 2000, 2))
    X = X @ np.linalg.cholesky([[1, 0.8], [0.8, 1]]).T
    truth = -0.5 * np.log(0.36) - 0.5 * (
        (test[:, 0] ** 2 + test[:, 1] ** 2 - 1.6 * test[:, 0] * test[:, 1]) / 0.36
        - (test**2).sum(1)
    )
    quadratic = make_pipeline(PolynomialFeatures(2), LogisticRegression(max_iter=1000))
    for estimator, least in ((None, 0.8), (quadratic, 0.99)):
        found = DensityRatio(estimator, random_state=0).fit(X, Y).score_samples(test)
        assert np.corrcoef(found, truth)[0, 1] > least


def table(library, rng, n, shares, missing):
    town = rng.choice(["A", "B", "C"], size=n, p=shares).astype(object)
    income = rng.lognormal(size=n)
    income[rng.random(n) < missing] = np.nan
    return library.DataFrame({"income": income, "town": list(town), "old": rng.random(n) < 0.5})


@pytest.mark.parametrize("library", [pd, pl])
def test_frames_with_categories_and_holes(library):
    rng = np.random.default_rng(0)
    X = table(library, rng, 4000, [0.5, 0.3, 0.2], 0.1)
    Y = table(library, rng, 4000, [0.25, 0.3, 0.45], 0.4)
    ratio = DensityRatio(random_state=0).fit(X, Y)
    assert list(ratio.feature_names_in_) == ["income", "town", "old"]
    rows = library.DataFrame(
        {"income": [1.0, np.nan, 1.0], "town": ["A", "A", "C"], "old": [True, True, False]}
    )
    expected = np.log([0.9 / 0.6 * 2, 0.1 / 0.4 * 2, 0.9 / 0.6 * 0.2 / 0.45])
    np.testing.assert_allclose(ratio.score_samples(rows), expected, atol=0.35)
    unseen = library.DataFrame({"income": [1.0], "town": ["D"], "old": [True]})
    assert np.isfinite(ratio.score_samples(unseen)).all()
    with pytest.raises(ValueError, match="feature names"):
        ratio.score_samples(rows[["town", "income", "old"]])


def test_densities_get_frames_as_they_are_and_nothing_of_classifiers(rng):
    class OfFrames(KernelDensity):
        def fit(self, X, y=None, sample_weight=None):
            assert isinstance(X, pd.DataFrame)
            return super().fit(X, y, sample_weight)

    X, Y = (pd.DataFrame(rng.normal(size=(50, 2)), columns=["a", "b"]) for _ in range(2))
    ratio = DensityRatio(OfFrames()).fit(X, Y)
    p, q = ratio.densities_
    np.testing.assert_allclose(ratio.score_samples(X), p.score_samples(X) - q.score_samples(X))
    assert not hasattr(ratio, "classifier_")
    ratio.set_params(estimator=LogisticRegression()).fit(X, Y)
    assert not hasattr(ratio, "densities_")
    assert hasattr(ratio, "classifier_")


def test_rows_without_a_density():
    uniform = KernelDensity(kernel="tophat", bandwidth=1.0)
    ratio = DensityRatio(uniform).fit([[0.0]], [[1.5]])
    scores = ratio.score_samples([[-0.5], [2.0], [9.0], [0.75]])
    np.testing.assert_allclose(scores, [np.inf, -np.inf, np.nan, 0], atol=1e-12)


def test_random_state_clones_and_pickles():
    X, Y, _ = shifted(0, 200, 200)
    ratio = DensityRatio(random_state=0).fit(X, Y)
    scores = ratio.score_samples(X)
    np.testing.assert_array_equal(clone(ratio).fit(X, Y).score_samples(X), scores)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ratio)).score_samples(X), scores)
    other = DensityRatio(random_state=1).fit(X, Y)
    assert not np.array_equal(other.score_samples(X), scores)


class Three(DummyClassifier):
    def predict_proba(self, X):
        return np.ones((len(X), 3)) / 3


def test_errors(rng):
    X = rng.normal(size=(20, 2))
    with pytest.raises(NotFittedError):
        DensityRatio().score_samples(X)
    with pytest.raises(ValueError, match="at least 10 rows each, got 20 in X and 9 in Y"):
        DensityRatio().fit(X, X[:9])
    with pytest.raises(ValueError, match="The 'estimator' parameter"):
        DensityRatio(LinearSVC()).fit(X, X)
    ratio = DensityRatio(Three()).fit(X, X)
    with pytest.raises(TypeError, match="must give the probabilities of 2 classes"):
        ratio.score_samples(X)
    for estimator in (None, GaussianMixture()):
        with pytest.raises(ValueError, match="features"):
            DensityRatio(estimator).fit(X, X[:, :1])
        ratio = DensityRatio(estimator, random_state=0).fit(X, X)
        before = ratio.score_samples(X)
        with pytest.raises(ValueError, match=r"NaN|inf"):
            ratio.fit(X, np.full((20, 2), np.inf))
        np.testing.assert_array_equal(ratio.score_samples(X), before)
    # PCA has score_samples: a density of its own.
    assert DensityRatio(PCA(1)).fit(X, X).score_samples(X) == pytest.approx(0)
