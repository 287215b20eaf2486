import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import cdist
from scipy.stats import kstest

from skflow.metrics import energy_distance, energy_two_sample_test


def mean_distance(X, Y):
    return np.mean([np.linalg.norm(x - y) for x in X for y in Y])


def oracle(X, Y):
    """Return the energy distance by its definition, pair by pair."""
    n, m = len(X), len(Y)
    within = mean_distance(X, X) * n / (n - 1) + mean_distance(Y, Y) * m / (m - 1)
    return 2 * mean_distance(X, Y) - within


@pytest.mark.parametrize("n_features", [1, 7])
def test_matches_the_definition(rng, n_features):
    X = rng.normal(size=(31, n_features))
    Y = 1000 + rng.standard_t(2, size=(20, n_features))
    for first, second in [(X, Y), (Y, X), (X, X[:2])]:
        assert energy_distance(first, second) == pytest.approx(oracle(first, second), rel=1e-10)


def test_rows_beyond_a_block_match_the_definition(rng):
    X, Y = rng.normal(size=(1500, 2)), 0.1 + rng.normal(size=(1200, 2))
    n, m = len(X), len(Y)
    within = cdist(X, X).sum() / (n * (n - 1)) + cdist(Y, Y).sum() / (m * (m - 1))
    expected = 2 * cdist(X, Y).mean() - within
    assert energy_distance(X, Y) == pytest.approx(expected, rel=1e-8)


def test_scipys_is_the_root_of_the_biased_estimate(rng):
    X, Y = rng.normal(size=(40, 1)), 0.3 + rng.normal(size=(25, 1))
    diagonal = mean_distance(X, X) / (len(X) - 1) + mean_distance(Y, Y) / (len(Y) - 1)
    of_scipy = scipy.stats.energy_distance(X.ravel(), Y.ravel())
    assert energy_distance(X, Y) + diagonal == pytest.approx(of_scipy**2, rel=1e-10)


def test_unbiased_and_in_units():
    # E|x - y| of normal variables is known: of difference d ~ N(μ, 2), it is a folded normal's.
    rng = np.random.default_rng(0)
    shift, variance = 0.5, 2.0
    expected = 2 * scipy.stats.foldnorm.mean(shift / np.sqrt(variance), scale=np.sqrt(variance))
    expected -= 2 * np.sqrt(2 * variance / np.pi)
    draws = np.add(rng.normal(size=(2000, 2, 5, 1)), [[[0]], [[shift]]])
    estimates = [energy_distance(X, Y) for X, Y in draws]
    standard_error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - expected) < 3 * standard_error
    assert standard_error < expected / 5
    assert energy_distance(10 * draws[0, 0], 10 * draws[0, 1]) == pytest.approx(10 * estimates[0])


def test_pvalues_are_uniform_if_the_distributions_are_the_same():
    rng = np.random.default_rng(0)
    pvalues = [
        energy_two_sample_test(
            rng.normal(size=(20, 2)), rng.normal(size=(30, 2)), n_permutations=99, random_state=i
        ).pvalue
        for i in range(1000)
    ]
    # They are multiples of 1 / 100, of which each comes as often.
    assert kstest(np.array(pvalues) - rng.uniform(0, 0.01, 1000), "uniform").pvalue > 0.01
    assert 0.03 < np.mean(np.less_equal(pvalues, 0.05)) < 0.07


def test_permuted_distances_are_those_of_permuted_rows(rng):
    X, Y = rng.normal(size=(6, 2)), rng.normal(size=(9, 2))
    result = energy_two_sample_test(X, Y, n_permutations=50, random_state=7)
    assert result.statistic == pytest.approx(energy_distance(X, Y))
    rows, state, higher = np.concatenate([X, Y]), np.random.RandomState(7), 0
    for _ in range(50):
        order = state.permutation(15)
        higher += energy_distance(rows[order[:6]], rows[order[6:]]) >= result.statistic
    assert result.pvalue == pytest.approx((1 + higher) / 51)


def test_equal_samples_are_not_rejected(rng):
    X = rng.normal(size=(5, 2))
    # Rows are their own copies, so that many divisions tie with this one.
    assert energy_two_sample_test(X, X, random_state=0).pvalue == 1.0
    assert energy_two_sample_test(X[[0] * 4], X[[0] * 3], random_state=0).pvalue == 1.0


def test_good_and_bad_models_are_told_apart(moons):
    samples = moons.flow.sample(1000, random_state=1)
    good, bad = (
        energy_two_sample_test(moons.X_test, Y, n_permutations=99, random_state=0)
        for Y in (samples, 1.2 * samples)
    )
    assert bad.pvalue == pytest.approx(1 / 100)
    assert good.statistic < bad.statistic / 3


def test_random_state_determines_the_result(rng):
    X, Y = rng.normal(size=(2, 30, 2))
    first = energy_two_sample_test(X, Y, random_state=3)
    assert energy_two_sample_test(X, Y, random_state=3) == first
    assert energy_two_sample_test(X, Y, random_state=4) != first


def test_errors(rng):
    X = rng.normal(size=(10, 2))
    with pytest.raises(ValueError, match="at least 2 rows each, got 10 in X and 1 in Y"):
        energy_distance(X, X[:1])
    with pytest.raises(ValueError, match="same columns, got 1 columns in X and 2 in Y"):
        energy_two_sample_test(X[:, :1], X)
    with pytest.raises(ValueError, match="n_permutations == 0, must be >= 1"):
        energy_two_sample_test(X, X, n_permutations=0)
