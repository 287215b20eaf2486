import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import mean_absolute_error, mean_pinball_loss

from skflow.metrics import crps


def oracle(y, draws, *, fair):
    """Return the score of each row by its definition, pair by pair."""
    m = draws.shape[1]
    to_target = abs(draws - y[:, None]).mean(axis=1)
    of_pairs = abs(draws[:, :, None] - draws[:, None, :]).sum(axis=(1, 2))
    return to_target - of_pairs / (2 * m * (m - 1 if fair else m))


def of_normal(y, mean, scale):
    """Return the score of normal distributions, which is known."""
    z = (y - mean) / scale
    return scale * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))


def midpoints(n):
    return (np.arange(n) + 0.5) / n


@pytest.mark.parametrize("fair", [True, False])
@pytest.mark.parametrize("n_draws", [2, 3, 40])
def test_matches_the_definition(rng, fair, n_draws):
    y, draws = rng.normal(size=30), rng.standard_t(2, size=(30, n_draws))
    draws[:5] = draws[:5].round()  # with ties
    weights = rng.uniform(size=30)
    of_rows = oracle(y, draws, fair=fair)
    assert crps(y, draws, fair=fair) == pytest.approx(of_rows.mean(), rel=1e-12)
    expected = np.average(of_rows, weights=weights)
    assert crps(y, draws, fair=fair, sample_weight=weights) == pytest.approx(expected, rel=1e-12)


def test_weights_count_rows(rng):
    y, draws = rng.normal(size=20), rng.normal(size=(20, 5))
    counts = rng.integers(0, 3, size=20)
    repeated = crps(np.repeat(y, counts), np.repeat(draws, counts, axis=0))
    assert crps(y, draws, sample_weight=counts) == pytest.approx(repeated, rel=1e-12)


def test_quantiles_have_the_known_score_of_a_normal_distribution(normal_regression, rng):
    X = rng.uniform(-2, 2, size=(500, 1))
    model = normal_regression(spread=1.3)
    y = model.draw(X, rng)
    exact = of_normal(y, np.sin(X[:, 0]), 1.3 * np.exp(0.5 * X[:, 0])).mean()
    score = crps(y, model.predict_quantiles(X, midpoints(100)), fair=False)
    assert score == pytest.approx(exact, rel=5e-4)
    # The bias of few draws would be some 0.28 of 0.6.
    draws = model.sample(X, 2 * 2000).reshape(500, 2000, 2)
    fair = np.mean([crps(y, draws[:, i]) for i in range(2000)])
    assert fair == pytest.approx(exact, rel=0.02)


def test_score_of_quantiles_is_twice_their_pinball_loss(rng):
    y, levels = rng.normal(size=50), midpoints(7)
    quantiles = np.sort(rng.normal(size=(50, 7)))
    losses = [mean_pinball_loss(y, quantiles[:, i], alpha=levels[i]) for i in range(7)]
    assert crps(y, quantiles, fair=False) == pytest.approx(2 * np.mean(losses), rel=1e-12)


def test_a_single_draw_has_its_absolute_error(rng):
    y, prediction = rng.normal(size=(2, 20))
    score = crps(y, prediction[:, None], fair=False)
    assert score == pytest.approx(mean_absolute_error(y, prediction))


def test_the_truth_is_best(normal_regression, rng):
    X = rng.uniform(-2, 2, size=(4000, 1))
    y = normal_regression().draw(X, rng)
    scores = [
        crps(y, normal_regression(spread=spread).predict_quantiles(X, midpoints(50)), fair=False)
        for spread in (0.5, 1.0, 2.0)
    ]
    assert scores[1] < min(scores[0], scores[2]) - 0.03


def test_units_and_offsets(rng):
    y, draws = rng.normal(size=40), rng.normal(size=(40, 10))
    score = crps(y, draws)
    assert crps(1000 * y, 1000 * draws) == pytest.approx(1000 * score)
    assert crps(y + 2.0**30, draws + 2.0**30) == pytest.approx(score, rel=1e-5)


def test_several_targets_have_a_score_each(rng):
    y, draws = rng.normal(size=(30, 3)) * [1, 10, 100], rng.normal(size=(30, 3, 8))
    score = crps(y, draws)
    assert score.shape == (3,)
    expected = [crps(y[:, j], draws[:, j]) for j in range(3)]
    np.testing.assert_allclose(score, expected, rtol=1e-12)
    np.testing.assert_allclose(crps(y[:, :1], draws[:, 0]), expected[:1])
    np.testing.assert_allclose(crps(y[:, 0], draws[:, :1]), expected[0])


@pytest.mark.parametrize("make", [list, pd.Series, torch.tensor], ids=["list", "pandas", "torch"])
def test_containers(rng, make):
    y, draws = rng.normal(size=10), rng.normal(size=(10, 4))
    assert crps(make(y), draws) == crps(y, draws)


def test_errors(rng):
    y, draws = rng.normal(size=10), rng.normal(size=(10, 4))
    for wrong in (draws[:9], draws.T, draws[:, None, None], draws[:, None].repeat(2, axis=1)):
        with pytest.raises(ValueError, match="samples must be of shape"):
            crps(y, wrong)
    with pytest.raises(ValueError, match="samples has one draw for each row, and fair=True"):
        crps(y, draws[:, :1])
    with pytest.raises(ValueError, match="Input y_true contains NaN"):
        crps(np.full(10, np.nan), draws)
    with pytest.raises(ValueError, match="Input samples contains infinity"):
        crps(y, np.full((10, 4), np.inf))
    with pytest.raises(ValueError, match="y_true must be of shape"):
        crps(draws[:, None], draws)
    with pytest.raises(ValueError, match="sample_weight"):
        crps(y, draws, sample_weight=np.ones(9))
    with pytest.raises(ValueError, match=r"[Ss]ample.weight.*(zero|non-zero)"):
        crps(y, draws, sample_weight=np.zeros(10))
