"""Classification by the density of each class."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import ShuffleSplit
from sklearn.neighbors import KernelDensity
from sklearn.utils.estimator_checks import parametrize_with_checks

from skflow import FlowClassifier, TableFlow
from skflow.tables.classifier import _calibration


def two_classes(n, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], n)
    return rng.normal(size=(2 * n, 2)) + 2 * y[:, None], np.array(["left", "right"])[y]


def test_probabilities_without_calibration_are_those_of_bayes_rule():
    X, y = two_classes(100)
    X, y = X[30:], y[30:]
    classifier = FlowClassifier(GaussianMixture(), cv=None, random_state=0).fit(X, y)
    log_densities = np.stack(
        [GaussianMixture().fit(X[y == c]).score_samples(X) for c in ("left", "right")], 1
    )
    joint = log_densities + np.log([70 / 170, 100 / 170])
    np.testing.assert_allclose(classifier.predict_proba(X), softmax(joint, axis=1), atol=1e-10)
    np.testing.assert_allclose(classifier.score_samples(X), np.logaddexp(*joint.T), atol=1e-10)
    assert (classifier.predict(X) == np.array(["left", "right"])[joint.argmax(1)]).all()
    with pytest.raises(AttributeError, match="set cv"):
        classifier.p_values(X)


def test_densities_that_are_too_sure_are_calibrated():
    rng = np.random.default_rng(0)
    X, y = two_classes(300)
    X = np.c_[X, X + 0.01 * rng.normal(size=X.shape)]  # counted twice by independent columns
    test, truth = two_classes(1000, seed=1)
    test = np.c_[test, test + 0.01 * rng.normal(size=test.shape)]
    naive = GaussianMixture(covariance_type="diag")
    plain = FlowClassifier(naive, cv=None, random_state=0).fit(X, y)
    calibrated = FlowClassifier(naive, random_state=0).fit(X, y)
    # Borders of straight lines are all that there is to learn here.
    assert calibrated.temperature_ > 1.4 or calibrated.border_share_ > 0.8
    losses = [log_loss(truth, one.predict_proba(test)) for one in (plain, calibrated)]
    assert losses[1] < losses[0] - 0.01


def test_what_densities_cannot_say_borders_do():
    # Two columns of noise with heavy tails, and a border along a third one.
    rng = np.random.default_rng(0)
    X = np.c_[rng.standard_t(1, size=(900, 2)), rng.uniform(-1, 1, size=900)]
    y = rng.uniform(size=900) < 1 / (1 + np.exp(-6 * X[:, 2]))
    train, test = slice(300), slice(300, None)
    plain = FlowClassifier(GaussianMixture(), cv=None, random_state=0).fit(X[train], y[train])
    classifier = FlowClassifier(GaussianMixture(), random_state=0).fit(X[train], y[train])
    logistic = LogisticRegression().fit(X[train], y[train])
    losses = [
        log_loss(y[test], one.predict_proba(X[test])) for one in (plain, classifier, logistic)
    ]
    assert classifier.border_share_ > 0.5
    assert losses[1] < losses[0] - 0.05
    assert losses[1] < losses[2] + 0.05


def test_densities_of_classes_that_borders_cannot_tell_apart_decide():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=400)
    X = rng.normal(size=(400, 6)) * np.where(y == 1, 3.0, 1.0)[:, None]
    classifier = FlowClassifier(GaussianMixture(), random_state=0).fit(X, y)
    assert classifier.border_share_ < 0.3
    assert classifier.temperature_ == pytest.approx(1, abs=0.5)


def test_rows_of_no_class_have_small_p_values():
    X, y = two_classes(200)
    classifier = FlowClassifier(GaussianMixture(), random_state=0).fit(X, y)
    far = classifier.p_values([[9.0, -9.0], [-30.0, 0.0]])
    assert (far <= 1 / 401).all()
    proba = classifier.predict_proba([[1e9, 1e9]])
    assert np.isfinite(proba).all()
    same, _ = two_classes(500, seed=3)
    assert (classifier.p_values(same) < 0.1).mean() == pytest.approx(0.1, abs=0.05)


@pytest.mark.usefixtures("quick_mixtures")
def test_frames_with_categories_and_holes_are_classified():
    rng = np.random.default_rng(0)
    n = 240
    y = rng.integers(2, size=n)
    colour = np.where(rng.uniform(size=n) < 0.85, y, 1 - y)
    table = pd.DataFrame(
        {"colour": np.array(["red", "blue"])[colour], "size": rng.normal(size=n) + y}
    )
    table["size"] = table["size"].mask(rng.uniform(size=n) < 0.2)
    density = TableFlow(max_iter=2, n_particles=20, random_state=0)
    classifier = FlowClassifier(density, cv=2, random_state=0).fit(table[:160], y[:160])
    assert classifier.score(table[160:], y[160:]) > 0.7
    assert list(classifier.feature_names_in_) == ["colour", "size"]


def test_rows_without_any_density_are_left_to_borders():
    X, y = two_classes(100)
    nowhere = KernelDensity(kernel="tophat", bandwidth=1e-6)  # but at its own rows
    classifier = FlowClassifier(nowhere, random_state=0).fit(X, y)
    test, truth = two_classes(300, seed=1)
    assert classifier.border_share_ > 0.9
    assert classifier.score(test, truth) > 0.85


def test_classes_of_one_row_are_no_error():
    X, y = two_classes(50)
    y[0] = "alone"
    classifier = FlowClassifier(GaussianMixture(reg_covar=1e-3), random_state=0).fit(X, y)
    assert list(classifier.classes_) == ["alone", "left", "right"]
    proba = classifier.predict_proba(X[:1])[0]
    assert proba[0] > 1 / 100  # more than its share of the rows


def test_one_class_and_no_labels_are_refused():
    X = load_iris().data
    with pytest.raises(ValueError, match="got one class only"):
        FlowClassifier().fit(X, np.zeros(150))
    with pytest.raises(ValueError, match="requires y to be passed"):
        FlowClassifier().fit(X, None)


def test_splitters_hold_rows_out():
    X, y = two_classes(50)
    cv = ShuffleSplit(1, test_size=0.3, random_state=0)
    classifier = FlowClassifier(GaussianMixture(), cv=cv, random_state=0).fit(X, y)
    assert len(classifier.calibration_scores_) == 30


# Boosted trees cut columns at quantiles of the rows, whatever these count for. scikit-learn has
# excused its own, and they are a part of what learns borders here. The weights of the
# calibration are tested below.
EXCUSED = {"check_sample_weight_equivalence_on_dense_data": "boosted trees bin rows, not weights"}


@parametrize_with_checks(
    [FlowClassifier(KernelDensity(), cv=2, random_state=0)],
    expected_failed_checks=lambda estimator: EXCUSED,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_weights_of_the_calibration_are_repetitions():
    rng = np.random.default_rng(0)
    joint, by_borders = np.log(rng.dirichlet([1, 1, 1], size=(2, 80)))
    codes, weights = rng.integers(3, size=80), rng.integers(1, 4, size=80)
    rows = np.repeat(np.arange(80), weights)
    weighted = _calibration(joint, by_borders, codes, weights.astype(float))
    repeated = _calibration(joint[rows], by_borders[rows], codes[rows], np.ones(len(rows)))
    assert weighted == pytest.approx(repeated, abs=1e-6)
