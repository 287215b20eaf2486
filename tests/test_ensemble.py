"""Ensembles: mixtures of densities, and the weights that held-out rows choose."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import trapezoid
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_iris, load_wine
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold, RepeatedKFold, ShuffleSplit
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skflow import DensityEnsemble, FlowOutlierDetector, RelativeGradientFlow
from skflow.estimators.members import (
    MixtureByBIC,
    SearchedKernelDensity,
    ShrunkWhitening,
    StandardNormal,
    default_members,
)
from skflow.preprocessing import score_samples_in_original_units

MEMBERS = [
    ("mixture", GaussianMixture(2, init_params="random_from_data", reg_covar=1e-3)),
    ("kernel", make_pipeline(StandardScaler(), KernelDensity(bandwidth=0.5))),
]
KERNELS = [("narrow", KernelDensity(bandwidth=0.3)), ("wide", KernelDensity(bandwidth=1.0))]

# The default members, but for the flows, which take long.
SMALL_FLOW = RelativeGradientFlow(n_layers=1, max_iter=2)
FAST_MEMBERS = [("flow", SMALL_FLOW), *default_members()[2:]]


class Recorder(BaseEstimator):
    """A constant density, higher by a nat at the rows that it was fitted to."""

    def fit(self, X, y=None):
        self.X_ = X
        return self

    def score_samples(self, X):
        return np.isin(np.asarray(X)[:, 0], np.asarray(self.X_)[:, 0]).astype(float)


class Table(BaseEstimator):
    """A density that is what a function says."""

    def __init__(self, function=None):
        self.function = function

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def score_samples(self, X):
        return self.function(X)


class Failing(Table):
    """A density that cannot be fitted."""

    def fit(self, X, y=None):
        raise ArithmeticError("no luck")


@pytest.fixture
def X(rng):
    return rng.standard_normal((120, 2)) * [1, 5] + [0, 3]


def expected_failed_checks(estimator):
    if "mixture" not in dict(estimator.estimators):
        return {}
    kinds = ("pandas_series", "not_an_array", "list", "shape", "not_overwritten")
    checks = [f"check_sample_weights_{kind}" for kind in kinds]
    checks.append("check_sample_weight_equivalence_on_dense_data")
    return dict.fromkeys(checks, "a Gaussian mixture takes no weights of rows")


# Some checks fit whole numbers, and fits of two epochs may end below their start.
@pytest.mark.filterwarnings("ignore:Columns of X have no density:UserWarning")
@pytest.mark.filterwarnings("ignore:The fit ended at .* below its start:RuntimeWarning")
@pytest.mark.usefixtures("quick_mixtures")
@parametrize_with_checks(
    [
        DensityEnsemble(MEMBERS, cv=3),
        DensityEnsemble(KERNELS, weights="uniform", cv=RepeatedKFold(n_splits=2, n_repeats=2)),
        DensityEnsemble(FAST_MEMBERS, weights=[1, 1, 2, 0], cv=2),
    ],
    expected_failed_checks=expected_failed_checks,
)
def test_sklearn_checks(estimator, check):
    check(estimator)


# The weights.


@pytest.mark.parametrize("weighted", [False, True])
def test_stacking_makes_the_held_out_rows_likeliest(rng, weighted):
    X = rng.standard_normal((200, 2))
    centres = [[0.5, 0], [0, 0.5], [-1, 0], [3, 3]]
    members = [(str(k), Table(multivariate_normal(mean).logpdf)) for k, mean in enumerate(centres)]
    log_density = np.stack([member.function(X) for _, member in members], axis=1)
    counts = rng.integers(0, 4, size=200).astype(float) if weighted else np.ones(200)
    if weighted:
        members = [(name, Weighed(member.function)) for name, member in members]

    def loss(logits):
        fit = counts @ logsumexp(log_density, axis=1, b=softmax(logits))
        return -fit - np.log(softmax(logits)).mean()

    best = minimize(loss, np.zeros(4), tol=1e-12)
    ensemble = DensityEnsemble(members).fit(X, sample_weight=counts if weighted else None)
    np.testing.assert_array_equal(ensemble.held_out_log_density_, log_density)
    assert ensemble.weights_.sum() == pytest.approx(1)
    assert loss(np.log(ensemble.weights_)) <= best.fun + 2e-6 * counts.sum()


class Weighed(Table):
    """A density that takes weights of rows."""

    def fit(self, X, y=None, sample_weight=None):
        assert len(sample_weight) == len(X)
        assert (sample_weight > 0).all()
        return super().fit(X)


def test_rows_that_no_member_expects_do_not_choose(X):
    def everywhere(X):
        return np.zeros(len(X))

    def nowhere(X):
        return np.full(len(X), -np.inf)

    def half(X):
        return np.where(X[:, 0] > 0, 1.0, np.nan)

    first = DensityEnsemble([("half", Table(half)), ("nowhere", Table(nowhere))]).fit(X)
    assert first.weights_[0] > 0.98
    np.testing.assert_array_equal(np.isfinite(first.score_samples(X)), X[:, 0] > 0)
    members = [("everywhere", Table(everywhere)), ("nowhere", Table(nowhere))]
    np.testing.assert_allclose(
        DensityEnsemble(members).fit(X).weights_, [1 - 0.5 / 121, 0.5 / 121], rtol=1e-5
    )
    neither = DensityEnsemble([("nowhere", Table(nowhere)), ("too", Table(nowhere))]).fit(X)
    np.testing.assert_array_equal(neither.weights_, [0.5, 0.5])


def test_members_that_are_alike_share_the_weight(X):
    twins = DensityEnsemble([("one", KernelDensity()), ("two", KernelDensity())]).fit(X)
    np.testing.assert_allclose(twins.weights_, [0.5, 0.5])


def test_stacking_finds_the_member_that_is_right(rng):
    X = rng.standard_normal((300, 2))
    ensemble = DensityEnsemble(
        [("right", GaussianMixture()), ("rough", KernelDensity(bandwidth=0.1))], random_state=0
    ).fit(X)
    assert ensemble.weights_[0] > 0.9


def test_weights_of_ones_own(X):
    ensemble = DensityEnsemble(KERNELS, weights=[3, 1], random_state=0).fit(X)
    np.testing.assert_array_equal(ensemble.weights_, [0.75, 0.25])
    uniform = DensityEnsemble(KERNELS, weights="uniform", random_state=0).fit(X)
    np.testing.assert_array_equal(uniform.weights_, [0.5, 0.5])
    alone = DensityEnsemble(KERNELS, weights=[0, 2], random_state=0).fit(X)
    wide = [fit.score_samples(X) for fit in alone.named_estimators_["wide"]]
    np.testing.assert_allclose(alone.score_samples(X), logsumexp(wide, axis=0) - np.log(6))


# The mixture.


def test_the_density_is_that_of_the_mixture(X):
    folds = KFold(4, shuffle=True, random_state=0)
    ensemble = DensityEnsemble(MEMBERS, cv=folds, random_state=0).fit(X)
    new = X[:7] + 0.1
    density = 0.0
    for weight, fits in zip(ensemble.weights_, ensemble.estimators_, strict=True):
        assert len(fits) == 5
        for fit in fits:
            density += weight / 5 * np.exp(score_samples_in_original_units(fit, new))
    np.testing.assert_allclose(ensemble.score_samples(new), np.log(density))
    assert ensemble.score(new) == pytest.approx(np.log(density).mean())
    first = ensemble.score(new, sample_weight=[1, 0, 0, 0, 0, 0, 0])
    assert first == pytest.approx(np.log(density[0]))


@pytest.mark.filterwarnings("ignore:The fit ended at .* below its start:RuntimeWarning")
def test_the_densities_of_the_default_members_integrate_to_one(rng):
    X = rng.gamma(2, size=(80, 1)) * 100
    ensemble = DensityEnsemble(FAST_MEMBERS, weights="uniform", cv=2, random_state=0).fit(X)
    grid = np.linspace(-2000, 6000, 20001)[:, None]
    for fits in ensemble.estimators_:
        density = np.exp(score_samples_in_original_units(fits[0], grid))
        assert trapezoid(density, grid[:, 0]) == pytest.approx(1, abs=2e-3)
    density = np.exp(ensemble.score_samples(grid))
    assert trapezoid(density, grid[:, 0]) == pytest.approx(1, abs=2e-3)


def test_an_ensemble_is_no_worse_than_its_members_on_average():
    X = load_wine().data
    ensemble = DensityEnsemble(default_members()[2:], random_state=0).fit(X[::2])
    scores = [
        np.mean([score_samples_in_original_units(fit, X[1::2]).mean() for fit in fits])
        for fits in ensemble.estimators_
    ]
    assert ensemble.score(X[1::2]) >= ensemble.weights_ @ scores


def test_held_out_rows_are_scored_by_fits_without_them(X):
    members = [("recorder", Recorder()), ("kernel", KernelDensity())]
    ensemble = DensityEnsemble(members, cv=3, random_state=0).fit(X)
    assert ensemble.held_out_log_density_.shape == (120, 2)
    np.testing.assert_array_equal(ensemble.held_out_log_density_[:, 0], 0)
    some = clone(ensemble).set_params(cv=ShuffleSplit(1, test_size=0.25, random_state=0)).fit(X)
    assert np.isnan(some.held_out_log_density_).all(axis=1).sum() == 90
    assert np.isfinite(some.weights_).all()


def test_equal_rows_and_groups_are_held_out_together(X):
    groups = np.arange(120) // 10
    ensemble = DensityEnsemble([("recorder", Recorder())], cv=3, random_state=0)
    for rows, belong in ((X, groups), (np.repeat(X[:12], 10, axis=0), None)):
        *fits, last = ensemble.fit(rows, groups=belong).estimators_[0]
        assert len(last.X_) == 120
        for fit in fits:
            fitted = np.isin(rows[:, 0], fit.X_[:, 0])
            assert set(np.bincount(groups, fitted)) == {0, 10}


def test_samples_follow_the_density(rng):
    X = np.vstack([rng.normal([0, 0], 1, (150, 2)), rng.normal([20, 5], 2, (50, 2))])
    ensemble = DensityEnsemble(MEMBERS, random_state=0).fit(X)
    drawn = ensemble.sample(4000, random_state=0)
    # The kernels add a quarter of the variance.
    np.testing.assert_allclose(drawn.mean(0), X.mean(0), atol=0.8)
    np.testing.assert_allclose(drawn.std(0), X.std(0), rtol=0.15)
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.1  # in random order
    assert ensemble.sample(random_state=1).shape == (1, 2)
    np.testing.assert_array_equal(ensemble.sample(9, random_state=1), ensemble.sample(9, 1))
    assert not np.array_equal(ensemble.sample(9), ensemble.sample(9))


def test_rows_of_weight_zero_are_not_fitted(X):
    members = [*KERNELS, MEMBERS[1]]
    weights = np.r_[np.ones(60), np.zeros(60)]
    folds = [(np.r_[0:40, 60:100], np.r_[40:60, 100:120]), (np.r_[20:120], np.r_[0:20])]
    some = DensityEnsemble(members[:2], cv=folds).fit(X, sample_weight=weights)
    first = [(train[train < 60], test[test < 60]) for train, test in folds]
    alone = DensityEnsemble(members[:2], cv=first).fit(X[:60])
    np.testing.assert_allclose(some.score_samples(X), alone.score_samples(X))
    np.testing.assert_allclose(some.weights_, alone.weights_)
    with_pipeline = DensityEnsemble(members, cv=folds).fit(X, sample_weight=weights)
    kernels = with_pipeline.named_estimators_["kernel"][-1][-1]
    assert kernels.tree_.sum_weight == 60


# A citizen of scikit-learn.


def test_parameters_of_members_by_their_names():
    ensemble = DensityEnsemble(MEMBERS)
    assert ensemble.get_params()["mixture__n_components"] == 2
    ensemble = clone(ensemble).set_params(mixture__n_components=3, kernel=KernelDensity())
    assert ensemble.estimators[0][1].n_components == 3
    assert isinstance(ensemble.estimators[1][1], KernelDensity)
    assert "mixture" not in DensityEnsemble().get_params()
    assert clone(DensityEnsemble(weights=[1, 2])).weights == [1, 2]


def test_a_search_over_a_member(X):
    search = GridSearchCV(
        DensityEnsemble(KERNELS, cv=2, random_state=0), {"narrow__bandwidth": [0.01, 0.5]}, cv=2
    ).fit(X)
    assert search.best_params_ == {"narrow__bandwidth": 0.5}


def test_an_ensemble_is_a_density_for_other_estimators(X):
    ensemble = DensityEnsemble(KERNELS, cv=2)
    detector = FlowOutlierDetector(ensemble, cv=3, random_state=0).fit(X)
    assert detector.predict([[50.0, 50.0]]) == [-1]
    nested = DensityEnsemble([("ensemble", ensemble), ("mixture", GaussianMixture())], cv=2)
    assert np.isfinite(nested.fit(X).score(X))


def test_pickles_and_processes(X):
    one = DensityEnsemble(MEMBERS, random_state=0).fit(X)
    two = DensityEnsemble(MEMBERS, n_jobs=2, random_state=0).fit(X)
    np.testing.assert_allclose(one.score_samples(X), two.score_samples(X))
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(one.score_samples(X), again.score_samples(X))
    np.testing.assert_array_equal(one.sample(9, random_state=0), again.sample(9, random_state=0))


@pytest.mark.usefixtures("quick_mixtures")
@pytest.mark.filterwarnings("ignore:The fit ended at .* below its start:RuntimeWarning")
def test_frames(X):
    frame = pd.DataFrame(X, columns=["a", "b"])
    ensemble = DensityEnsemble(FAST_MEMBERS, cv=2, random_state=0).fit(frame)
    plain = clone(ensemble).fit(X)
    assert list(ensemble.feature_names_in_) == ["a", "b"]
    np.testing.assert_allclose(ensemble.score_samples(frame), plain.score_samples(X), rtol=1e-6)
    with pytest.raises(ValueError, match="feature names"):
        ensemble.score_samples(frame[["b", "a"]])


# What is refused.


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"estimators": []}, ValueError, r"list of \(name, estimator\), one at least"),
        ({"estimators": [KernelDensity()]}, ValueError, r"list of \(name, estimator\)"),
        ({"estimators": [("a", PolynomialFeatures())]}, TypeError, r"densit.* under the name 'a'"),
        ({"estimators": [("a", IsolationForest())]}, TypeError, r"densit.* under the name 'a'"),
        ({"estimators": [("a", KernelDensity)]}, TypeError, r"got <class .* under the name 'a'"),
        ({"estimators": KERNELS * 2}, ValueError, "not unique"),
        ({"estimators": [("cv", KernelDensity())]}, ValueError, "conflict"),
        ({"estimators": [("a__b", KernelDensity())]}, ValueError, "must not contain __"),
        ({"weights": [1, 2, 3]}, ValueError, "one number for each of the 2 members"),
        ({"weights": [1, -1]}, ValueError, "none negative and one positive"),
        ({"weights": [0, 0]}, ValueError, "none negative and one positive"),
        ({"weights": [np.nan, 1]}, ValueError, "none negative and one positive"),
        ({"weights": "best"}, ValueError, "The 'weights' parameter"),
        ({"cv": 1}, ValueError, "The 'cv' parameter"),
        ({"cv": 200}, ValueError, r"cv=200 asks for as many parts .* X has 120"),
        ({"cv": [(np.arange(120), [])]}, ValueError, "splits of cv that hold out none"),
    ],
)
def test_parameters_that_are_refused(X, parameters, error, match):
    ensemble = DensityEnsemble(KERNELS, random_state=0).fit(X)
    scores = ensemble.score_samples(X)
    ensemble.set_params(**parameters)
    with pytest.raises(error, match=match):
        ensemble.fit(X[:, :1])
    np.testing.assert_array_equal(ensemble.score_samples(X), scores)


def test_splits_that_hold_out_no_row_do_for_given_weights(X):
    ensemble = DensityEnsemble(KERNELS, weights="uniform", cv=[(np.arange(120), [])]).fit(X)
    assert np.isnan(ensemble.held_out_log_density_).all()
    assert np.isfinite(ensemble.score(X))


def test_a_member_that_fails_is_named_and_the_ensemble_stays_as_it_was(X):
    ensemble = DensityEnsemble(KERNELS, random_state=0).fit(X)
    scores = ensemble.score_samples(X)
    ensemble.set_params(wide=Failing())
    with pytest.raises(ArithmeticError, match="no luck") as caught:
        ensemble.fit(X[:, :1])
    assert caught.value.__notes__ == ["This came from the member 'wide' of a DensityEnsemble."]
    np.testing.assert_array_equal(ensemble.score_samples(X), scores)


def test_members_without_weights_of_rows_or_samples_are_named(X):
    with pytest.raises(TypeError, match="fitted with it, and 'mixture' cannot"):
        DensityEnsemble(MEMBERS).fit(X, sample_weight=np.ones(120))
    with pytest.raises(TypeError, match="got Recorder"):
        DensityEnsemble([("a", Recorder())]).fit(X).sample(3)


# The members that there are by default.


def test_a_shrunk_gaussian_is_a_gaussian(rng):
    X = rng.standard_normal((30, 50)) @ rng.standard_normal((50, 50))  # fewer rows than columns
    scale, whiten = StandardScaler(), ShrunkWhitening()
    gaussian = make_pipeline(scale, whiten, StandardNormal()).fit(X)
    factor = scale.scale_[:, None] * whiten.factor_
    truth = multivariate_normal(scale.mean_, factor @ factor.T)
    np.testing.assert_allclose(
        score_samples_in_original_units(gaussian, X), truth.logpdf(X), rtol=1e-8
    )
    Z = scale.transform(X)
    np.testing.assert_allclose(whiten.inverse_transform(whiten.transform(Z)), Z)


def test_bic_finds_the_parts(rng):
    centres = rng.choice([-10.0, 10.0], size=(400, 1))
    mixture = MixtureByBIC(random_state=0).fit(centres + rng.standard_normal((400, 1)))
    assert mixture.mixture_.n_components == 2
    assert MixtureByBIC().fit(rng.standard_normal((2, 3))).mixture_.n_components == 1


@pytest.mark.parametrize("n_rows", [60, 1500])
def test_the_bandwidth_is_that_by_which_others_make_a_row_likeliest(rng, n_rows):
    X = rng.standard_normal((n_rows, 2))
    chosen = SearchedKernelDensity().fit(X).kernels_.bandwidth
    scores = {}
    for bandwidth in (chosen / 1.5, chosen, chosen * 1.5):
        others = [
            KernelDensity(bandwidth=bandwidth).fit(np.delete(X, i, axis=0)).score(X[[i]])
            for i in range(0, n_rows, n_rows // 60)
        ]
        scores[bandwidth] = np.mean(others)
    assert max(scores, key=scores.get) == chosen


def test_columns_that_are_constant_or_copies_do_not_break_the_members(rng):
    X = rng.standard_normal((60, 2))
    X = np.c_[X, X[:, 0], np.ones(60)]
    ensemble = DensityEnsemble(default_members()[2:], random_state=0).fit(X)
    assert np.isfinite(ensemble.score_samples(X)).all()
    assert np.isfinite(ensemble.sample(10, random_state=0)).all()


@pytest.mark.slow
def test_the_default_needs_no_choice_of_a_member():
    X = np.random.default_rng(0).permutation(load_iris().data)
    X = X + np.random.default_rng(1).uniform(-0.05, 0.05, X.shape)
    ensemble = DensityEnsemble(random_state=0).fit(X[:100])
    of_members = [
        np.mean([score_samples_in_original_units(fit, X[100:]).mean() for fit in fits])
        for fits in ensemble.estimators_
    ]
    assert ensemble.score(X[100:]) > max(of_members) - 0.1
    assert ensemble.score(X[100:]) > np.mean(of_members) + 0.3
