import numpy as np
import pytest
from scipy.stats import kstest, norm

from skflow.datasets import (
    Checkerboard,
    Pinwheel,
    UnivariateNormalMixture,
    gaussian_grid,
    gaussian_ring,
    half_moons,
    marron_wand,
    rings,
    sine,
    two_spirals,
)

DENSITIES = {
    "half_moons": half_moons(),
    "sine": sine(),
    "gaussian_ring": gaussian_ring(5),
    "gaussian_grid": gaussian_grid(3, spacing=2, noise=0.3),
    "rings": rings(noise=0.15),
    "two_spirals": two_spirals(),
    "pinwheel": Pinwheel(),
}


@pytest.fixture(scope="module", params=DENSITIES.values(), ids=DENSITIES)
def on_grid(request):
    """Return a density, the points of a grid, its logarithm there and the area of a cell."""
    density = request.param
    # Poles take more points than bumps that are twice as wide as a cell.
    axis = np.linspace(-7, 7, 281 if isinstance(density, Pinwheel) else 201)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return density, grid, density.score_samples(grid), (axis[1] - axis[0]) ** 2


def test_density_integrates_to_one(on_grid):
    density, _, log_density, cell = on_grid
    # Where the arms of the pinwheel are folded, its density has poles, which a grid sums badly.
    atol = 5e-5 if isinstance(density, Pinwheel) else 1e-6
    assert np.exp(log_density).sum() * cell == pytest.approx(1, abs=atol)


def test_samples_follow_the_density(on_grid, global_random_seed):
    # The mean log-density of a sample estimates minus the entropy, which the grid gives exactly.
    density, grid, log_density, cell = on_grid
    probability = np.exp(log_density) * cell
    X = density.sample(20_000, random_state=global_random_seed)
    scores = density.score_samples(X)
    standard_error = scores.std() / np.sqrt(len(X))
    assert abs(scores.mean() - probability @ log_density) < 5 * standard_error
    np.testing.assert_allclose(X.mean(0), probability @ grid, atol=0.1)


def test_noise_must_be_positive():
    with pytest.raises(ValueError, match="noise must be positive, got 0"):
        half_moons(noise=0)


def test_the_checkerboard_is_even(global_random_seed):
    X = Checkerboard().sample(32_000, random_state=global_random_seed)
    squares, counts = np.unique(np.floor(X), axis=0, return_counts=True)
    assert len(squares) == 32
    assert (squares.sum(1) % 2 == 0).all()
    assert np.abs(counts - 1000).max() < 200
    assert Checkerboard().score(X) == pytest.approx(-np.log(32))
    outside = [[0.5, -0.5], [4.5, 0.5], [-4.5, 0.5], [0.5, 5.5]]
    assert np.isneginf(Checkerboard().score_samples(outside)).all()


def test_a_fit_finds_no_more_than_the_truth():
    # The mean log-density of many rows is highest under the density that they follow.
    for density in DENSITIES.values():
        X = density.sample(1000, random_state=0)
        score = density.score(X)
        assert all(score >= other.score(X) for other in DENSITIES.values())


@pytest.mark.parametrize("number", range(1, 16))
def test_marron_wand_mixtures_have_one_column_and_mass_one(number, global_random_seed):
    density = marron_wand(number)
    x = np.linspace(-8, 8, 160_001)
    probability = np.exp(density.score_samples(x[:, None])) * (x[1] - x[0])
    assert probability.sum() == pytest.approx(1, abs=1e-10)
    X = density.sample(5000, random_state=global_random_seed)
    assert X.shape == (5000, 1)
    below = probability.cumsum() - probability / 2
    assert kstest(X[:, 0], lambda q: np.interp(q, x, below)).pvalue > 1e-4


def test_marron_wand_mixtures_are_those_of_the_paper():
    x = np.linspace(-4, 4, 80_001)[:, None]
    modes = []
    for number in range(1, 16):
        heights = marron_wand(number).score_samples(x)
        modes.append(((heights[1:-1] > heights[:-2]) & (heights[1:-1] > heights[2:])).sum())
    assert modes[:8] == [1, 1, 1, 1, 1, 2, 2, 2]
    assert modes[8:10] == [3, 5]
    assert modes[13:] == [6, 6]
    symmetric = {1, 4, 5, 6, 7, 9, 10, 11}
    for number in range(1, 16):
        right, left = marron_wand(number).score_samples([[0.7], [-0.7]])
        assert np.isclose(right, left) == (number in symmetric)
    outlier = np.exp(marron_wand(5).score_samples([[0]]))
    assert outlier == pytest.approx((0.1 + 9) / np.sqrt(2 * np.pi))


@pytest.mark.parametrize("number", [0, 16])
def test_there_are_fifteen_mixtures(number):
    with pytest.raises(ValueError, match="number"):
        marron_wand(number)


def test_a_mixture_on_the_line_is_the_sum_of_its_parts():
    mixture = UnivariateNormalMixture([0.75, 0.25], [0.0, 3.0], [0.1, 1.0])
    assert (mixture.sample(4000, random_state=0) < 0.5).mean() == pytest.approx(0.75, abs=0.03)
    x = np.array([[-1.0], [0.05], [2.0]])
    parts = 0.75 * norm(0, 0.1).pdf(x) + 0.25 * norm(3, 1).pdf(x)
    np.testing.assert_allclose(mixture.score_samples(x), np.log(parts[:, 0]))
    assert np.isfinite(mixture.score_samples([[1e6]]))


def test_a_mixture_on_the_line_says_what_is_wrong():
    with pytest.raises(ValueError, match="must be of one length, got"):
        UnivariateNormalMixture([0.5, 0.5], [0.0, 1.0], [1.0])
    with pytest.raises(ValueError, match=r"scales must be positive, got 0\.0 among them"):
        UnivariateNormalMixture([0.5, 0.5], [0.0, 1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match=r"weights must add up to one, got 1\.5 in all"):
        UnivariateNormalMixture([0.5, 1.0], [0.0, 1.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="X has 2 columns, but the density is one of 1"):
        marron_wand(1).score_samples(np.zeros((3, 2)))
