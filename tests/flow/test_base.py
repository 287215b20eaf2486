"""What every base distribution promises. A new one adds a factory and inherits the checks."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions, nn

from skflow.datasets import gaussian_ring
from skflow.flow import (
    AdaptedDistribution,
    HyperbolicSecant,
    Logistic,
    Normal,
    NormalMixture,
    StudentT,
)
from skflow.flow.initialization import shrunk_whitening


class LearnedNormal(nn.Module):
    """A distribution of someone else's, with parameters."""

    def __init__(self, n_features):
        super().__init__()
        self.mean = nn.Parameter(torch.full((n_features,), 0.3))
        self.log_scale = nn.Parameter(torch.full((n_features,), 0.1))

    def _normal(self):
        return distributions.Independent(distributions.Normal(self.mean, self.log_scale.exp()), 1)

    def log_prob(self, value):
        return self._normal().log_prob(value)

    def sample(self, sample_shape):
        return self._normal().sample(sample_shape)


def covariance(n_features):
    return torch.full((n_features, n_features), 0.5) + torch.eye(n_features)


def student_t(n_features, generator):
    base = StudentT()
    base.allocate(n_features)
    base.log_inverse.data += torch.linspace(0, 2.0, n_features)
    return base


def mixture(n_features, generator):
    base = NormalMixture(n_components=3)
    base.allocate(n_features)
    centres = torch.tensor([[-4.0, 1.0, 0.0], [4.0, 0.0, 1.0], [0.0, -3.0, 2.0]])
    z = torch.randn(300, n_features, generator=generator) @ covariance(n_features)
    base.initialize(0.6 * z + centres[:, :n_features].repeat(100, 1), generator)
    for parameter in base.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return base


def adapted(make):
    return lambda n_features, _: AdaptedDistribution(make(n_features))


FACTORIES = {
    "normal": lambda *_: Normal(),
    "hyperbolic_secant": lambda *_: HyperbolicSecant(),
    "logistic": lambda *_: Logistic(),
    "student_t": student_t,
    "mixture": mixture,
    "adapted_number": adapted(lambda _: distributions.Laplace(0.0, 1.0)),
    "adapted_numbers": adapted(
        lambda d: distributions.StudentT(torch.full((d,), 5.0, dtype=torch.float64))
    ),
    "adapted_vector": adapted(
        lambda d: distributions.MultivariateNormal(torch.zeros(d), covariance(d))
    ),
    "adapted_module": adapted(LearnedNormal),
}
REFERENCES = {
    Normal: lambda _: stats.norm(),
    HyperbolicSecant: lambda _: stats.hypsecant(scale=2 / np.pi),
    Logistic: lambda _: stats.logistic(scale=np.sqrt(3) / np.pi),
    StudentT: lambda base: stats.t(base.df, scale=((base.df - 2) / base.df).sqrt()),
}


@pytest.fixture(params=FACTORIES)
def make(request, generator):
    """Make a base distribution of so many features, in float64."""

    def make(n_features):
        base = FACTORIES[request.param](n_features, generator)
        base.allocate(n_features)
        return base.double()

    return make


@pytest.fixture
def base(make):
    return make(2)


def test_scores_of_float64_lose_nothing_to_parameters_of_float32(base, generator):
    single = base.float()
    z = torch.randn(20, 2, generator=generator, dtype=torch.float64)
    by_single = single.log_prob(z).detach()
    by_double = copy.deepcopy(single).double().log_prob(z).detach()
    # A module of somebody else computes as it likes.
    close = 1e-6 if isinstance(base, AdaptedDistribution) else 1e-12
    torch.testing.assert_close(by_single, by_double, rtol=close, atol=close)


def grid(n_features, n_points):
    """Return points that lie dense in the middle, and the volume that each stands for."""
    u = torch.linspace(-8, 8, n_points, dtype=torch.float64)
    z, weight = torch.sinh(u), torch.cosh(u) * (u[1] - u[0])
    points = torch.cartesian_prod(*[z] * n_features).reshape(-1, n_features)
    return points, torch.cartesian_prod(*[weight] * n_features).reshape(len(points), -1).prod(1)


@torch.no_grad()
@pytest.mark.parametrize(("n_features", "n_points"), [(1, 4001), (2, 801)])
def test_density_integrates_to_one(make, n_features, n_points):
    z, volume = grid(n_features, n_points)
    assert float(make(n_features).log_prob(z).exp() @ volume) == pytest.approx(1, abs=2e-4)


