import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture
from sklearn.utils.estimator_checks import parametrize_with_checks

from skflow.preprocessing import DequantizationTransformer


@parametrize_with_checks(
    [
        DequantizationTransformer(),
        DequantizationTransformer(step=0.1),
        DequantizationTransformer(columns=[]),
    ]
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.fixture
def X(rng):
    """Counts, a real column and a code."""
    return np.column_stack(
        [rng.poisson(3, 500), rng.normal(size=500), rng.integers(-2, 2, size=500)]
    ).astype(float)


def test_integer_columns_get_noise_and_others_pass_through(X):
    dequantize = DequantizationTransformer(random_state=0).fit(X)
    Y = dequantize.transform(X)
    np.testing.assert_array_equal(dequantize.columns_, [0, 2])
    np.testing.assert_array_equal(Y[:, 1], X[:, 1])
    noise = (Y - X)[:, [0, 2]]
    assert 0 <= noise.min() < 0.02
    assert 0.98 < noise.max() < 1
    assert noise.mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(dequantize.inverse_transform(Y), X)
    np.testing.assert_array_equal(dequantize.log_abs_det_jacobian(X), np.zeros(500))


def test_noise_is_independent_of_rows_columns_and_values():
    X = np.ones((4000, 2))
    noise = DequantizationTransformer(random_state=0).fit_transform(X) - X
    assert len(np.unique(noise)) == noise.size
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.05
    assert abs(np.corrcoef(noise[1:, 0], noise[:-1, 0])[0, 1]) < 0.05


def test_an_int_gives_the_same_noise_each_time(X):
    dequantize = DequantizationTransformer(random_state=3)
    Y = dequantize.fit_transform(X)
    np.testing.assert_array_equal(Y, dequantize.transform(X))
    np.testing.assert_array_equal(Y[:10], dequantize.transform(X[:10]))
    other = dequantize.set_params(random_state=4).transform(X)
    assert (other[:, 0] != Y[:, 0]).all()


def test_a_random_state_draws_on(X):
    def draws():
        dequantize = DequantizationTransformer(random_state=np.random.RandomState(5))
        return dequantize.fit_transform(X), dequantize.transform(X)

    (first, second), (again, _) = draws(), draws()
    assert (first != second)[:, 0].all()
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [1, 0.1, 0.7, 3, 1 / 255])
def test_rounding_never_leaves_the_interval(dtype, step, rng):
    """Near the largest values that have room, one draw in ten rounds to the next level."""
    largest = 2.0**18 if dtype == np.float32 else 2.0**47
    levels = np.round(largest * rng.uniform(-1, 1, size=20_000))
    X = (levels * step).astype(dtype)[:, None]
    dequantize = DequantizationTransformer(step, random_state=0).fit(X)
    Y = dequantize.transform(X)
    assert Y.dtype == dtype
    np.testing.assert_array_equal(dequantize.inverse_transform(Y), X)
    np.testing.assert_array_equal(np.floor(Y[:, 0].astype(float) / step), levels)


def test_digits_in_float32_come_back():
    X = load_digits().data.astype(np.float32)
    dequantize = DequantizationTransformer(random_state=0).fit(X)
    Y = dequantize.transform(X)
    assert Y.dtype == np.float32
    assert len(dequantize.columns_) == 64
    np.testing.assert_array_equal(dequantize.inverse_transform(Y), X)


def test_the_expected_score_is_a_lower_bound_of_the_discrete_log_likelihood(rng):
    step = 0.5
    X = step * rng.binomial(6, 0.4, size=(400, 1))
    dequantize = DequantizationTransformer(step, random_state=np.random.RandomState(0))
    density = GaussianMixture(3, random_state=0).fit(dequantize.fit_transform(X))

    values = step * np.arange(-30, 40)[:, None]
    offsets = step * (np.arange(400) + 0.5) / 400  # midpoints of the cells
    fine = (values + offsets).reshape(-1, 1)
    log_densities = density.score_samples(fine).reshape(len(values), -1)
    probabilities = np.exp(log_densities).mean(axis=1) * step
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)

    seen = np.arange(30, 37)
    draws = [density.score_samples(dequantize.transform(values[seen])) for _ in range(3000)]
    bound = log_densities[seen].mean(axis=1) + np.log(step)
    np.testing.assert_allclose(np.mean(draws, axis=0) + np.log(step), bound, atol=0.2)
    assert (bound <= np.log(probabilities[seen])).all()
    assert (bound < np.log(probabilities[seen]) - 1e-3).any()


