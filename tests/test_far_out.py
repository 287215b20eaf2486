"""Rows and latents far from all that a density was fitted to."""

import numpy as np
import pandas as pd
import pytest
from sklearn.mixture import GaussianMixture

from skflow import (
    ConditionalFlow,
    DensityEnsemble,
    DensityRatio,
    FlowOutlierDetector,
    LogarithmicPool,
    RelativeGradientFlow,
    TableFlow,
)
from skflow.exceptions import InversionError

pytestmark = pytest.mark.filterwarnings("ignore::skflow.exceptions.ColumnWarning")

# Nearer to the rows, a density may rise along a ray as it sees fit.
SIZES = 10.0 ** np.arange(2, 31)
FALLING = SIZES >= 1e10

SEPARATE = {"max_iter": 5, "early_stopping": False}
FLOWS = {
    "few rows": ("skewed", {"max_iter": 5}),
    "few rows in parts": ("parts", {"max_iter": 5}),
    "few positive rows": ("positive", {"max_iter": 5}),
    "no mixture": ("skewed", SEPARATE),
    "affine couplings": ("skewed", SEPARATE | {"coupling": "affine"}),
    "no couplings": ("skewed", SEPARATE | {"coupling": None}),
    "leaky tanh": ("skewed", SEPARATE | {"activation": "leaky_tanh"}),
    "smooth leaky ReLU": ("skewed", SEPARATE | {"activation": "smooth_leaky_relu"}),
    "hyperbolic secant": ("skewed", SEPARATE | {"base_distribution": "hyperbolic_secant"}),
    "logistic": ("skewed", SEPARATE | {"base_distribution": "logistic"}),
    "Student's t": ("skewed", SEPARATE | {"base_distribution": "student_t"}),
    "mixture of latents": ("skewed", SEPARATE | {"base_distribution": "mixture"}),
    "float64": ("skewed", {"max_iter": 5, "dtype": "float64"}),
}


