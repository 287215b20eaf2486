"""Weights of rows: 0 is no row, 2 is a row and its copy."""

from functools import partial

import numpy as np
import pytest
import sklearn
from scipy import stats
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import NormalMixture, RelativeGradientFlow, default_bijections
from skflow.datasets import half_moons

pytestmark = pytest.mark.usefixtures("quick_mixtures")

FULL_BATCH = {
    "n_layers": 3,
    "optimizer": "sgd",
    "batch_size": 1000,
    "input_noise": 0.0,
    "early_stopping": False,
    "dtype": "float64",
    "max_iter": 5,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def X():
    # So few that repeated ones are all looked at for the start.
    return half_moons().sample(150, random_state=0)


@pytest.fixture
def weights(X, rng):
    return rng.integers(0, 4, len(X)).astype(float)


ORTHOGONAL = partial(default_bijections, init="orthogonal")
UNBIASED = partial(default_bijections, bias=False)


def without_the_first(n_rows, n_features, **settings):
    """Return the default but for the spline whose knots are quantiles.

    Where a knot is a row, the rounding of the standardised row decides on which side it lies.
    """
    # Whatever the number of rows, repeated or not: the sizes follow from it.
    return default_bijections(1000, n_features, **settings)[1:]


@pytest.mark.parametrize(
    ("parameters", "tolerance"),
    [
        ({"activation": "smooth_leaky_relu"}, 1e-10),
        ({"activation": "leaky_tanh", "base_distribution": "student_t"}, 1e-10),
        ({"activation": "leaky_tanh", "bijections": ORTHOGONAL}, 1e-10),
        ({"activation": "smooth_leaky_relu", "optimizer": "adam", "bijections": UNBIASED}, 1e-10),
        # Adam makes more of rounding where a gradient is hardly more than that.
        ({"coupling": None, "bijections": without_the_first}, 1e-10),
        ({"coupling": "affine", "bijections": without_the_first}, 1e-7),
        (
            {
                "coupling": "spline",
                "bijections": without_the_first,
                "base_distribution": "logistic",
            },
            1e-7,
        ),
    ],
    ids=["sgd", "student_t", "orthogonal", "adam", "splines", "affine", "coupled"],
)
def test_whole_weights_are_repeated_rows(X, weights, parameters, tolerance):
    flow = RelativeGradientFlow(**(FULL_BATCH | parameters))
    weighted = clone(flow).fit(X, sample_weight=weights)
    repeated = clone(flow).fit(X.repeat(weights.astype(int), axis=0))
    scores = repeated.score_samples(X)
    np.testing.assert_allclose(weighted.score_samples(X), scores, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=tolerance)
    assert np.abs(flow.fit(X).score_samples(X) - scores).max() > 1e-3


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"early_stopping": False, "optimizer": "sgd"},
        {"base_distribution": "mixture", "optimizer": "adam"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_no_weight_is_no_row(X, weights, parameters, method):
    kept = weights > 0
    weighted, removed = (
        RelativeGradientFlow(2, max_iter=3, random_state=0, **parameters) for _ in range(2)
    )
    for _ in range(2):
        getattr(weighted, method)(X, sample_weight=weights)
        getattr(removed, method)(X[kept], sample_weight=weights[kept])
    assert np.array_equal(weighted.score_samples(X), removed.score_samples(X))
    assert weighted.loss_curve_ == removed.loss_curve_
    assert weighted.validation_scores_ == removed.validation_scores_
    assert weighted.n_samples_seen_ == removed.n_samples_seen_


def test_a_column_may_be_constant_among_the_rows_that_count(X, weights):
    kept = weights > 0
    X = np.c_[X, np.where(kept, 1.0, 2.0)]
    fits = []
    for rows, some in ((X, weights), (X[kept], weights[kept])):
        with pytest.warns(UserWarning, match=r"Constant, .*: column 2. Drop"):
            flow = RelativeGradientFlow(2, max_iter=2, random_state=0).fit(rows, None, some)
        fits.append(flow.score_samples(X))
    assert np.array_equal(*fits)


def test_ones_change_nothing(X):
    flow = RelativeGradientFlow(2, max_iter=3, random_state=0)
    plain = clone(flow).fit(X).score_samples(X)
    assert np.array_equal(flow.fit(X, sample_weight=np.ones(len(X))).score_samples(X), plain)


def test_minibatches_of_weighted_and_of_repeated_rows_agree():
    # As many rows as neither is few: few rows are fitted again in the end. The flow is so stiff
    # that where it ends hangs little on its path.
    X, held_out = (half_moons().sample(2400, random_state=seed) for seed in range(2))
    counts, test_counts = (np.where(rows[:, 0] > 0.5, 4, 1) for rows in (X, held_out))
    # From this base no fit starts from a mixture. That is chosen by held-out rows, and copies of
    # these would be among the others.
    flow = RelativeGradientFlow(
        2,
        activation="leaky_tanh",
        coupling=None,
        base_distribution="hyperbolic_secant",
        batch_size=100,
        max_iter=20,
        random_state=0,
    )
    weighted = clone(flow).fit(X, sample_weight=counts)
    repeated = clone(flow).set_params(batch_size=250).fit(X.repeat(counts, axis=0))
    scores = [fit.score(held_out, sample_weight=test_counts) for fit in (weighted, repeated)]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)
    assert scores[0] > flow.fit(X).score(held_out, sample_weight=test_counts) + 0.1


