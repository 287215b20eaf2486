"""Input of every kind: taken for what it is, or refused, and never misread."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from skflow import (
    ConditionalFlow,
    DensityEnsemble,
    FlowClassifier,
    FlowOutlierDetector,
    RelativeGradientFlow,
    TableFlow,
    datasets,
    default_bijections,
    metrics,
)
from skflow.estimators.score import mean_log_density
from skflow.preprocessing import sample_in_original_units, score_samples_in_original_units

METHODS = ("score_samples", "transform", "log_abs_det_jacobian", "inverse_transform", "score")


def small_flow(**parameters):
    return RelativeGradientFlow(2, max_iter=1, early_stopping=False, random_state=0, **parameters)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(14, 2))


@pytest.fixture(scope="module")
def flow(X):
    return small_flow().fit(X)


def spread(X):
    wide = np.full((2 * len(X), 2 * X.shape[1]), np.nan)
    wide[1::2, 1::2] = X
    return wide[1::2, 1::2]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


CONTAINERS = [
    *(np.asfortranarray, spread, read_only, np.ma.masked_array, torch.from_numpy, list),
    *(lambda X: X.astype(X.dtype.newbyteorder()), lambda X: X[::-1].copy()[::-1]),
    *(lambda X: X.astype(object), lambda X: X.tolist(), lambda X: X.astype(np.longdouble)),
    lambda X: torch.from_numpy(X.copy()).requires_grad_(),
]

numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([1e300, -1e300, 1e-300, 5e-324, 1e39, 0.0, -0.0]),
)


@settings(max_examples=40)
@given(
    method=st.sampled_from(METHODS), made_by=st.sampled_from(CONTAINERS), seed=st.integers(0, 9)
)
def test_containers_do_not_matter(flow, method, made_by, seed):
    rows = np.random.default_rng(seed).normal(size=(4, 2))
    result = getattr(flow, method)(made_by(rows.copy()))
    np.testing.assert_allclose(result, getattr(flow, method)(rows), rtol=1e-12)


def outcome(call, *arguments):
    """Return what a call returned and no error, or nothing and its error."""
    try:
        return call(*arguments), None
    except (ValueError, TypeError, ArithmeticError) as error:
        return None, error


@settings(max_examples=60)
@given(
    method=st.sampled_from(METHODS),
    rows=st.lists(st.lists(numbers, min_size=1, max_size=3), max_size=4),
)
def test_a_call_returns_no_nan_or_is_refused_and_changes_nothing(flow, method, rows):
    before = pickle.dumps(flow)
    result, error = outcome(getattr(flow, method), rows)
    if error is not None:
        assert len(str(error)) > 15
        assert pickle.dumps(flow) == before
        return
    far_out = np.abs(rows).max() > 1e30
    assert far_out or not np.isnan(result).any()
    assert np.isfinite(rows).all()
    assert np.shape(rows)[1] == 2


@settings(max_examples=25)
@given(
    name=st.sampled_from(sorted(set(RelativeGradientFlow().get_params()) - {"verbose"})),
    value=st.sampled_from(
        [None, "text", -1, 1.5, np.nan, np.inf, [], {}, object(), np.ones(2), b"x", 1j]
    ),
    method=st.sampled_from(["fit", "partial_fit"]),
)
def test_a_parameter_that_is_refused_changes_nothing(X, name, value, method):
    flow = small_flow().fit(X).set_params(**{name: value})
    before = {key: id(each) for key, each in vars(flow).items()}
    _, error = outcome(getattr(flow, method), X)
    if error is not None:
        assert len(str(error)) > 15
        assert {key: id(each) for key, each in vars(flow).items()} == before
    assert np.isfinite(flow.set_params(device="auto").score_samples(X)).all()


def test_partial_fit_checks_parameters_that_were_set_since(X):
    flow = small_flow().fit(X).set_params(matmul_precision="lowest")
    with pytest.raises(ValueError, match="matmul_precision"):
        flow.partial_fit(X)
    small_flow().fit(X)  # the process's precision is as it was


class TestWhatWouldBeMisread:
    @pytest.fixture
    def masked(self, X):
        masked = np.ma.masked_array(X.copy())
        masked[3, 1] = np.ma.masked
        return masked

    @pytest.mark.parametrize(
        "estimator",
        [
            small_flow(),
            FlowOutlierDetector(GaussianMixture(), cv=3),
            DensityEnsemble([("one", GaussianMixture())], cv=2),
            TableFlow(max_iter=1),
        ],
        ids=lambda estimator: type(estimator).__name__,
    )
    def test_masks(self, estimator, masked):
        with pytest.raises(ValueError, match="1 entries of a masked array are hidden"):
            estimator.fit(masked)

    def test_masks_of_scores_weights_and_groups(self, flow, X, masked):
        for method in METHODS:
            with pytest.raises(ValueError, match="are hidden"):
                getattr(flow, method)(masked)
        with pytest.raises(ValueError, match="are hidden"):
            small_flow().fit(X, sample_weight=masked[:, 1])
        with pytest.raises(ValueError, match="are hidden"):
            RelativeGradientFlow(max_iter=1).fit(X, groups=masked[:, 1])
        with pytest.raises(ValueError, match="are hidden"):
            metrics.crps(masked[:, 1], X)

    @pytest.mark.parametrize("kind", [np.float64, np.ndarray], ids=lambda kind: kind.__name__)
    def test_classes(self, flow, X, kind):
        calls = [flow.score_samples, small_flow().fit, TableFlow().fit]
        calls += [lambda rows: FlowClassifier().fit(rows, X[:, 0] > 0)]
        for call in [*calls, lambda rows: metrics.nearest_row_test(X, rows, X)]:
            with pytest.raises(TypeError, match=f"got the class {kind.__name__}"):
                call(kind)

    def test_estimators_that_are_classes(self, X):
        for call in (
            lambda: metrics.highest_density_coverage(RelativeGradientFlow, X),
            lambda: sample_in_original_units(RelativeGradientFlow, 3),
            lambda: score_samples_in_original_units(RelativeGradientFlow, X),
        ):
            with pytest.raises(TypeError, match="estimator"):
                call()

    def test_lists_of_several_lengths(self, X):
        with pytest.raises(ValueError, match="give all of them the same length"):
            FlowClassifier().fit(X[:2], [[1.0, 2.0], [3.0]])

    def test_tensors_that_are_not_dense(self, flow, X):
        with pytest.raises(TypeError, match="sparse tensor"):
            flow.score_samples(torch.from_numpy(X).to_sparse())

    def test_complex_numbers(self, flow, X):
        for rows in (X + 1j, torch.from_numpy(X + 1j)):
            with pytest.raises(ValueError, match="Complex data not supported"):
                flow.score_samples(rows)

    def test_mappings(self, X):
        detector = FlowOutlierDetector(GaussianMixture(), cv=3, random_state=0).fit(X)
        with pytest.raises(TypeError, match="mapping of type dict"):
            detector.score_samples({"a": [1.0, 2.0]})

    def test_frames_that_are_not_computed(self, flow, X):
        polars = pytest.importorskip("polars")
        with pytest.raises(TypeError, match=r"X\.collect\(\)"):
            flow.score_samples(polars.DataFrame(X).lazy())


def test_tensors_with_a_history_reach_every_member(X):
    rows = torch.from_numpy(X.copy()).requires_grad_()
    members = [("one", GaussianMixture(random_state=0))]
    ensemble = DensityEnsemble(members, cv=2, random_state=0)
    expected = DensityEnsemble(members, cv=2, random_state=0).fit(X).score_samples(X)
    np.testing.assert_allclose(ensemble.fit(rows).score_samples(rows), expected)
    labels = torch.arange(14) % 2
    classifier = FlowClassifier(GaussianMixture(random_state=0), cv=None, random_state=0)
    assert classifier.fit(X, labels).score(X, labels * torch.ones(14, requires_grad=True)) > 0.5


def test_no_rows_are_refused_by_what_hands_them_on(X):
    ensemble = DensityEnsemble([("one", GaussianMixture())], cv=2).fit(X)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        ensemble.score(X[:0])


@pytest.mark.parametrize("split", [([0, 1], [99]), (["a"], ["b"]), [0.5, 0.9]])
@pytest.mark.parametrize(
    "estimator", [FlowOutlierDetector(GaussianMixture()), FlowClassifier(GaussianMixture())]
)
def test_splits_that_are_none(X, estimator, split):
    with pytest.raises(ValueError, match="cv must give pairs"):
        estimator.set_params(cv=[split]).fit(X, np.arange(14) % 2)


@pytest.mark.parametrize(
    "cv", [[], np.empty((0, 2)), pd.DataFrame()], ids=["list", "array", "frame"]
)
@pytest.mark.parametrize(
    "estimator",
    [
        ConditionalFlow(),
        DensityEnsemble([("one", GaussianMixture())]),
        FlowClassifier(GaussianMixture()),
        FlowOutlierDetector(GaussianMixture()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_no_split_at_all(X, estimator, cv):
    with pytest.raises(ValueError, match="cv must give one split at least"):
        estimator.set_params(cv=cv).fit(X, np.arange(14) % 2)


@pytest.fixture(scope="module")
def frame():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    return pandas.DataFrame(
        {"a": rng.normal(size=20), "b": list("xyzu") * 5, "c": np.arange(20) % 5}
    )


@pytest.fixture(scope="module")
def table(frame):
    return TableFlow(n_particles=5, max_iter=1, random_state=0).fit(frame)


class TestTables:
    def test_entries_that_are_no_levels_are_named(self, table, frame):
        frame = frame.assign(b=frame["b"].astype(object))
        frame.at[2, "b"] = [1, 2]
        for call in (table.score_samples, TableFlow(max_iter=1).fit):
            with pytest.raises(ValueError, match="Column 'b' has entries of type list"):
                call(frame)

    def test_dates_are_no_numbers(self, table, frame):
        dates = frame.assign(c=np.arange(20).astype("M8[s]"))
        with pytest.raises(ValueError, match="'c' held numbers in fit, but now has dates"):
            table.score_samples(dates)

    def test_what_is_observed_stays_as_it_is(self, table, frame):
        holes = frame.assign(a=np.nan, c=frame["c"] + 0.5)
        assert (table.impute(holes)["c"] == holes["c"]).all()

    def test_a_marginal_knows_its_columns(self, table, frame):
        marginal = table.marginal(["c", "a"])
        assert np.isfinite(marginal.score_samples(frame[["c", "a"]])).all()
        with pytest.raises(ValueError, match=r"must have the columns \['c', 'a'\]"):
            marginal.score_samples(frame[["a", "c"]])

    @pytest.mark.parametrize("columns", [None, 0, np.nan, slice(1), [[0]], [{}], {}])
    def test_names_that_are_none(self, table, columns):
        with pytest.raises(ValueError, match="columns must be one or several of"):
            table.marginal(columns)

    def test_explain_takes_frames_of_another_library(self, frame):
        polars = pytest.importorskip("polars")
        detector = FlowOutlierDetector(TableFlow(max_iter=1, n_particles=5), cv=3, random_state=0)
        detector.fit(frame[["a", "b"]])
        other = polars.DataFrame({"a": frame["a"].to_numpy(), "b": frame["b"].tolist()})
        np.testing.assert_allclose(detector.explain(other), detector.explain(frame[["a", "b"]]))


@pytest.mark.parametrize(
    "density",
    [datasets.half_moons(), datasets.Checkerboard(), datasets.Pinwheel(), datasets.marron_wand(2)],
    ids=lambda density: type(density).__name__,
)
def test_known_densities_are_zero_far_out(density):
    n_features = 1 if isinstance(density, datasets.UnivariateNormalMixture) else 2
    far_out = np.full((3, n_features), [[1e160], [-1e300], [np.finfo(float).max]])
    with np.errstate(all="raise", under="ignore"):
        assert (density.score_samples(far_out) < -1e200).all()
    with pytest.raises(ValueError, match="columns, but the density is one of"):
        density.score_samples(np.zeros((2, n_features + 1)))


@pytest.mark.parametrize("n_samples", [10**13, 2**60, 10**30])
def test_rows_that_have_no_room_are_not_asked_for(flow, X, n_samples):
    table = TableFlow(max_iter=1, n_particles=2, random_state=0).fit(X)
    for draw in (flow.sample, table.sample, datasets.marron_wand(1).sample):
        with pytest.raises((MemoryError, ValueError), match=f"n_samples={n_samples} rows"):
            draw(n_samples)


def test_crps_is_as_large_as_its_unit(X):
    y, draws = X[:, 0], np.random.default_rng(1).normal(size=(14, 9))
    score = metrics.crps(1e300 * y, 1e300 * draws)
    assert score == pytest.approx(1e300 * metrics.crps(y, draws))


def test_a_row_without_weight_may_have_no_density():
    log_density = datasets.Checkerboard().score_samples([[0.5, 0.5], [0.5, 1.5]])
    assert mean_log_density(log_density, [1.0, 0.0]) == pytest.approx(-np.log(32))
    assert mean_log_density(np.array([-1e300, -1.0]), [1e20, 1.0]) == pytest.approx(-1e300)


@pytest.mark.parametrize(
    "sizes", [(None, 2), (10, "2"), (10, True), (1.5, 2), (10, 10**12), (0, 1)]
)
def test_sizes_that_are_none(sizes):
    with pytest.raises((TypeError, ValueError), match="must be"):
        default_bijections(*sizes)
