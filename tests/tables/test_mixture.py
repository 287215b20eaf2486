"""Mixtures of normal distributions of rows with holes."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from skflow.tables.mixture import Mixture, fit_mixture

MEANS = np.array([[0.0, 1.0, -1.0], [3.0, 0.0, 2.0]])
COVARIANCES = np.array(
    [
        [[1.0, 0.5, 0.2], [0.5, 2.0, -0.3], [0.2, -0.3, 0.5]],
        [[0.3, 0.0, 0.1], [0.0, 1.0, 0.4], [0.1, 0.4, 1.5]],
    ]
)
SHARES = np.array([0.7, 0.3])


@pytest.fixture
def mixture():
    arrays = (np.log(SHARES), MEANS, COVARIANCES)
    return Mixture(*(torch.from_numpy(array) for array in arrays))


def density(x, columns):
    """Return the density of some columns by scipy."""
    at = np.ix_(columns, columns)
    return sum(
        share * multivariate_normal(mean[columns], covariance[at]).pdf(x[columns])
        for share, mean, covariance in zip(SHARES, MEANS, COVARIANCES, strict=True)
    )


@pytest.mark.parametrize("observed", [[0], [1, 2], [0, 1, 2], []])
def test_the_density_of_what_is_observed_is_the_marginal(mixture, observed):
    x = np.array([0.4, 1.7, -0.6])
    row = np.where(np.isin(np.arange(3), observed), x, np.nan)
    found = mixture.given(torch.from_numpy(row[None])).log_probs.logsumexp(1)
    expected = np.log(density(x, observed)) if observed else 0.0
    assert float(found) == pytest.approx(expected, abs=1e-10)


def test_draws_are_where_their_density_says(mixture):
    row = np.array([[np.nan, 0.5, np.nan]])
    u = torch.from_numpy(np.random.default_rng(0).uniform(1e-9, 1, size=(1, 4000, 4)))
    x, log_prob = mixture.given(torch.from_numpy(row)).sample(u)
    assert (x[..., 1] == 0.5).all()
    joint = [density(each, [0, 1, 2]) / density(each, [1]) for each in x[0, :50].numpy()]
    np.testing.assert_allclose(log_prob[0, :50].exp(), joint, rtol=1e-9)
    # The mean of 1 / density over a box is its volume, and that of the box's share.
    inside = ((x[0, :, [0, 2]] > -1) & (x[0, :, [0, 2]] < 1)).all(1)
    volume = (inside / log_prob[0].exp()).mean()
    assert float(volume) == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_a_normal_distribution_is_found_whatever_is_missing(holes):
    rng = np.random.default_rng(1)
    x = rng.multivariate_normal(MEANS[0], COVARIANCES[0], 3000)
    x[rng.uniform(size=x.shape) < holes] = np.nan
    found = fit_mixture(torch.from_numpy(x), None, torch.Generator().manual_seed(0))
    mean = found.log_shares.exp() @ found.means
    spread = found.means - mean
    covariance = torch.einsum("m,mde->de", found.log_shares.exp(), found.covariances)
    covariance += torch.einsum("m,md,me->de", found.log_shares.exp(), spread, spread)
    np.testing.assert_allclose(mean, MEANS[0], atol=0.12)
    np.testing.assert_allclose(covariance, COVARIANCES[0], atol=0.2)


def test_clusters_are_found_with_holes():
    rng = np.random.default_rng(2)
    which = rng.choice(2, size=1500, p=SHARES)
    x = np.array([rng.multivariate_normal(MEANS[k], COVARIANCES[k]) for k in which])
    test = torch.from_numpy(x[1000:].copy())
    x = x[:1000]
    x[rng.uniform(size=x.shape) < 0.2] = np.nan
    found = fit_mixture(torch.from_numpy(x), None, torch.Generator().manual_seed(0))
    score = found.given(test).log_probs.logsumexp(1).mean()
    truth = np.mean([np.log(density(row, [0, 1, 2])) for row in test.numpy()])
    assert float(score) > truth - 0.15


def test_counts_are_repeated_rows():
    rng = np.random.default_rng(3)
    x, counts = rng.normal(size=(19, 2)), rng.integers(1, 3, size=19)  # few: one component
    x[3, 0] = np.nan

    def fitted(x, counts):
        return fit_mixture(torch.from_numpy(x), counts, torch.Generator().manual_seed(0))

    weighted = fitted(x, torch.from_numpy(counts).double())
    repeated = fitted(np.repeat(x, counts, axis=0)[:39], None)
    assert len(weighted.means) == len(repeated.means) == 1
    np.testing.assert_allclose(weighted.covariances, repeated.covariances, atol=1e-8)
