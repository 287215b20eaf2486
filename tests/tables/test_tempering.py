"""Particles that go from one density to another."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from skflow.tables.noise import Noise
from skflow.tables.tempering import temper

N_ROWS, N_PARTICLES = 100, 400
CENTRES, SHARES, SPREAD = np.array([-2.0, 1.5]), np.array([0.3, 0.7]), 0.1
CONSTANT = 3.0  # the logarithm of the integral of the second density


def log_base(z):
    return norm.logpdf(z, scale=2).sum(-1)


def log_target(z):
    """Two narrow peaks along the first column, and a slope of the second on the first."""
    peaks = np.log(SHARES) + norm.logpdf(z[..., :1], CENTRES, SPREAD)
    return CONSTANT + logsumexp(peaks, axis=-1) + norm.logpdf(z[..., 1], 0.5 * z[..., 0], SPREAD)


def evaluate(which, z):
    return log_base(z), log_target(z)


@pytest.fixture(scope="module")
def tempered():
    particles = np.random.default_rng(0).normal(scale=2, size=(N_ROWS, N_PARTICLES, 2))
    noise = Noise(np.random.RandomState(0))
    return temper(particles, evaluate, np.ones((N_ROWS, 2), bool), noise)


def weighted(values, log_weights):
    """Return a weighted mean over the particles of each row."""
    shares = np.exp(log_weights - logsumexp(log_weights, axis=1, keepdims=True))
    return (shares * values).sum(1)


def test_the_integral_is_found(tempered):
    _, log_weights, variances = tempered
    found = logsumexp(log_weights, axis=1) - np.log(N_PARTICLES)
    # It is the mean of estimates that has no bias, not that of their logarithms.
    assert logsumexp(found) - np.log(N_ROWS) == pytest.approx(CONSTANT, abs=0.1)
    # Steps leave copies alike, so that the error is somewhat more than that of the weights.
    assert np.sqrt(variances.mean()) < found.std() < 2 * np.sqrt(variances.mean())


def test_peaks_have_their_shares_and_their_widths(tempered):
    z, log_weights, _ = tempered
    right = z[..., 0] > 0
    share = weighted(right, log_weights)
    assert share.mean() == pytest.approx(SHARES[1], abs=0.05)
    own = np.exp(log_weights) * right
    centre = (own * z[..., 0]).sum(1) / own.sum(1)
    spread = np.sqrt((own * (z[..., 0] - centre[:, None]) ** 2).sum(1) / own.sum(1))
    assert centre.mean() == pytest.approx(CENTRES[1], abs=0.02)
    assert spread.mean() == pytest.approx(SPREAD, rel=0.1)
    residual = weighted(z[..., 1] - 0.5 * z[..., 0], log_weights)
    assert residual.mean() == pytest.approx(0, abs=0.02)


def test_particles_that_are_worth_enough_stay():
    particles = np.random.default_rng(1).normal(size=(3, 50, 2))
    is_missing = np.ones((3, 2), bool)

    def near(which, z):
        base = norm.logpdf(z).sum(-1)
        return base, base + 0.1 * z[..., 0]

    moved, log_weights, variances = temper(particles, near, is_missing, Noise(0))
    np.testing.assert_array_equal(moved, particles)
    np.testing.assert_allclose(log_weights, 0.1 * particles[..., 0], atol=1e-12)
    assert not variances.any()


def test_what_is_observed_does_not_move():
    particles = np.random.default_rng(2).normal(scale=2, size=(4, 100, 2))
    particles[:, :, 0] = CENTRES[1]
    is_missing = np.array([[False, True]] * 4)
    moved, _, _ = temper(particles, evaluate, is_missing, Noise(0))
    assert (moved[:, :, 0] == CENTRES[1]).all()
    assert (moved[:, :, 1] != particles[:, :, 1]).any(1).all()


def test_a_row_does_not_depend_on_others():
    particles = np.random.default_rng(3).normal(scale=2, size=(1, 60, 2)).repeat(3, axis=0)
    scales = np.array([1.0, 0.2, 0.01])

    def several(which, z):
        base = log_base(z)
        return base, base + scales[which, None] * (log_target(z) - base)

    is_missing = np.ones((3, 2), bool)
    noise = Noise(0)
    together = temper(particles, several, is_missing, noise)[1]
    alone = temper(particles[:1], lambda which, z: several(which, z), is_missing[:1], Noise(0))[1]
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-10)


def test_rows_without_any_density_say_so():
    particles = np.zeros((2, 20, 1))

    def impossible(which, z):
        return np.zeros(z.shape[:2]), np.full(z.shape[:2], -np.inf)

    _, log_weights, _ = temper(particles, impossible, np.ones((2, 1), bool), Noise(0))
    assert (log_weights == -np.inf).all()
