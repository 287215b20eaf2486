"""Mixtures of several fits, weighed by held-out rows."""

import numpy as np
import pytest
import torch
from scipy import optimize, special

from skflow.datasets import half_moons
from skflow.flow import Flow, Normal, fit_components
from skflow.training.stacking import stacked_start, stacking_weights


def test_weights_maximise_the_likelihood_with_a_row_for_all(rng):
    log_probs = rng.normal([0.0, 0.3, -0.5], size=(300, 3))

    def loss(free):
        weights = special.softmax([0.0, *free])
        mixed = special.logsumexp(log_probs + np.log(weights), axis=1)
        return -mixed.sum() - np.log(weights).mean()

    best = special.softmax([0.0, *optimize.minimize(loss, [0.0, 0.0], tol=1e-12).x])
    weights = stacking_weights(torch.from_numpy(log_probs))
    np.testing.assert_allclose(weights, best, atol=1e-4)


def test_counts_are_repeated_rows(rng):
    log_probs = torch.from_numpy(rng.normal(size=(50, 2)))
    counts = torch.from_numpy(rng.integers(1, 4, size=50))
    repeated = stacking_weights(log_probs.repeat_interleave(counts, dim=0))
    torch.testing.assert_close(stacking_weights(log_probs, counts.double()), repeated)


@pytest.mark.parametrize("n_rows", [600, 2500])  # in folds, and with rows held out
@torch.no_grad()
def test_a_stack_is_better_than_its_parts(n_rows):
    moons = half_moons()
    x, held_out, test = (
        torch.from_numpy(moons.sample(n, random_state=seed)).double()
        for seed, n in enumerate((n_rows, 500, 5000))
    )
    start = stacked_start(x, held_out, torch.Generator().manual_seed(0))
    score = float(Flow([start.bijection], Normal(), n_features=2).log_prob(test).mean())
    for size in (1, 4, 16, 64):
        alone = fit_components(x, size, torch.Generator().manual_seed(0)).log_prob(test)
        assert score > float(alone.mean()) - 0.01
    assert score > float(moons.score_samples(test.numpy()).mean()) - 0.12
    assert abs(float(start.log_probs.mean()) - score) < 0.15