@pytest.mark.parametrize("scale", [1e-6, 1.0, 37.0])
def test_exact_on_a_weighted_gaussian_whatever_the_scale(scale, rng):
    X = rng.normal(size=(2000, 3)) @ rng.normal(size=(3, 3)) + 5
    weights = scale * rng.gamma(0.5, size=2000) * np.where(X[:, 0] > 5, 5, 1)
    flow = RelativeGradientFlow(
        1, activation="leaky_tanh", batch_size=500, early_stopping=False, random_state=0
    ).fit(X, sample_weight=weights)
    mean = np.average(X, axis=0, weights=weights)
    covariance = np.cov(X.T, aweights=weights, ddof=0)
    expected = stats.multivariate_normal(mean, covariance).logpdf(X)
    exact = np.average(expected, weights=weights)
    assert flow.score(X, sample_weight=weights) == pytest.approx(exact, abs=5e-3)
    assert flow.score(X) < exact - 0.1


def test_a_mixture_has_the_weights_of_its_parts(rng):
    X = rng.normal(size=(1000, 2))
    X[:500] += 30
    weights = np.where(X[:, 0] > 15, 9.0, 1.0)
    flow = RelativeGradientFlow(
        2, base_distribution=NormalMixture(4), max_iter=10, random_state=0
    ).fit(X, sample_weight=weights)
    assert (flow.sample(2000, random_state=0)[:, 0] > 15).mean() == pytest.approx(0.9, abs=0.03)


def test_the_first_loss_is_that_of_the_start(X, weights):
    flow = RelativeGradientFlow(**(FULL_BATCH | {"max_iter": 1, "learning_rate": 1e-12}))
    flow.fit(X, sample_weight=weights)
    assert flow.loss_curve_[0] == pytest.approx(-flow.score(X, sample_weight=weights), abs=1e-6)


def test_validation_scores_are_weighted(rng):
    # Half of the rows are far away, with hardly any weight: unweighted, they would be most of
    # the scores.
    X = rng.normal(size=(400, 2))
    far = np.arange(400) % 2 == 1
    X[far] *= 1000
    weights = np.where(far, 1e-9, 1.0)
    flow = RelativeGradientFlow(1, activation="leaky_tanh", max_iter=3, random_state=0)
    assert flow.fit(X, sample_weight=weights).best_validation_score_ > -4


