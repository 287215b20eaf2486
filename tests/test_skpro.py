"""Conditional flows as regressors of skpro: its own checks, and agreement with the flow."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import trapezoid
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.preprocessing import StandardScaler

import skflow
from skflow import ConditionalFlow

pytest.importorskip("skpro")

from skpro.metrics import CRPS, LogLoss, SquaredDistrLoss
from skpro.model_selection import GridSearchCV
from skpro.registry._base_classes_tests import get_test_classes_for_obj
from skpro.utils.estimator_checks import check_estimator

from skflow.skpro import ConditionalFlowDistribution, ConditionalFlowRegressor

N_ROWS = 8

# Two epochs may end below their start.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The fit ended at .* below its start:RuntimeWarning"
)


def checks_of_skpro():
    """Return the names of skpro's checks of the regressor and of its distribution."""
    return [
        pytest.param(part, name, id=f"{part.__name__}-{name}")
        for part in (ConditionalFlowRegressor, ConditionalFlowDistribution)
        for name in sorted(
            {name for suite in get_test_classes_for_obj(part) for name in dir(suite)}
        )
        if name.startswith("test_")
    ]


@pytest.mark.parametrize(("part", "name"), checks_of_skpro())
def test_checks_of_skpro(part, name, global_random_seed):
    np.random.seed(global_random_seed)  # noqa: NPY002 (skpro's checks draw from it)
    results = check_estimator(part, tests_to_run=name, raise_exceptions=True, verbose=False)
    assert set(results.values()) <= {"PASSED"}


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 2)), columns=["u", "v"])
    noise = rng.normal(size=(60, 2)) @ [[1.0, 0.9], [0.0, 0.4]]
    y = pd.DataFrame(np.sin(X) + 0.3 * noise, index=X.index).set_axis(["a", "b"], axis=1)
    return X, y


@pytest.fixture(scope="module")
def regressor(tables):
    X, y = tables
    return ConditionalFlowRegressor(small_flow()).fit(X, y[["a"]])


@pytest.fixture(scope="module")
def joint(tables):
    return ConditionalFlowRegressor(small_flow()).fit(*tables)


def small_flow(**params):
    return ConditionalFlow(max_iter=2, n_trees=5, random_state=0, **params)


def along(regressor, X, grid):
    """Return the distribution of the first row of `X`, once for each point of a grid."""
    same = X.iloc[np.zeros(len(grid), int)].reset_index(drop=True)
    return regressor.predict_proba(same), pd.DataFrame({"a": grid})


def test_it_is_there_when_it_is_asked_for():
    assert skflow.skpro.ConditionalFlowRegressor is ConditionalFlowRegressor


def test_one_target_is_exact(regressor, tables):
    X, y = (table[:N_ROWS] for table in tables)
    y = y[["a"]]
    flow, p = regressor.flow_, regressor.predict_proba(X)
    log_density = flow.score_samples(X, y)
    np.testing.assert_array_equal(p.log_pdf(y)["a"], log_density)
    np.testing.assert_array_equal(p.pdf(y)["a"], np.exp(log_density))
    np.testing.assert_array_equal(p.cdf(y), flow.cdf(X, y))
    np.testing.assert_allclose(p.ppf(p.cdf(y)), y, atol=1e-6)
    np.testing.assert_array_equal(p.mean(), flow.predict(X))
    np.testing.assert_array_equal(p.var(), flow.predict_std(X) ** 2)
    levels = [0.1, 0.5, 0.9]
    quantiles = flow.predict_quantiles(X, levels)[:, 0]
    np.testing.assert_allclose(p.quantile(levels), quantiles, rtol=1e-9)
    np.testing.assert_array_equal(regressor.predict_quantiles(X, levels), quantiles)
    np.testing.assert_array_equal(regressor.predict(X), flow.predict(X))
    np.testing.assert_array_equal(regressor.predict_var(X), flow.predict_std(X) ** 2)
    np.testing.assert_array_equal(p.ppf(0.0), -np.inf)
    np.testing.assert_array_equal(p.ppf(1.0), np.inf)


