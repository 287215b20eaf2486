import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from skflow.preprocessing import LogitTransformer

LOW = np.array([0, -3, 10, -np.inf])
HIGH = np.array([1, 2, 266, np.inf])


# The checks fit data between -1000 and 1000.
@parametrize_with_checks(
    [
        LogitTransformer(-1000, 1000),
        LogitTransformer(-1000, 1000, alpha=0),
        LogitTransformer(-np.inf, np.inf),
    ]
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.fixture
def X(rng):
    finite = LOW[:3] + (HIGH - LOW)[:3] * rng.uniform(0.001, 0.999, size=(50, 3))
    return np.column_stack([finite, rng.normal(size=50)])


@pytest.mark.parametrize("alpha", [0, 1e-6, 0.05])
def test_values_and_jacobian_against_automatic_differentiation(X, alpha):
    low, high = torch.from_numpy(LOW[:3]), torch.from_numpy(HIGH[:3])

    def reference(x):
        y = torch.logit(alpha + (1 - 2 * alpha) * (x[:3] - low) / (high - low))
        return torch.cat([y, x[3:]])

    logit = LogitTransformer(LOW, HIGH, alpha=alpha).fit(X)
    expected = torch.stack([reference(x) for x in torch.from_numpy(X)])
    np.testing.assert_allclose(logit.transform(X), expected, rtol=1e-10, atol=1e-12)
    jacobians = torch.stack(
        [torch.autograd.functional.jacobian(reference, x) for x in torch.from_numpy(X)]
    )
    np.testing.assert_allclose(
        logit.log_abs_det_jacobian(X), torch.linalg.slogdet(jacobians)[1], rtol=1e-10
    )


@pytest.mark.parametrize("alpha", [0, 1e-6, 0.05])
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_round_trip(X, alpha, dtype, rtol):
    X = X.astype(dtype)
    logit = LogitTransformer(LOW, HIGH, alpha=alpha).fit(X)
    Y = logit.transform(X)
    back = logit.inverse_transform(Y)
    assert Y.dtype == back.dtype == dtype
    # Errors grow with the logits, which stay below 8.
    assert (abs(back - X) <= 16 * rtol * np.maximum(abs(X), 1)).all()
    np.testing.assert_allclose(logit.transform(back), Y, rtol=1e3 * rtol, atol=1e3 * rtol)


def test_bounds_map_to_finite_numbers():
    X = np.array([[0.0], [1.0]])
    logit = LogitTransformer().fit(X)
    np.testing.assert_allclose(
        logit.transform(X)[:, 0], np.log(1e6) * np.array([-1, 1]), rtol=1e-6
    )
    np.testing.assert_allclose(logit.log_abs_det_jacobian(X), np.log(1e6), rtol=1e-6)
    np.testing.assert_allclose(logit.inverse_transform(logit.transform(X)), X, atol=1e-15)


def test_tiny_distances_keep_their_digits():
    X = np.array([[1e-300], [1e-20], [0.5]])
    logit = LogitTransformer(alpha=0).fit(X)
    Y = logit.transform(X)
    np.testing.assert_allclose(Y[:, 0], [np.log(1e-300), np.log(1e-20), 0], rtol=1e-14)
    np.testing.assert_allclose(logit.inverse_transform(Y), X, rtol=1e-12)


@pytest.mark.parametrize("alpha", [0, 1e-6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whatever_comes_back_lies_within_the_bounds_and_can_go_there_again(alpha, dtype):
    logits = np.array([-1e6, -1e3, -20, -14, 0, 14, 20, 1e3, 1e6])
    Y = np.column_stack([logits] * 4).astype(dtype)
    logit = LogitTransformer(LOW, HIGH, alpha=alpha).fit(np.array([[0.5, 0, 20, 0]], dtype=dtype))
    X = logit.inverse_transform(Y)
    assert ((LOW[:3] < X[:, :3]) & (X[:, :3] < HIGH[:3])).all()
    assert np.floor(X[:, 2]).max() == 265
    assert np.isfinite(logit.transform(X)).all()
    assert np.isfinite(logit.log_abs_det_jacobian(X)).all()
    np.testing.assert_array_equal(X[:, 3], Y[:, 3])


def test_a_bound_that_float32_rounds_can_be_reached():
    X = np.array([[0.1], [0.05]], dtype=np.float32)
    assert float(X.max()) > 0.1
    logit = LogitTransformer(high=0.1).fit(X)
    assert logit.transform(X)[0, 0] == pytest.approx(np.log(1e6), rel=1e-5)


def test_frames_and_names(X):
    frame = pd.DataFrame(X, columns=list("abcd"))
    logit = LogitTransformer(LOW, HIGH).set_output(transform="pandas")
    Y = logit.fit_transform(frame)
    assert list(Y.columns) == list(logit.get_feature_names_out()) == list("abcd")
    np.testing.assert_array_equal(Y["d"], frame["d"])
    frame.loc[3, "b"] = 7
    message = r"X has the value 7\.0 in column 1 \('b'\), outside of its bounds -3\.0 to 2\.0\."
    with pytest.raises(ValueError, match=message):
        logit.transform(frame)
    with pytest.raises(ValueError, match=message):
        logit.log_abs_det_jacobian(frame)


def test_pickles(X):
    logit = LogitTransformer(LOW, HIGH).fit(X)
    twin = pickle.loads(pickle.dumps(logit))
    np.testing.assert_array_equal(twin.transform(X), logit.transform(X))


def test_values_on_a_bound_without_a_margin(X):
    X[5, 0] = 1
    with pytest.raises(
        ValueError, match=r"value 1\.0 in column 0, .* infinite with alpha=0\. Set"
    ):
        LogitTransformer(LOW, HIGH, alpha=0).fit(X)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ((2, 1), r"low must be below high in float64, got 2\.0 to 1\.0 for column 0"),
        ((1, 1), r"low must be below high in float64, got 1\.0 to 1\.0 for column 0"),
        ((np.inf, -np.inf), r"low must be below high .* got inf to -inf for column 0"),
        (([0, 0], 1), r"low must be one number or one for each of the 4 columns .*shape \(2,\)"),
        ((0, np.full((2, 4), 9)), r"high must be one number or one for .*shape \(2, 4\)"),
        ((0, [np.nan, 1, 1, 1]), "high must not be NaN"),
        ((0, 1), r"outside of its bounds 0\.0 to 1\.0\. Pass bounds low and high that hold every"),
    ],
)
def test_bounds_that_do_not_suit(X, bounds, message):
    with pytest.raises(ValueError, match=message):
        LogitTransformer(*bounds).fit(X)


def test_bounds_that_float32_cannot_tell_apart():
    with pytest.raises(ValueError, match="low must be below high in float32"):
        LogitTransformer(1e9, 1e9 + 1).fit(np.full((2, 1), 1e9, dtype=np.float32))


@pytest.mark.parametrize("alpha", [0.5, -0.1, "auto"])
def test_alpha_is_a_small_number(X, alpha):
    with pytest.raises(ValueError, match="'alpha' parameter of LogitTransformer must be a float"):
        LogitTransformer(LOW, HIGH, alpha=alpha).fit(X)


def test_a_failed_fit_changes_nothing(X):
    logit = LogitTransformer(LOW, HIGH).fit(X)
    before = dict(vars(logit))
    with pytest.raises(ValueError, match="one for each of the 3 columns"):
        logit.fit(X[:, :3])
    assert vars(logit) == before


def test_the_way_back_checks_the_number_of_columns(X):
    logit = LogitTransformer(LOW, HIGH).fit(X)
    with pytest.raises(ValueError, match=r"X has 2 features, but LogitTransformer is expecting 4"):
        logit.inverse_transform(X[:, :2])


ONE_SIDED = LogitTransformer([2, -np.inf, -np.inf, 0], [np.inf, -1, np.inf, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_bound_is_a_logarithm(rng, dtype):
    distances = rng.exponential(size=(50, 2)) + 1e-3
    X = np.c_[2 + distances[:, 0], -1 - distances[:, 1], rng.normal(size=50), rng.uniform(size=50)]
    X = X.astype(dtype)
    transformer = clone(ONE_SIDED).fit(X)
    Y = transformer.transform(X)
    assert Y.dtype == dtype
    tolerance = 1e-12 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose(Y[:, 0], np.log(distances[:, 0]), atol=tolerance)
    np.testing.assert_allclose(Y[:, 1], -np.log(distances[:, 1]), atol=tolerance)
    assert np.array_equal(Y[:, 2], X[:, 2])
    assert (np.diff(Y[np.argsort(X[:, 1]), 1]) >= 0).all()  # it increases
    np.testing.assert_allclose(transformer.inverse_transform(Y), X, rtol=tolerance, atol=tolerance)


def test_log_determinants_with_one_bound(rng):
    distances = rng.exponential(size=(50, 2)) + 1e-3
    X = np.c_[2 + distances[:, 0], -1 - distances[:, 1], rng.normal(size=50), rng.uniform(size=50)]
    transformer = clone(ONE_SIDED).fit(X)
    step = 1e-6
    slopes = (transformer.transform(X + step / 2) - transformer.transform(X - step / 2)) / step
    expected = np.log(slopes).sum(axis=1)
    np.testing.assert_allclose(transformer.log_abs_det_jacobian(X), expected, rtol=1e-4, atol=1e-4)
    alone = LogitTransformer(2, np.inf).fit(X[:, :1])
    exact = -np.log(X[:, 0] - 2)
    np.testing.assert_allclose(alone.log_abs_det_jacobian(X[:, :1]), exact, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_comes_back_keeps_within_one_bound(dtype):
    X = np.array([[3.0, -2.0, 0.0, 0.5]])
    transformer = clone(ONE_SIDED).fit(X)
    far = np.array([[1e6], [-1e6], [750.0], [-750.0], [0.0]], dtype=dtype).repeat(4, axis=1)
    back = transformer.inverse_transform(far)
    assert np.isfinite(back).all()
    assert (back[:, 0] > 2).all()
    assert (back[:, 1] < -1).all()
    assert np.isfinite(transformer.transform(back.astype(np.float64))).all()


def test_a_value_on_the_only_bound_is_refused():
    with pytest.raises(
        ValueError,
        match=r"value 0\.0 in column 0, which is one of its bounds: its "
        r"logarithm is infinite\. Move the bound a little, or dequantise",
    ):
        LogitTransformer(0, np.inf).fit([[1.0], [0.0]])
    with pytest.raises(ValueError, match=r"outside of its bounds 0\.0 to inf"):
        LogitTransformer(0, np.inf).fit([[1.0], [-1.0]])


@pytest.mark.parametrize(
    ("none", "infinite"),
    [
        ((None, 9), (-np.inf, 9)),
        ((-9, None), (-9, np.inf)),
        ((None, None), (-np.inf, np.inf)),
        (([None, -9], [9, None]), ([-np.inf, -9], [9, np.inf])),
    ],
)
def test_none_is_no_bound(rng, none, infinite):
    X = rng.normal(size=(5, 2))
    transformer, expected = LogitTransformer(*none).fit(X), LogitTransformer(*infinite).fit(X)
    assert np.array_equal(transformer.low_, expected.low_)
    assert np.array_equal(transformer.high_, expected.high_)
    assert np.array_equal(transformer.transform(X), expected.transform(X))
    assert np.array_equal(transformer.log_abs_det_jacobian(X), expected.log_abs_det_jacobian(X))


@pytest.mark.parametrize("high", [1.7e308, np.inf])
def test_distances_beyond_the_largest_float_are_refused(high):
    with pytest.raises(ValueError, match="column 1 of X lies too far from its bounds"):
        LogitTransformer([0, -1.7e308], [1, high]).fit([[0.5, 1e308]])