def test_score_is_a_weighted_mean(X, weights):
    flow = RelativeGradientFlow(2, max_iter=2, random_state=0).fit(X)
    expected = np.average(flow.score_samples(X), weights=weights)
    assert flow.score(X, sample_weight=weights) == pytest.approx(expected, rel=1e-12)
    assert isinstance(flow.score(X, sample_weight=weights), float)
    assert flow.score(X, sample_weight=np.full(len(X), 0.1)) == pytest.approx(flow.score(X))


def test_weights_are_only_read(X, weights):
    weights.flags.writeable = False
    flow = RelativeGradientFlow(2, max_iter=2, random_state=0).fit(X, sample_weight=weights)
    again = clone(flow).fit(X, sample_weight=list(weights))
    assert np.array_equal(again.score_samples(X), flow.score_samples(X))


def test_warm_start_with_weights(X, weights):
    flow = RelativeGradientFlow(
        2, activation="leaky_tanh", max_iter=3, warm_start=True, random_state=0
    ).fit(X)
    flow.fit(X, sample_weight=weights)
    assert flow.n_iter_ == len(flow.loss_curve_)
    n_counted = (weights > 0).sum()
    assert flow.n_samples_seen_ == len(X) + n_counted
    kept = weights > 0
    twin = clone(flow).fit(X).fit(X[kept], sample_weight=weights[kept])
    assert np.array_equal(twin.score_samples(X), flow.score_samples(X))


@pytest.mark.parametrize("method", ["fit", "partial_fit", "score"])
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda n: np.r_[-1.0, np.ones(n - 1)], "Negative values .* `sample_weight`"),
        (np.zeros, "weight.*zero"),
        (lambda n: np.ones(n - 1), "sample_weight.shape"),
        (lambda n: np.r_[np.nan, np.ones(n - 1)], "sample_weight contains NaN"),
        (lambda n: np.full(n, 1e300), r"sample_weight adds up to 1.5e\+302.* Divide it by"),
    ],
    ids=["negative", "zero", "short", "nan", "huge"],
)
def test_what_is_refused(X, method, make, match):
    flow = RelativeGradientFlow(2, max_iter=1, random_state=0).fit(X)
    before, attributes = flow.score(X), set(vars(flow))
    with pytest.raises(ValueError, match=match):
        getattr(flow, method)(X, sample_weight=make(len(X)))
    assert flow.score(X) == before
    assert set(vars(flow)) == attributes


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_one_row_that_counts_is_too_few(X, method):
    weights = np.zeros(len(X))
    weights[3] = 2
    with pytest.raises(ValueError, match=r"positive for 1 row\(s\) only, while a minimum of 2"):
        getattr(RelativeGradientFlow(), method)(X, sample_weight=weights)


class TestMetadataRouting:
    @pytest.fixture(autouse=True)
    def _routing(self):
        with sklearn.config_context(enable_metadata_routing=True):
            yield

    def test_grid_search(self, X, weights):
        flow = RelativeGradientFlow(max_iter=2, random_state=0)
        flow.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        grid = {"n_layers": [1, 2]}
        search = GridSearchCV(flow, grid, cv=2, error_score="raise")
        search.fit(X, sample_weight=weights)
        by_hand = (
            clone(flow)
            .set_params(n_layers=2)
            .fit(X[75:], sample_weight=weights[75:])
            .score(X[:75], sample_weight=weights[:75])
        )
        assert search.cv_results_["split0_test_score"][1] == pytest.approx(by_hand)

    def test_pipeline(self, X, weights):
        flow = RelativeGradientFlow(2, max_iter=2, random_state=0).set_fit_request(
            sample_weight=True
        )
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, flow).fit(X, sample_weight=weights)
        Z = StandardScaler().fit_transform(X)
        by_hand = clone(flow).fit(Z, sample_weight=weights).score_samples(Z)
        assert np.array_equal(pipeline.score_samples(X), by_hand)

    def test_weights_that_nobody_asked_for_are_refused(self, X, weights):
        flow = RelativeGradientFlow(max_iter=2)
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
            make_pipeline(flow).fit(X, sample_weight=weights)
