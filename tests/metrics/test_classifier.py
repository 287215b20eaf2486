import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, mannwhitneyu
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from skflow.metrics import classifier_two_sample_test


@pytest.mark.parametrize("classifier", [QuadraticDiscriminantAnalysis(), KNeighborsClassifier(9)])
def test_pvalues_are_uniform_if_the_distributions_are_the_same(classifier):
    # Cross-validated predictions that are taken for independent fail this by far.
    rng = np.random.default_rng(0)
    pvalues = [
        classifier_two_sample_test(
            *rng.normal(size=(2, 60, 2)), classifier=classifier, random_state=seed
        ).pvalue
        for seed in range(300)
    ]
    assert kstest(pvalues, "uniform").pvalue > 0.01
    assert 0.02 < np.mean(np.less(pvalues, 0.05)) < 0.08


def test_default_finds_a_shift_and_a_difference_in_correlation():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 400, 2))
    assert classifier_two_sample_test(X, np.add(Y, [0.5, 0]), random_state=0).pvalue < 1e-4
    assert classifier_two_sample_test(X, Y @ [[1, 0.9], [0, 0.4]], random_state=0).pvalue < 1e-4
    assert classifier_two_sample_test(X, Y, random_state=0).pvalue > 0.05


def test_known_area():
    # One column, of which a linear classifier makes the best of: P(x > y) = Φ(shift / √2).
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 4000, 1))
    result = classifier_two_sample_test(X + 1, Y, classifier=LinearSVC(), random_state=0)
    assert result.statistic == pytest.approx(0.760, abs=0.015)


def test_two_folds_are_one_split():
    class KnownScores(LogisticRegression):
        def decision_function(self, X):
            return X[:, 0].round(1)  # with ties

    X, Y = np.random.default_rng(0).normal(size=(2, 200, 1))
    # In the second of two folds, of equal rows, lies a copy of each row.
    X, Y = np.concatenate([X, X]), np.concatenate([Y, Y])
    result = classifier_two_sample_test(X, Y, classifier=KnownScores(), n_folds=2, random_state=0)
    rng = np.random.RandomState(0)
    second = [rng.permutation(np.arange(400) % 2) == 1 for _ in range(2)]
    scores = X[second[0], 0].round(1), Y[second[1], 0].round(1)
    expected = mannwhitneyu(
        *scores, alternative="greater", method="asymptotic", use_continuity=False
    )
    assert result.statistic == pytest.approx(expected.statistic / 200**2)
    assert result.pvalue == pytest.approx(expected.pvalue)


def test_good_and_bad_models_are_told_apart(moons):
    single = GaussianMixture(1, random_state=0).fit(moons.X)
    good, bad = (
        classifier_two_sample_test(moons.X_test, samples, random_state=0)
        for samples in (moons.flow.sample(1000, random_state=1), single.sample(1000)[0])
    )
    assert good.statistic < 0.63
    assert bad.statistic > 0.7
    assert bad.pvalue < 1e-20


def test_samples_of_different_sizes_have_chance_at_one_half():
    X = np.random.default_rng(0).normal(size=(1100, 3))
    result = classifier_two_sample_test(X[:100], X[100:], classifier=GaussianNB(), random_state=0)
    assert result.statistic == pytest.approx(0.5, abs=0.1)
    assert result.pvalue > 0.05


def test_a_constant_classifier_rejects_nothing(rng):
    X, Y = rng.normal(size=(2, 20, 1))
    result = classifier_two_sample_test(X, Y + 100, classifier=DummyClassifier())
    assert (result.statistic, result.pvalue) == (0.5, 1.0)


def test_random_state_determines_the_result(rng):
    X, Y = rng.normal(size=(2, 100, 2))
    first = classifier_two_sample_test(X, Y, random_state=3)
    assert classifier_two_sample_test(X, Y, random_state=3) == first
    assert classifier_two_sample_test(X, Y, random_state=4) != first


def test_frames_and_arrays(rng):
    X, Y = rng.normal(size=(2, 50, 2))
    frame = pd.DataFrame(X, columns=["a", "b"])
    expected = classifier_two_sample_test(X, Y, random_state=0)
    assert classifier_two_sample_test(frame, Y, random_state=0) == expected
    with pytest.raises(ValueError, match=r"same order, got \['a', 'b'\] in X and \['b', 'a'\]"):
        classifier_two_sample_test(frame, frame[["b", "a"]])


def test_errors(rng):
    X = rng.normal(size=(10, 2))
    with pytest.raises(ValueError, match="same columns, got 2 columns in X and 1 in Y"):
        classifier_two_sample_test(X, X[:, :1])
    with pytest.raises(ValueError, match="at least 5 rows each, got 10 in X and 4 in Y"):
        classifier_two_sample_test(X, X[:4])
    with pytest.raises(ValueError, match="n_folds == 1, must be >= 2"):
        classifier_two_sample_test(X, X, n_folds=1)
    with pytest.raises(TypeError, match="decision_function or predict_proba, got LinearRegr"):
        classifier_two_sample_test(X, X, classifier=LinearRegression())
    with pytest.raises(ValueError, match="Input Y contains NaN"):
        classifier_two_sample_test(X, np.full((10, 2), np.nan))
