"""Mixtures of normal distributions of rows with holes."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from skflow.tables.mixture import Mixture, choose_mixture

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
    found = mixture.log_probs(torch.from_numpy(row[None])).logsumexp(1)
    expected = np.log(density(x, observed)) if observed else 0.0
    assert float(found) == pytest.approx(expected, abs=1e-10)


def test_the_density_of_whole_rows_is_that_by_scipy(mixture):
    x = np.random.default_rng(0).normal(size=(20, 3))
    expected = np.log([density(row, [0, 1, 2]) for row in x])
    np.testing.assert_allclose(mixture.log_prob(torch.from_numpy(x)), expected, rtol=1e-10)


def test_draws_have_the_conditional_density(mixture):
    row = torch.tensor([[np.nan, 0.5, np.nan]], dtype=torch.float64)
    u = torch.from_numpy(np.random.default_rng(0).uniform(1e-9, 1, size=(1, 4000, 4)))
    x = mixture.complete(row, u)[0]
    assert (x[:, 1] == 0.5).all()
    log_prob = mixture.log_prob(x) - mixture.log_probs(row).logsumexp(1)
    # The mean of 1 / density over a box is its volume.
    inside = ((x[:, [0, 2]] > -1) & (x[:, [0, 2]] < 1)).all(1)
    volume = (inside / log_prob.exp()).mean()
    assert float(volume) == pytest.approx(4, rel=0.15)


def test_a_wider_mixture_has_larger_covariances(mixture):
    wide = mixture.widened(2.0)
    np.testing.assert_allclose(wide.covariances, 4 * mixture.covariances)
    np.testing.assert_array_equal(wide.means, mixture.means)


def fitted(x, counts=None):
    """Return a mixture of rows that are on one scale."""
    rows = torch.from_numpy(x)
    generator = torch.Generator().manual_seed(0)
    return choose_mixture([(rows, torch.zeros(len(x), dtype=rows.dtype))], counts, generator)[1]


@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_a_normal_distribution_is_found_whatever_is_missing(holes):
    rng = np.random.default_rng(1)
    x = rng.multivariate_normal(MEANS[0], COVARIANCES[0], 3000)
    x[rng.uniform(size=x.shape) < holes] = np.nan
    found = fitted(x)
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
    found = fitted(x)
    score = found.log_probs(test).logsumexp(1).mean()
    truth = np.mean([np.log(density(row, [0, 1, 2])) for row in test.numpy()])
    assert float(score) > truth - 0.15


def test_counts_are_repeated_rows():
    rng = np.random.default_rng(3)
    x, counts = rng.normal(size=(5, 2)), np.array([1, 2, 2, 1, 1])  # few: one component
    x[3, 0] = np.nan
    weighted = fitted(x, torch.from_numpy(counts).double())
    repeated = fitted(np.repeat(x, counts, axis=0))
    assert len(weighted.means) == len(repeated.means) == 1
    np.testing.assert_allclose(weighted.covariances, repeated.covariances, atol=1e-8)


def test_the_likelier_scale_is_chosen():
    x = np.exp(np.random.default_rng(4).normal(size=(400, 2)))
    x[::7, 0] = np.nan
    rows = torch.from_numpy(x)
    logarithms = rows.log()
    versions = [
        (rows, torch.zeros(400, dtype=rows.dtype)),
        (logarithms, -logarithms.nansum(1)),
    ]
    generator = torch.Generator().manual_seed(0)
    which, _ = choose_mixture(versions, None, generator)
    assert which == 1
    assert choose_mixture(versions[::-1], None, generator)[0] == 0


def test_few_rows_of_many_columns_have_no_wild_correlations():
    rng = np.random.default_rng(5)
    x, test = rng.normal(size=(60, 20)), torch.from_numpy(rng.normal(size=(500, 20)))
    x[rng.uniform(size=x.shape) < 0.2] = np.nan
    truth = -0.5 * test.square().sum(1) - 10 * np.log(2 * np.pi)
    assert float((truth - fitted(x).log_prob(test)).mean()) < 6