def test_energies_and_norms_are_integrals(regressor, tables):
    X, _ = tables
    grid = np.linspace(-6, 6, 6001)
    p, points = along(regressor, X, grid)
    cdf, pdf = p.cdf(points)["a"].to_numpy(), p.pdf(points)["a"].to_numpy()
    assert trapezoid(pdf, grid) == pytest.approx(1, abs=1e-3)
    first = p.iloc[[0]]
    energy = trapezoid(2 * cdf * (1 - cdf), grid)
    assert first.energy().iloc[0, 0] == pytest.approx(energy, rel=2e-3)
    for x in (-1.0, 0.2, 3.0):
        energy = trapezoid(pdf * abs(grid - x), grid)
        assert first.energy(pd.DataFrame({"a": [x]})).iloc[0, 0] == pytest.approx(energy, rel=2e-3)
        assert p.iloc[0, 0].energy(x) == pytest.approx(energy, rel=2e-3)
    for a in (0.5, 2, 3):
        norm = trapezoid(pdf**a, grid)
        assert first.pdfnorm(a).loc[0, "a"] == pytest.approx(norm, rel=1e-2)
        assert p.iloc[0, 0].pdfnorm(a) == pytest.approx(norm, rel=1e-2)


def test_samples_follow_the_distribution(joint, tables):
    X, _ = tables
    p = joint.predict_proba(X[:N_ROWS])
    np.random.seed(0)  # noqa: NPY002 (what samples are drawn from)
    samples = p.sample(4000)
    np.random.seed(0)  # noqa: NPY002
    pd.testing.assert_frame_equal(samples, p.sample(4000))
    mean, std = samples.groupby(level=1).mean(), np.sqrt(p.var())
    np.testing.assert_array_less(abs(mean - p.mean()), 0.1 * std)
    # The targets of a row are drawn together.
    drawn = joint.flow_.sample(X[:N_ROWS], 4000, random_state=1)
    for row in range(N_ROWS):
        correlation = np.corrcoef(samples.xs(row, level=1).T)[0, 1]
        assert correlation == pytest.approx(np.corrcoef(drawn[row])[0, 1], abs=0.15)
    assert isinstance(p.iloc[0, 1].sample(), float)


def test_several_targets_are_marginals(joint, tables):
    X, y = (table[:N_ROWS] for table in tables)
    flow, p = joint.flow_, joint.predict_proba(X)
    np.testing.assert_array_equal(p.cdf(y), flow.cdf(X, y))
    np.testing.assert_array_equal(joint.predict(X), flow.predict(X))
    levels = [0.1, 0.5, 0.9]
    quantiles = flow.predict_quantiles(X, levels).reshape(N_ROWS, -1)
    found = joint.predict_quantiles(X, levels)
    np.testing.assert_array_equal(found, quantiles)
    pd.testing.assert_frame_equal(found, p.quantile(levels), check_exact=False)
    points = p.ppf(np.full((N_ROWS, 2), 0.3))
    np.testing.assert_allclose(p.cdf(points), 0.3, atol=1 / 256)
    for method in (p.log_pdf, p.pdf):
        with pytest.raises(NotImplementedError, match="score_samples of the regressor's flow_"):
            method(y)
    assert p.get_tag("capabilities:exact") == []


def test_parts_are_what_they_are_in_the_whole(joint, tables):
    X, y = (table[:N_ROWS] for table in tables)
    p = joint.predict_proba(X)
    part = p.loc[[5, 2], ["b"]]
    for method in ("mean", "var"):
        whole = getattr(p, method)()
        pd.testing.assert_frame_equal(getattr(part, method)(), whole.loc[[5, 2], ["b"]])
        assert getattr(p.iloc[2, 1], method)() == pytest.approx(whole.iloc[2, 1])
    pd.testing.assert_frame_equal(part.cdf(y.loc[[5, 2], ["b"]]), p.cdf(y).loc[[5, 2], ["b"]])
    assert p.iloc[2, 1].cdf(y.iloc[2, 1]) == pytest.approx(p.cdf(y).iloc[2, 1])
    assert p.at[2, "b"].ppf(0.3) == pytest.approx(p.ppf(0.3).loc[2, "b"])
    energies = p.energy(y)["energy"]
    parts = sum(p.loc[:, [name]].energy(y[[name]])["energy"] for name in y)
    np.testing.assert_allclose(energies, parts)
    np.testing.assert_allclose(p.energy(), p.loc[:, ["a"]].energy() + p.loc[:, ["b"]].energy())


