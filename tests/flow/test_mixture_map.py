"""The map of a mixture against the mixture itself, written out."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from skflow.flow import Components, Flow, Normal, NormalMixtureMap, fit_components

N_FEATURES = 3


@pytest.fixture
def components(rng):
    roots = np.tril(rng.normal(size=(4, N_FEATURES, N_FEATURES)))
    diagonal = np.arange(N_FEATURES)
    roots[:, diagonal, diagonal] = rng.uniform(0.1, 1, size=(4, N_FEATURES))
    return Components(
        torch.from_numpy(np.log([0.1, 0.2, 0.3, 0.4])),
        torch.from_numpy(3 * rng.normal(size=(4, N_FEATURES))),
        torch.linalg.inv(torch.from_numpy(roots)),
    )


def log_density(components, x):
    """Return the log-density of rows, component by component."""
    log_weights, means, factors = (tensor.numpy() for tensor in components)
    terms = [
        log_weight + stats.multivariate_normal(mean, np.linalg.inv(factor.T @ factor)).logpdf(x)
        for log_weight, mean, factor in zip(log_weights, means, factors, strict=True)
    ]
    return special.logsumexp(terms, axis=0)


@torch.no_grad()
def test_a_flow_behind_the_map_has_the_density_of_the_mixture(components, rng):
    x = 4 * rng.normal(size=(200, N_FEATURES))
    x[0] = 60.0  # where no component has a probability that float64 can hold
    expected = log_density(components, x)
    rows = torch.from_numpy(x)
    flow = Flow([NormalMixtureMap.of(components)], Normal(), n_features=N_FEATURES)
    np.testing.assert_allclose(flow.log_prob(rows), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(components.log_prob(rows), expected, rtol=1e-10, atol=1e-8)


@torch.no_grad()
def test_samples_are_those_of_the_mixture(components, generator):
    flow = Flow([NormalMixtureMap.of(components)], Normal(), n_features=N_FEATURES)
    sample = flow.sample(20_000, generator=generator)
    means, weights = components.means, components.log_weights.exp()
    torch.testing.assert_close(sample.mean(0), weights @ means, atol=0.15, rtol=0)
    latents = flow(sample)
    assert stats.kstest(latents[:, -1].numpy(), "norm").pvalue > 1e-3
    torch.testing.assert_close(torch.cov(latents.T), torch.eye(3).double(), atol=0.05, rtol=0)


@torch.no_grad()
def test_the_inverse_crosses_what_lies_between_parts(generator):
    # Nothing lies between these parts, and all of the latents from -0.7 to 0.7 are there.
    apart = NormalMixtureMap(2, 1)
    apart.means.copy_(torch.tensor([[-1e6], [1e6]]))
    u = torch.linspace(-8, 8, 101, dtype=torch.float64).unsqueeze(1)
    torch.testing.assert_close(apart(apart.inverse(u)), u, rtol=1e-9, atol=1e-9)


def test_a_mixture_needs_components():
    with pytest.raises(ValueError, match="n_components must be a positive integer, got 0"):
        NormalMixtureMap(0, 2)


def test_expectation_maximisation_finds_the_parts(generator):
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 1000.0]], dtype=torch.float64)
    z = torch.randn(900, 2, generator=generator, dtype=torch.float64) + centres.repeat(300, 1)
    found = fit_components(z, 3, generator)
    order = found.means.sum(1).argsort()
    torch.testing.assert_close(found.means[order], centres, atol=0.3, rtol=0)
    torch.testing.assert_close(
        found.log_weights.exp(), torch.full((3,), 1 / 3).double(), atol=0.01, rtol=0
    )


def test_more_rows_and_whole_weights_are_the_same(generator):
    z = torch.randn(50, 2, generator=generator, dtype=torch.float64)
    counts = torch.randint(1, 4, (50,), generator=generator)
    weighted = fit_components(z, 1, generator, counts.double())
    repeated = fit_components(z.repeat_interleave(counts, dim=0), 1, generator)
    for mine, theirs in zip(weighted, repeated, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


def test_inverses_of_many_components_of_all_scales_are_found():
    # Newton's method may go to and fro between the many flat parts of such a map.
    generator = torch.Generator().manual_seed(0)
    mixture = NormalMixtureMap(500, 1)
    with torch.no_grad():
        mixture.means.copy_(torch.randn(500, 1, generator=generator))
        scales = torch.exp(2 + torch.randn(500, generator=generator))
        mixture.precision_factors.copy_(scales[:, None, None])
    u = torch.linspace(-6, 6, 2001, dtype=torch.float64)[:, None]
    x = mixture.inverse(u)
    torch.testing.assert_close(mixture(x), u, atol=1e-10, rtol=0)
    assert bool((x.diff(dim=0) > 0).all())


def exact_score(components, x):
    """Return the score of a row of one column and the log-slope there, by so many digits."""
    mp = pytest.importorskip("mpmath")
    with mp.workdps(80):
        total, density = mp.mpf(0), mp.mpf(0)
        for log_weight, mean, factor in zip(
            *(t.flatten().tolist() for t in components), strict=True
        ):
            e = mp.mpf(factor) * (mp.mpf(x) - mp.mpf(mean))
            total += mp.exp(log_weight) * mp.erfc(abs(e) / mp.sqrt(2)) / 2
            density += mp.exp(log_weight) * mp.mpf(factor) * mp.npdf(e)
        # Φ(-u) = total, by its asymptotic series and Newton's method.
        u = mp.sqrt(-2 * mp.log(total))
        for _ in range(60):
            tail = mp.erfc(u / mp.sqrt(2)) / 2
            u += tail / mp.npdf(u) * mp.log(tail / total)
        return float(mp.sign(x) * u), float(mp.log(density / mp.npdf(u)))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("size", [30.0, 300.0, 2e3, 1e5, 1e8, 1e12, 1e20, 1e30])
def test_far_out_neither_scores_nor_slopes_lose_digits(size, sign):
    mixture = NormalMixtureMap(3, 1)
    mixture.log_weights.copy_(torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log())
    mixture.means.copy_(torch.tensor([[-2.0], [0.5], [3.0]]))
    mixture.precision_factors.copy_(torch.tensor([1.0, 0.6, 0.6]).reshape(3, 1, 1))
    x = torch.tensor([[sign * size]], dtype=torch.float64)
    u, log_det = mixture.forward_and_log_det(x)
    score, log_slope = exact_score(mixture.components, sign * size)
    assert float(u) == pytest.approx(score, rel=1e-14)
    assert float(log_det) == pytest.approx(log_slope, abs=1e-9)
    back, back_log_det = mixture.inverse_and_log_det(u)
    assert float(back) == pytest.approx(sign * size, rel=1e-13)
    assert float(back_log_det) == pytest.approx(-log_slope, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_far_out_the_density_is_that_of_the_mixture(generator, dtype):
    mixture = NormalMixtureMap(4, 3)
    mixture.means.copy_(torch.randn(4, 3, generator=generator, dtype=torch.float64))
    noise = 0.3 * torch.randn(4, 3, 3, generator=generator, dtype=torch.float64)
    mixture.precision_factors.add_(noise.tril(-1))
    direction = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    for size in (1e2, 1e4, 1e8, 1e15):
        x = (size * direction).to(dtype)
        u, log_det = mixture.forward_and_log_det(x)
        log_prob = Normal().log_prob(u.double()) + log_det
        tolerance = 1e-5 if dtype == torch.float32 else 1e-12
        expected = mixture.components.log_prob(x.double())
        torch.testing.assert_close(log_prob, expected, rtol=tolerance, atol=1e-9)