@torch.no_grad()
def test_log_prob_is_that_of_a_reference(base):
    z = torch.linspace(-30, 30, 122, dtype=torch.float64).reshape(-1, 2)
    if type(base) in REFERENCES:
        expected = REFERENCES[type(base)](base).logpdf(z.numpy()).sum(1)
    elif isinstance(base, NormalMixture):
        expected = distributions.MixtureSameFamily(
            distributions.Categorical(base.weights),
            distributions.MultivariateNormal(base.means, base.covariances),
        ).log_prob(z)
    else:
        log_prob = base.distribution.log_prob
        expected = log_prob(z if base._dtype == torch.float64 else z.float())
        expected = expected.sum(1) if expected.ndim == 2 else expected
    np.testing.assert_allclose(base.log_prob(z).numpy(), expected, rtol=1e-10)


def test_pullback_is_automatic_differentiation(base, generator):
    z = torch.randn(9, 2, generator=generator, dtype=torch.float64)
    weights = torch.randn(9, generator=generator, dtype=torch.float64)
    log_prob, pullback = base.log_prob_and_pullback(z)
    gradient = pullback(weights)
    ours = [parameter.grad for parameter in base.parameters()]

    z.requires_grad_()
    base.zero_grad()
    expected = base.log_prob(z)
    expected.backward(weights)
    torch.testing.assert_close(log_prob, expected.detach())
    torch.testing.assert_close(gradient, z.grad, rtol=1e-9, atol=1e-9)
    for parameter, grad in zip(base.parameters(), ours, strict=True):
        torch.testing.assert_close(grad, parameter.grad)