@pytest.mark.parametrize("cv", [None, ShuffleSplit(1, test_size=0.4, random_state=0)])
def test_intervals_are_those_of_the_flow(tables, cv):
    X, y = tables
    regressor = ConditionalFlowRegressor(small_flow(cv=cv)).fit(X, y)
    found = regressor.predict_interval(X[:N_ROWS], [0.5, 0.8])
    for coverage in (0.5, 0.8):
        expected = regressor.flow_.predict_interval(X[:N_ROWS], coverage)
        for k, name in enumerate(["a", "b"]):
            np.testing.assert_array_equal(found[name, coverage], expected[:, k])


def test_copies_keep_the_fit(joint, tables):
    X, y = (table[:N_ROWS] for table in tables)
    p = joint.predict_proba(X)
    for copy in (p.clone(), pickle.loads(pickle.dumps(p))):
        pd.testing.assert_frame_equal(copy.cdf(y), p.cdf(y))
    restored = pickle.loads(pickle.dumps(joint))
    pd.testing.assert_frame_equal(restored.predict(X), joint.predict(X))


def test_arrays_series_and_names_that_are_numbers(tables):
    X, y = tables
    by_frames = ConditionalFlowRegressor(small_flow()).fit(X, y[["a"]]).predict(X)["a"]
    by_arrays = ConditionalFlowRegressor(small_flow()).fit(X.to_numpy(), y[["a"]].to_numpy())
    np.testing.assert_array_equal(by_arrays.predict(X.to_numpy())[:, 0], by_frames)
    mixed = X.set_axis([0, "v"], axis=1)
    by_series = ConditionalFlowRegressor(small_flow()).fit(mixed, y["a"])
    np.testing.assert_array_equal(by_series.predict(mixed), by_frames)
    assert list(mixed) == [0, "v"]


def test_features_that_are_missing_or_categories(tables):
    X, y = tables
    X = X.assign(u=X["u"].mask(X["v"] > 1), kind=pd.Categorical(np.where(X["v"] > 0, "p", "q")))
    regressor = ConditionalFlowRegressor(small_flow()).fit(X, y)
    np.testing.assert_array_equal(regressor.predict(X), regressor.flow_.predict(X))


def test_a_flow_that_was_fitted_elsewhere(tables):
    X, y = tables
    flow = small_flow().fit(X, y["a"])
    p = ConditionalFlowDistribution(FrozenEstimator(flow), X[:N_ROWS], columns=["a"])
    np.testing.assert_array_equal(p.mean()["a"], flow.predict(X[:N_ROWS]))
    np.testing.assert_array_equal(
        p.log_pdf(y[["a"]][:N_ROWS])["a"], flow.score_samples(X[:N_ROWS], y["a"][:N_ROWS])
    )
    assert p.index.equals(X.index[:N_ROWS])


def test_metrics_pipelines_and_searches(tables):
    X, y = tables[0], tables[1][["a"]]
    pipeline = StandardScaler() * ConditionalFlowRegressor(small_flow())
    p = pipeline.fit(X, y).predict_proba(X)
    for metric in (CRPS(), LogLoss(), SquaredDistrLoss()):
        assert np.isfinite(metric(y, p))
    regressor = ConditionalFlowRegressor(small_flow())
    search = GridSearchCV(
        regressor, KFold(2), {"flow__max_iter": [1, 2]}, scoring=CRPS(), backend="None"
    )
    search.fit(X, y)
    assert search.best_params_["flow__max_iter"] == search.best_estimator_.flow_.max_iter
    assert search.predict(X).shape == y.shape
