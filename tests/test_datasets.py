import numpy as np
import pytest

from skflow.datasets import gaussian_ring, half_moons, sine

DENSITIES = {"half_moons": half_moons(), "sine": sine(), "gaussian_ring": gaussian_ring(5)}


@pytest.mark.parametrize("density", DENSITIES.values(), ids=DENSITIES)
def test_density_integrates_to_one(density):
    axis = np.linspace(-7, 7, 281)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    integral = np.exp(density.score_samples(grid)).sum() * (axis[1] - axis[0]) ** 2
    assert integral == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("density", DENSITIES.values(), ids=DENSITIES)
def test_samples_follow_the_density(density, global_random_seed):
    # The mean log-density of a sample estimates minus the entropy, which the grid gives exactly.
    axis = np.linspace(-7, 7, 281)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_density = density.score_samples(grid)
    probability = np.exp(log_density) * (axis[1] - axis[0]) ** 2
    X = density.sample(20_000, random_state=global_random_seed)
    scores = density.score_samples(X)
    standard_error = scores.std() / np.sqrt(len(X))
    assert abs(density.score(X) - probability @ log_density) < 5 * standard_error
    np.testing.assert_allclose(X.mean(0), probability @ grid, atol=0.1)


def test_noise_must_be_positive():
    with pytest.raises(ValueError, match="noise must be positive, got 0"):
        half_moons(noise=0)
