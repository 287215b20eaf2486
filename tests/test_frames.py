"""Frames in, and frames out where they are asked for, of pandas and of Polars."""

import pickle
from contextlib import ExitStack

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skflow import RelativeGradientFlow
from skflow.preprocessing import DequantizationTransformer, LogitTransformer

NAMES = ["visits", "share", "change"]
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame}

# Their first column holds whole numbers, for the sake of the transformers.
pytestmark = [
    pytest.mark.filterwarnings("ignore::skflow.exceptions.ColumnWarning"),
    pytest.mark.usefixtures("quick_mixtures"),
]

ESTIMATORS = [
    RelativeGradientFlow(n_layers=2, max_iter=2, random_state=0),
    DequantizationTransformer(random_state=0),
    LogitTransformer([-1, 0, -np.inf], [50, 1, np.inf]),
]


@pytest.fixture(params=ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def estimator(request):
    return clone(request.param)


@pytest.fixture
def flow():
    return clone(ESTIMATORS[0])


@pytest.fixture
def X(rng):
    return np.column_stack(
        [rng.poisson(5, 100), rng.uniform(0.1, 0.9, 100), rng.normal(size=100)]
    ).astype(float)


def as_frame(library, X):
    return FRAMES[library](dict(zip(NAMES, X.T, strict=True)))


@pytest.fixture(params=["set_output", "config_context"])
def ask_for(request):
    """Ask for frames, of one estimator or of all."""
    with ExitStack() as stack:

        def ask(estimator, library):
            if request.param == "set_output":
                estimator.set_output(transform=library)
            else:
                stack.enter_context(sklearn.config_context(transform_output=library))
            return estimator

        yield ask


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_there_and_back(estimator, X, library, ask_for):
    expected = clone(estimator).fit(X)
    frame = as_frame(library, X)
    ask_for(estimator, library).fit(frame)
    assert list(estimator.feature_names_in_) == NAMES
    Y = estimator.transform(frame)
    assert isinstance(Y, FRAMES[library])
    assert list(Y.columns) == list(estimator.get_feature_names_out())
    np.testing.assert_array_equal(Y.to_numpy(), expected.transform(X))
    back = estimator.inverse_transform(Y)
    assert isinstance(back, FRAMES[library])
    assert list(back.columns) == NAMES
    np.testing.assert_allclose(back.to_numpy(), X, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_samples_have_the_columns_of_the_data(flow, X, library, ask_for):
    rows = flow.fit(as_frame(library, X)).sample(5, random_state=0)
    assert isinstance(rows, np.ndarray)
    framed = ask_for(flow, library).sample(5, random_state=0)
    assert isinstance(framed, FRAMES[library])
    assert list(framed.columns) == NAMES
    np.testing.assert_array_equal(framed.to_numpy(), rows)
    # What is no row is no frame.
    assert isinstance(flow.score_samples(framed), np.ndarray)


def test_an_index_is_kept_on_the_way_there_and_back(estimator, X):
    index = pd.date_range("2026-01-01", periods=len(X))
    frame = as_frame("pandas", X).set_index(index)
    Y = estimator.set_output(transform="pandas").fit(frame).transform(frame)
    pd.testing.assert_index_equal(Y.index, index)
    back = estimator.inverse_transform(Y)
    pd.testing.assert_index_equal(back.index, index)
    pd.testing.assert_frame_equal(back, frame, rtol=1e-8, atol=1e-8, check_freq=False)


def test_columns_without_names_are_counted(flow, X):
    flow.set_output(transform="pandas").fit(X)
    assert list(flow.sample(2).columns) == ["x0", "x1", "x2"]
    assert list(flow.inverse_transform(X).columns) == ["x0", "x1", "x2"]


def test_an_estimator_goes_before_the_configuration(flow, X):
    flow.set_output(transform="default").fit(as_frame("pandas", X))
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(flow.sample(2), np.ndarray)
        assert isinstance(flow.inverse_transform(X), np.ndarray)
        flow.set_output(transform="polars")
        assert isinstance(flow.sample(2), pl.DataFrame)
    assert isinstance(pickle.loads(pickle.dumps(flow)).sample(2), pl.DataFrame)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_in_another_order_are_refused(estimator, X, library):
    frame = as_frame(library, X)
    estimator.fit(frame)
    with pytest.raises(ValueError, match="order as they were in fit"):
        estimator.transform(frame[NAMES[::-1]])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_samples_of_a_pipeline_have_the_columns_of_the_data(flow, X, library):
    pipeline = make_pipeline(*ESTIMATORS[1:], flow).set_output(transform=library)
    pipeline.fit(as_frame(library, X))
    samples = pipeline[:-1].inverse_transform(pipeline[-1].sample(20, random_state=0))
    assert isinstance(samples, FRAMES[library])
    assert list(samples.columns) == NAMES
    assert (samples["visits"] == samples["visits"].round()).all()
    assert ((samples["share"] > 0) & (samples["share"] < 1)).all()


def test_columns_that_are_named_are_found_in_any_frame(X):
    for library in FRAMES:
        dequantize = DequantizationTransformer(columns=["visits"]).fit(as_frame(library, X))
        np.testing.assert_array_equal(dequantize.columns_, [0])


def test_types_of_pandas_that_have_a_missing_value(flow, X):
    frame = as_frame("pandas", X).assign(change=X[:, 2] > 0)
    expected = clone(flow).fit(frame.astype(float)).score_samples(frame.astype(float))
    frame = frame.astype({"visits": "Int64", "share": "Float64", "change": "boolean"})
    np.testing.assert_array_equal(flow.fit(frame).score_samples(frame), expected)
    frame.loc[3, "visits"] = pd.NA
    with pytest.raises(ValueError, match="contains NaN"):
        flow.score_samples(frame)


def test_a_missing_value_of_polars(flow, X):
    frame = as_frame("polars", X)
    flow.fit(frame)
    with pytest.raises(ValueError, match="contains NaN"):
        flow.score_samples(frame.with_columns(visits=pl.Series([None, *X[1:, 0]])))


def test_single_precision_is_kept(flow, X):
    frame = as_frame("pandas", X).astype(np.float32)
    flow.set_output(transform="pandas").fit(frame)
    Z = flow.transform(frame)
    for rows in (Z, flow.inverse_transform(Z), flow.sample(3)):
        assert set(rows.dtypes) == {np.dtype(np.float32)}
