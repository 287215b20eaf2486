"""Tables that ruin the samples of a flow of all columns: heaps, codes, angles and bounds."""

import numpy as np
import pytest
from scipy.stats import ks_2samp, norm

from skflow import TableFlow
from skflow.tables import Bounded, Inflated, Periodic

QUICK = {"max_iter": 4, "random_state": 0}
N = 600

pytestmark = pytest.mark.usefixtures("quick_mixtures")


@pytest.mark.parametrize("share", [0.8, 0.97])
def test_zeros_are_zeros_and_leave_other_columns_alone(rng, share):
    X = rng.normal(size=(N, 3))
    X[:, 0] = np.where(rng.uniform(size=N) < share, 0, rng.gamma(2, size=N))
    sample = TableFlow(**QUICK).fit(X).sample(2000, random_state=0)
    assert np.mean(sample[:, 0] == 0) == pytest.approx(np.mean(X[:, 0] == 0), abs=0.04)
    assert (sample[:, 0] >= 0).all()
    for j in (1, 2):
        assert ks_2samp(sample[:, j], X[:, j]).statistic < 0.1


@pytest.mark.parametrize("code", [-9999, 1e6])
def test_values_that_stand_for_something_else_are_not_mixed_with_others(rng, code):
    X = rng.normal(size=(N, 2))
    X[rng.uniform(size=X.shape) < 0.05] = code
    sample = TableFlow(**QUICK).fit(X).sample(2000, random_state=0)
    is_code = sample == code
    assert (np.abs(sample[~is_code]) < 20).all()
    np.testing.assert_allclose(is_code.mean(0), (code == X).mean(0), atol=0.03)


def test_a_code_among_whole_numbers_is_a_heap(rng):
    X = rng.poisson(40, size=(N, 1)).astype(float)
    X[rng.uniform(size=N) < 0.05] = -9999
    table = TableFlow(**QUICK).fit(X)
    assert isinstance(table.columns_[0], Inflated)
    sample = table.sample(1000, random_state=0)[:, 0]
    is_code = sample == -9999
    assert (sample[~is_code] >= 0).all()
    assert is_code.mean() == pytest.approx(np.mean(X == -9999), abs=0.03)


def test_codes_that_depend_on_numbers_have_nearly_the_true_likelihood(rng):
    def rows(n):
        codes = rng.integers(0, [2, 3], size=(n, 2))
        mean = codes @ np.array([[2.0, 0.0], [0.0, 1.5]])
        return np.c_[mean + rng.normal(size=(n, 2)), codes], mean

    test, mean = rows(1000)
    truth = norm.logpdf(test[:, :2], mean).sum(1).mean() - np.log(6)
    table = TableFlow(**QUICK).fit(rows(1500)[0])
    assert truth - table.score(test) < 0.25
    sample = table.sample(500, random_state=0)
    assert set(sample[:, 2]) == {0, 1}
    assert set(sample[:, 3]) == {0, 1, 2}


def test_angles_stay_on_the_circle(rng):
    X = (350 + 40 * rng.normal(size=(N, 1))) % 360
    table = TableFlow({0: Periodic(360)}, **QUICK).fit(X)
    sample = table.sample(1000, random_state=0)
    assert ((sample >= 0) & (sample < 360)).all()
    ends = table.score_samples([[1e-9], [360 - 1e-9]])
    assert ends[0] == pytest.approx(ends[1], abs=1e-3)


@pytest.mark.parametrize(("a", "b"), [(1, 1), (0.2, 0.2)])
def test_bounds_do_not_leak(rng, a, b):
    X = rng.beta(a, b, size=(N, 2))
    table = TableFlow({0: Bounded(0, 1), 1: Bounded(0, 1)}, **QUICK).fit(X)
    sample = table.sample(1000, random_state=0)
    assert ((sample >= 0) & (sample <= 1)).all()
    assert ks_2samp(sample[:, 0], X[:, 0]).statistic < 0.12
    assert table.score_samples([[1.5, 0.5]])[0] == -np.inf