def test_every_parameter_gets_a_gradient(base, generator):
    z = torch.randn(20, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    base.log_prob(z).sum().backward()
    for name, parameter in [("z", z), *base.named_parameters()]:
        assert (parameter.grad != 0).any(), name


@torch.no_grad()
def test_samples_have_the_cumulative_distribution_of_the_density(make, generator):
    base = make(1)
    z, volume = grid(1, 4001)
    cumulative = (base.log_prob(z).exp() * volume).cumsum(0)
    sample = base.sample((20_000, 1), generator=generator)[:, 0].numpy()
    half_a_cell = 0.5 * base.log_prob(z).exp() * volume
    result = stats.kstest(sample, lambda x: np.interp(x, z[:, 0], cumulative - half_a_cell))
    assert result.pvalue > 1e-3


@torch.no_grad()
def test_samples_have_the_entropy_and_moments_of_the_density(base, generator):
    z, volume = grid(2, 801)
    log_prob = base.log_prob(z)
    probability = log_prob.exp() * volume
    sample = base.sample((20_000, 2), generator=generator)
    scores = base.log_prob(sample)
    assert abs(scores.mean() - probability @ log_prob) < 5 * scores.std() / math.sqrt(20_000)
    torch.testing.assert_close(sample.mean(0), probability @ z, atol=0.1, rtol=0)
    covariance = torch.einsum("n,ni,nj->ij", probability, z, z) - torch.outer(
        *[probability @ z] * 2
    )
    torch.testing.assert_close(sample.T.cov(), covariance, atol=0.15, rtol=0.1)


@torch.no_grad()
def test_seeds_reproduce_and_global_state_stays(base):
    before = torch.get_rng_state()
    draws = [
        base.sample((50, 2), generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    base.allocate(2)
    base.initialize(draws[0], torch.Generator().manual_seed(0))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.get_rng_state(), before)


@torch.no_grad()
def test_consecutive_draws_differ(base, generator):
    one, two = (base.sample((5, 2), generator=generator) for _ in range(2))
    assert not torch.equal(one, two)


@pytest.mark.parametrize("parameters", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_dtype_follows_the_input(base, dtype, parameters, generator):
    base.to(parameters)
    z = torch.randn(5, 2, generator=generator).to(dtype)
    log_prob, pullback = base.log_prob_and_pullback(z)
    assert log_prob.shape == (5,)
    assert log_prob.dtype == pullback(log_prob).dtype == dtype
    assert base.sample((3, 2), generator=generator, dtype=dtype).dtype == dtype


def test_stable_far_out_in_float32(base):
    base.float()
    z = torch.tensor([[1e3, -1e3], [-30, 1e3], [-1e3, 0.0]])
    log_prob, pullback = base.log_prob_and_pullback(z)
    torch.testing.assert_close(
        log_prob.double(), base.log_prob(z.double()).detach(), rtol=1e-4, atol=0
    )
    assert torch.isfinite(pullback(torch.ones(3))).all()
    for parameter in base.parameters():
        assert torch.isfinite(parameter.grad).all()


@torch.no_grad()
def test_copies_and_pickles_compute_the_same(base, generator):
    z = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    for twin in (copy.deepcopy(base), pickle.loads(pickle.dumps(base))):
        assert torch.equal(twin.log_prob(z), base.log_prob(z))


@torch.no_grad()
def test_a_state_dict_fits_a_new_one(base, generator):
    new = copy.deepcopy(base)
    for parameter in new.parameters():
        parameter.zero_()
    new.load_state_dict(base.state_dict())
    z = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    assert torch.equal(new.log_prob(z), base.log_prob(z))


def test_repr_names_the_class_and_not_the_values(make, base):
    assert repr(base).startswith(type(base).__name__ + "(")
    assert repr(base) == repr(make(2))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_ends_of_the_uniform_give_finite_samples(make, dtype, monkeypatch, generator):
    base = make(1)
    for end in (0.0, 1 - torch.finfo(dtype).eps):
        monkeypatch.setattr(
            torch, "rand", lambda shape, end=end, **_: torch.full(shape, end, dtype=dtype)
        )
        assert torch.isfinite(base.sample((1, 1), generator=generator, dtype=dtype)).all()


@torch.no_grad()
def test_sharpness_is_the_mean_squared_score(base, generator):
    z = base.sample((200, 2), generator=generator)
    with torch.enable_grad():
        _, pullback = base.log_prob_and_pullback(z)
        expected = float(pullback(torch.ones(200, dtype=torch.float64)).square().mean())
    assert base.sharpness(z) == pytest.approx(max(1, expected))
    assert not any(p.grad is not None and p.grad.requires_grad for p in base.parameters())


class TestStudentT:
    def test_starts_from_the_tails_of_the_data(self, generator, rng):
        heavy = rng.standard_t(4, size=5000) / np.sqrt(2)
        z = torch.from_numpy(np.c_[heavy, rng.normal(size=5000)])
        base = StudentT()
        base.allocate(2)
        base.initialize(z, generator)
        np.testing.assert_allclose(base.df, [4, 50], atol=1)

    @pytest.mark.parametrize("df", [3.0, 8.0])
    def test_descent_finds_the_degrees_of_freedom(self, df, rng):
        z = rng.standard_t(df, size=(20_000, 1)) * np.sqrt((df - 2) / df)
        base = StudentT()
        base.allocate(1)
        adam = torch.optim.Adam(base.parameters(), lr=0.05)
        for _ in range(200):
            adam.zero_grad()
            (-base.log_prob(torch.from_numpy(z)).mean()).backward()
            adam.step()
        assert float(base.df) == pytest.approx(df, rel=0.15)

    @pytest.mark.parametrize("value", [-40.0, 40.0])
    @torch.no_grad()
    def test_finite_however_far_the_parameter_goes(self, value, generator):
        base = StudentT()
        base.allocate(1)
        base.log_inverse.fill_(value)
        z = torch.tensor([[0.1], [3.0], [1e3]])
        assert torch.isfinite(base.log_prob(z)).all()
        assert torch.isfinite(base.sample((100, 1), generator=generator)).all()
        if value < 0:
            torch.testing.assert_close(
                base.log_prob(z[:2]), Normal().log_prob(z[:2]), atol=1e-3, rtol=0
            )

    def test_needs_the_number_of_features(self):
        with pytest.raises(RuntimeError, match=r"number of features first: allocate\(D\)"):
            StudentT().log_prob(torch.zeros(1, 2))


class TestNormalMixture:
    def test_starts_from_the_parts_of_the_data(self, generator, global_random_seed):
        ring = gaussian_ring(8, noise=0.3)
        z = torch.from_numpy(ring.sample(4000, random_state=global_random_seed))
        base = NormalMixture(n_components=8)
        base.allocate(2)
        base.double().initialize(z, generator)
        distances = torch.cdist(torch.from_numpy(ring.centres), base.means)
        assert distances.min(1).values.max() < 0.1
        assert sorted(distances.argmin(1).tolist()) == list(range(8))
        np.testing.assert_allclose(base.weights, 1 / 8, atol=0.03)
        expected = 0.09 * torch.eye(2, dtype=torch.float64).expand(8, 2, 2)
        torch.testing.assert_close(base.covariances, expected, atol=0.02, rtol=0)
        assert base.log_prob(z).mean().item() == pytest.approx(ring.score(z.numpy()), abs=0.02)
        assert base.sharpness(z) == pytest.approx(1 / 0.09, rel=0.1)

    @pytest.mark.parametrize(
        "z",
        [torch.zeros(1, 3), torch.ones(50, 3), torch.eye(3).repeat(20, 1)],
        ids=["one row", "equal rows", "few distinct rows"],
    )
    def test_starts_from_whatever_there_is(self, z, generator):
        base = NormalMixture()
        base.allocate(3)
        base.initialize(z, generator)
        assert torch.isfinite(base.log_prob(z)).all()
        assert torch.isfinite(base.sample((20, 3), generator=generator)).all()
        assert float(base.weights.sum()) == pytest.approx(1)

    def test_a_start_from_few_rows_is_shrunk(self, generator):
        # Sixteen components of a hundred rows in ten dimensions: each alone would be degenerate.
        z, held_out = torch.randn(2, 100, 10, generator=generator, dtype=torch.float64)
        base = NormalMixture()
        base.allocate(10)
        base.initialize(z, generator)
        assert base.log_prob(held_out).mean() > Normal().log_prob(held_out).mean() - 3

    def test_before_the_start_it_is_standard_normal(self, generator):
        base = NormalMixture()
        base.allocate(2)
        z = torch.randn(5, 2, generator=generator)
        torch.testing.assert_close(base.log_prob(z).detach(), Normal().log_prob(z))

    @pytest.mark.parametrize(
        ("n_rows", "n_different"), [(3, 1), (23, 1), (24, 2), (60, 5), (900, 8)]
    )
    def test_no_component_starts_from_a_row_or_two(self, generator, n_rows, n_different):
        base = NormalMixture(n_components=8)
        base.allocate(2)
        z, test = torch.randn(2, 1000, 2, generator=generator, dtype=torch.float64)
        base.initialize(z[:n_rows].float(), generator)
        assert len(torch.unique(base.centre, dim=0)) == n_different
        assert base.weights.sum() == pytest.approx(1)
        assert (base.precision_factor.triu(1) == 0).all()
        if n_rows > 3:  # which tell nothing
            # As likely as by the normal distribution that all rows are of, but for what few tell.
            lost = (Normal().log_prob(test) - base.log_prob(test.float()).double()).mean()
            assert lost < 6

    def test_very_few_rows_start_from_the_shrunk_gaussian(self, generator):
        base = NormalMixture(n_components=4)
        base.allocate(2)
        z = torch.randn(6, 2, generator=generator, dtype=torch.float64)
        base.initialize(z, generator)
        whitening, log_det = shrunk_whitening(z)
        expected = Normal().log_prob((z - z.mean(0)) @ whitening) + log_det
        torch.testing.assert_close(base.log_prob(z.float()).double(), expected, atol=1e-4, rtol=0)

    @pytest.mark.parametrize("n_components", [0, -1, 2.5])
    def test_number_of_components(self, n_components):
        match = f"n_components must be a positive integer, got {n_components}"
        with pytest.raises(ValueError, match=match):
            NormalMixture(n_components)


@pytest.mark.parametrize("base", [StudentT(), NormalMixture()], ids=lambda b: type(b).__name__)
def test_one_made_for_another_number_of_features(base):
    base.allocate(2)
    base.allocate(2)
    with pytest.raises(ValueError, match="has 2 features, and 3 are asked for: make a new one"):
        base.allocate(3)


class Plain:
    """A distribution that gives what it is told to."""

    def __init__(self, sample, log_prob):
        self._sample, self._log_prob = sample, log_prob

    def sample(self, sample_shape):
        return self._sample.expand(*sample_shape, *self._sample.shape)

    def log_prob(self, value):
        return self._log_prob(value)


class TestAdaptedDistribution:
    def test_samples_of_another_shape(self):
        normal = distributions.MultivariateNormal(torch.zeros(3), torch.eye(3))
        match = (
            r"base_distribution=MultivariateNormal\(.*\) draws samples of shape \(3,\); "
            r"pass a distribution of vectors of shape \(2,\), one entry for each column, or of "
            r"numbers"
        )
        with pytest.raises(ValueError, match=match):
            AdaptedDistribution(normal).allocate(2)

    def test_log_densities_of_another_shape(self):
        plain = Plain(torch.zeros(2), lambda z: z.sum())
        with pytest.raises(
            ValueError, match=r"=Plain gives log-densities of shape \(\) for 3 rows"
        ):
            AdaptedDistribution(plain).allocate(2)

    @pytest.mark.parametrize(
        "distribution",
        [
            distributions.Exponential(1.0),
            distributions.Uniform(-1.0, 1.0),
            distributions.Uniform(-1.0, 1.0, validate_args=False),
            distributions.Exponential(1.0, validate_args=False),
        ],
        ids=repr,
    )
    def test_densities_that_vanish_somewhere(self, distribution):
        with pytest.raises(ValueError, match="does not have a positive density on the whole real"):
            AdaptedDistribution(distribution).allocate(2)

    def test_an_equal_object_has_an_equal_repr(self):
        one, two = (AdaptedDistribution(Plain(torch.zeros(()), torch.square)) for _ in range(2))
        assert repr(one) == repr(two) == "AdaptedDistribution(Plain)"