def table(kind, n_columns=3, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "positive":
        return np.exp(2 * rng.normal(size=(300, n_columns)))
    X = rng.gamma(2.0, size=(300, n_columns)) @ rng.normal(size=(n_columns, n_columns))
    if kind == "parts":
        X[:150] += 20
    return X


def far_rows(X):
    """Return rows of shape (sizes, rays, columns): in each column, in all, and at random."""
    rng = np.random.default_rng(1)
    n_columns = X.shape[1]
    axes, ones = np.eye(n_columns), np.ones((1, n_columns))
    directions = np.concatenate(
        [
            axes,
            -axes,
            ones,
            -ones,
            rng.normal(size=(6, n_columns)),
            [(-1.0) ** np.arange(n_columns)],
        ]
    )
    return np.median(X, 0) + SIZES[:, None, None] * X.std(0) * directions


def scores_of(score, X, dtype=np.float64):
    rows = far_rows(X).astype(dtype)
    return np.asarray(score(rows.reshape(-1, X.shape[1]))).reshape(rows.shape[:2])


def assert_finite_and_falling(scores):
    assert np.isfinite(scores).all()
    assert (np.diff(scores[FALLING], axis=0) < 0).all()


@pytest.fixture(scope="module", params=FLOWS)
def fitted(request, while_mixtures_are_quick):
    kind, parameters = FLOWS[request.param]
    X = table(kind)
    with while_mixtures_are_quick():
        return RelativeGradientFlow(random_state=0, **parameters).fit(X), X


class TestFlows:
    def test_scores_are_finite_and_fall(self, fitted):
        flow, X = fitted
        assert_finite_and_falling(scores_of(flow.score_samples, X))

    def test_scores_of_float32_are_finite_as_far_as_it_goes(self, fitted):
        flow, X = fitted
        exact = scores_of(flow.score_samples, X)
        scores = scores_of(flow.score_samples, X, np.float32)
        assert not np.isnan(scores).any()
        assert (scores[FALLING][1:] <= scores[FALLING][:-1]).all()
        held = exact > -1e38
        assert np.isfinite(scores[held]).all()
        np.testing.assert_allclose(
            scores[held & FALLING[:, None]], exact[held & FALLING[:, None]], rtol=1e-2
        )

    def test_latents_and_samples_are_finite(self, fitted):
        flow, X = fitted
        rows = far_rows(X).reshape(-1, 3)
        for dtype in (np.float64, np.float32):
            assert np.isfinite(flow.transform(rows.astype(dtype))).all()
            assert np.isfinite(flow.log_abs_det_jacobian(rows.astype(dtype))).all()
        assert np.isfinite(flow.sample(10_000, random_state=0)).all()

    def test_latents_come_back(self, fitted):
        flow, _ = fitted
        latents = SIZES[::4, None] * np.array([1.0, -0.5, 0.2])
        rows = flow.inverse_transform(latents)
        assert np.isfinite(rows).all()
        error = np.abs(flow.transform(rows) - latents).max(1) / SIZES[::4]
        assert (error < 1e-2).all()

    def test_latents_of_float32_come_back_or_are_refused(self, fitted):
        flow, _ = fitted
        for size in (1e3, 1e10, 1e20, 1e30):
            try:
                rows = flow.inverse_transform(np.full((1, 3), size, dtype=np.float32))
            except InversionError:
                assert size > 1e5  # its image overflows, as tails are long
            else:
                assert np.isfinite(rows).all()

    def test_what_overflows_is_refused_and_has_no_density(self, fitted):
        flow, _ = fitted
        rows = np.full((2, 3), 1.7e308) * [[1], [-1]]
        assert (flow.score_samples(rows) < -1000).all()
        refused = []
        for method in (flow.transform, flow.log_abs_det_jacobian):
            try:
                assert np.isfinite(method(rows)).all()
            except ValueError as error:
                refused.append(str(error))
        assert all("is not finite in torch.float64" in message for message in refused)


@pytest.fixture(scope="module", params=[1, 2])
def conditional(request, while_mixtures_are_quick):
    X = table("skewed")
    rng = np.random.default_rng(0)
    y = X[:, : request.param] + rng.gamma(2.0, size=(len(X), request.param))
    with while_mixtures_are_quick():
        return ConditionalFlow(max_iter=5, random_state=0).fit(X, y), X, y


class TestConditionalFlow:
    def test_targets_far_out(self, conditional):
        flow, X, y = conditional

        def score(targets):
            return flow.score_samples(np.repeat(X[:1], len(targets), 0), targets)

        assert_finite_and_falling(scores_of(score, y))

    def test_features_far_out(self, conditional):
        flow, X, y = conditional
        rows = np.concatenate([far_rows(X)[::5].reshape(-1, 3)[::3], [[1e60, -1e60, 1e60]]])
        assert np.isfinite(flow.score_samples(rows, np.repeat(y[:1], len(rows), 0))).all()
        for method in (flow.predict, flow.predict_std, flow.sample):
            assert np.isfinite(method(rows)).all()

    def test_latents_come_back(self, conditional):
        flow, X, y = conditional
        Z = np.concatenate([SIZES, -SIZES])[:, None] * np.ones(y.shape[1])
        targets = flow.from_latents(X[: len(Z)], Z)
        np.testing.assert_allclose(flow.to_latents(X[: len(Z)], targets), Z, rtol=1e-6)

    def test_what_overflows_is_refused_and_has_no_density(self, conditional):
        flow, X, y = conditional
        targets = np.full((1, y.shape[1]), 1.7e308)
        assert not np.isnan(flow.score_samples(X[:1], targets)).any()
        features = np.array([[1.797e308, -1.797e308, 1e150]])
        assert not np.isnan(flow.score_samples(features, y[:1])).any()
        with pytest.raises(ValueError, match=r"is not finite in torch\.float64"):
            flow.to_latents(X[:1], targets)


def a_flow():
    return RelativeGradientFlow(random_state=0, **SEPARATE)


OTHERS = {
    "ensemble": lambda: DensityEnsemble(
        [("flow", a_flow()), ("mixture", GaussianMixture(2, random_state=0))], cv=2, random_state=0
    ),
    "pool": lambda: LogarithmicPool(a_flow()),
    "detector": lambda: FlowOutlierDetector(LogarithmicPool(a_flow()), random_state=0),
    "table": lambda: TableFlow(max_iter=3, random_state=0),
}


# A mixture of scikit-learn says that it overflows, in float32.
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("name", OTHERS)
def test_other_densities_are_finite_and_fall(name, while_mixtures_are_quick):
    X = table("skewed")
    with while_mixtures_are_quick():
        density = OTHERS[name]().fit(X)
    assert_finite_and_falling(scores_of(density.score_samples, X))
    of_float32 = scores_of(density.score_samples, X, np.float32)
    assert not np.isnan(of_float32).any()
    assert (of_float32[FALLING][1:] <= of_float32[FALLING][:-1]).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("as_frame", [False, True])
def test_a_ratio_of_densities_is_no_nan(dtype, as_frame):
    X = table("skewed")
    ratio = DensityRatio(a_flow(), random_state=0).fit(X, X + X.std(0))
    rows = far_rows(X).reshape(-1, 3).astype(dtype)
    scores = ratio.score_samples(pd.DataFrame(rows) if as_frame else rows)
    assert np.isfinite(scores).all()


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "share": rng.beta(2, 3, 300),
            "count": rng.poisson(50, 300),
            "number": rng.normal(size=300),
            "rain": np.where(rng.random(300) < 0.4, 0.0, rng.gamma(2.0, size=300)),
        }
    )


@pytest.fixture(scope="module")
def mixed(frame, while_mixtures_are_quick):
    with while_mixtures_are_quick():
        return TableFlow(max_iter=3, random_state=0).fit(frame)


@pytest.mark.parametrize("column", ["share", "count", "number", "rain"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_entries_of_a_table_of_several_kinds(mixed, frame, column, sign):
    rows = pd.concat([frame[:1]] * len(SIZES), ignore_index=True)
    rows[column] = sign * SIZES
    scores = mixed.score_samples(rows)
    if sign < 0 and column in {"count", "rain"}:
        assert (scores == -np.inf).all()  # these are never negative, and have no mass there
        return
    assert np.isfinite(scores).all()
    assert (np.diff(scores[FALLING]) < 0).all()