def test_frames_and_names(X):
    frame = pd.DataFrame(X, columns=["visits", "change", "code"]).astype({"visits": int})
    dequantize = DequantizationTransformer(columns=["code"], random_state=0)
    Y = dequantize.set_output(transform="pandas").fit_transform(frame)
    assert list(Y.columns) == list(dequantize.get_feature_names_out()) == list(frame.columns)
    np.testing.assert_array_equal(dequantize.columns_, [2])
    np.testing.assert_array_equal(Y["visits"], frame["visits"])
    assert (Y["code"] != frame["code"]).all()


def test_columns_by_position_and_pickles(X):
    dequantize = DequantizationTransformer(columns=np.array([2, 0, 2]), random_state=0).fit(X)
    twin = pickle.loads(pickle.dumps(dequantize))
    np.testing.assert_array_equal(twin.columns_, [0, 2])
    np.testing.assert_array_equal(twin.transform(X), dequantize.transform(X))


@pytest.mark.parametrize("column", [3, -1, "visits", 0.0, True])
def test_columns_that_are_not_there(X, column):
    with pytest.raises(ValueError, match=r"columns must be 'auto' or hold positions from 0 to 2"):
        DequantizationTransformer(columns=[column]).fit(X)


@pytest.mark.parametrize("step", [0, -1.0, "1"])
def test_the_step_is_positive(X, step):
    with pytest.raises(ValueError, match="'step' parameter of DequantizationTransformer must be"):
        DequantizationTransformer(step).fit(X)


def test_other_values_in_a_discrete_column_are_refused(X):
    frame = pd.DataFrame(X, columns=["visits", "change", "code"])
    dequantize = DequantizationTransformer().fit(frame)
    frame.loc[7, "code"] = 0.5
    message = (
        r"X has the value 0\.5 in column 2 \('code'\), which is to get noise but is not a mul"
    )
    with pytest.raises(ValueError, match=message):
        dequantize.transform(frame)
    with pytest.raises(ValueError, match=r"in column 1, .* not a multiple of step=1\.0"):
        DequantizationTransformer(columns=[1]).fit(X)


def test_values_without_room_for_noise(X):
    X[:, 0] += 1e9
    message = r"column 0 of X: the values are so large that float32 has no room for noise"
    with pytest.warns(UserWarning, match=message):
        dequantize = DequantizationTransformer(random_state=0).fit(X.astype(np.float32))
    np.testing.assert_array_equal(dequantize.columns_, [2])
    with pytest.raises(ValueError, match=message):
        DequantizationTransformer(columns=[0]).fit(X.astype(np.float32))
    dequantize.fit(X)
    np.testing.assert_array_equal(dequantize.columns_, [0, 2])
    with pytest.raises(ValueError, match=message):
        dequantize.transform(X.astype(np.float32))


def test_a_failed_fit_changes_nothing(X):
    dequantize = DequantizationTransformer(columns=[0, 2]).fit(X)
    before = dict(vars(dequantize))
    with pytest.raises(ValueError, match="not a multiple"):
        dequantize.fit(X[:, :2].repeat(2, axis=1) + 0.5)
    assert vars(dequantize) == before


def test_the_way_back_checks_the_number_of_columns(X):
    dequantize = DequantizationTransformer().fit(X)
    with pytest.raises(
        ValueError, match=r"X has 2 features, but DequantizationTransformer is exp"
    ):
        dequantize.inverse_transform(X[:, :2])
