"""A flow as a distribution of torch.distributions, and in Pyro."""

import pickle

import pytest
import torch
from torch import distributions

from skflow.flow import (
    ElementwiseSpline,
    Flow,
    FlowDistribution,
    HyperbolicSecant,
    LeakyTanh,
    LinearStack,
    NormalMixture,
    SplineCoupling,
)


@pytest.fixture
def flow(generator):
    bijections = [
        LinearStack(2, 3, activation=LeakyTanh(), dtype=torch.float64),
        SplineCoupling(3, n_hidden=4, n_bins=4, dtype=torch.float64),
        ElementwiseSpline(3, n_bins=4, dtype=torch.float64),
    ]
    flow = Flow(bijections, HyperbolicSecant(), n_features=3)
    flow.initialize(torch.randn(50, 3, generator=generator, dtype=torch.float64), generator)
    for parameter in flow.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.add_(0.2 * noise)
    return flow


@pytest.fixture
def distribution(flow):
    return flow.as_distribution(dtype=torch.float64)


def test_shapes_and_densities(flow, distribution, generator):
    assert isinstance(distribution, distributions.Distribution)
    assert distribution.event_shape == (3,)
    assert distribution.batch_shape == ()
    assert distribution.support is distributions.constraints.real_vector
    assert distribution.sample((4, 0)).shape == (4, 0, 3)
    for shape in ((), (5,), (2, 5)):
        assert distribution.sample(shape).shape == (*shape, 3)
        x = torch.randn(*shape, 3, generator=generator, dtype=torch.float64)
        expected = flow.log_prob(x.reshape(-1, 3)).reshape(shape)
        torch.testing.assert_close(distribution.log_prob(x), expected)
    batch = distribution.expand((4, 1))
    assert batch.sample((2,)).shape == (2, 4, 1, 3)
    assert batch.log_prob(torch.zeros(3).double()).shape == (4, 1)
    assert batch.expand((4, 5)).batch_shape == (4, 5)
    with pytest.raises(ValueError, match="cannot be expanded"):
        batch.expand((3, 1))


def test_samples_come_from_the_global_generator_and_are_those_of_the_flow(flow):
    distribution = flow.as_distribution()
    assert distribution.sample().dtype == torch.get_default_dtype()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first, second = distribution.sample((4,)), distribution.sample((4,))
        torch.manual_seed(3)
        again = flow.sample(4, dtype=torch.float32)
    torch.testing.assert_close(again, first, rtol=1e-4, atol=1e-4)
    assert not torch.equal(second, first)
    assert not first.requires_grad


def test_arguments_are_checked(distribution):
    with pytest.raises(ValueError, match="Expected value argument"):
        distribution.log_prob(torch.full((2, 3), torch.nan))
    unchecked = FlowDistribution(distribution.flow, validate_args=False)
    assert unchecked.log_prob(torch.full((2, 3), torch.nan)).isnan().all()


def test_gradients_of_samples_are_those_of_the_inverse(flow, distribution):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = distribution.rsample((2, 3))
    z = flow(x.detach().reshape(-1, 3)).detach().requires_grad_()
    weights = torch.arange(18.0, dtype=torch.float64).reshape(2, 3, 3)
    flow.zero_grad()
    (x * weights).sum().backward()
    # By differences of the inverse at the same latents.
    step = 1e-5
    for name, parameter in flow.named_parameters():
        value = parameter.detach()
        direction = torch.ones_like(value)
        direction.view(-1)[::2] = -0.5
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * step * direction)
                ends.append((flow.inverse(z).reshape(2, 3, 3) * weights).sum())
                parameter.sub_(sign * step * direction)
        expected = (ends[0] - ends[1]) / (2 * step)
        found = (parameter.grad * direction).sum()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=name)


def test_densities_carry_gradients_to_values_and_parameters(flow, distribution, generator):
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    inputs = [x, *flow.parameters()]
    expected = torch.autograd.grad(flow.log_prob(x).sum(), inputs)
    found = torch.autograd.grad(distribution.log_prob(x.reshape(2, 2, 3)).sum(), inputs)
    torch.testing.assert_close(found, expected)


def test_samples_of_a_base_that_is_trained_carry_no_gradients():
    flow = Flow([LinearStack(1, 2)], NormalMixture(2), n_features=2)
    distribution = flow.as_distribution()
    assert not distribution.has_rsample
    assert distribution.sample((3,)).shape == (3, 2)
    with pytest.raises(NotImplementedError, match="requires_grad_"):
        distribution.rsample()
    flow.base.requires_grad_(False)
    assert distribution.has_rsample
    assert distribution.rsample((3,)).requires_grad


def test_it_goes_where_distributions_go(flow, distribution, generator):
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    doubled = distributions.TransformedDistribution(
        distribution, [distributions.AffineTransform(0.0, 2.0, event_dim=1)]
    )
    expected = flow.log_prob(x / 2) - 3 * torch.log(torch.tensor(2.0))
    torch.testing.assert_close(doubled.log_prob(x), expected)
    both = distributions.Independent(distribution.expand((2,)), 1)
    assert both.event_shape == (2, 3)
    twin = pickle.loads(pickle.dumps(distribution.expand((2,))))
    assert twin.batch_shape == (2,)
    with torch.no_grad():
        assert torch.equal(twin.log_prob(x[:2]), flow.log_prob(x[:2]))


def test_pyro_samples_and_scores(flow):
    # Pyro is in no extra: its releases wait for no release of PyTorch.
    pyro = pytest.importorskip("pyro")
    poutine = pytest.importorskip("pyro.poutine")
    distribution = flow.as_distribution(dtype=torch.float64)

    def model(data=None):
        with pyro.plate("rows", 5):
            x = pyro.sample("x", distribution, obs=data)
        pyro.factor("penalty", -x.square().sum())
        return x

    with torch.random.fork_rng():
        trace = poutine.trace(model).get_trace()
        x = trace.nodes["x"]["value"].detach()
        assert x.shape == (5, 3)
        expected = flow.log_prob(x).sum() - x.square().sum()
        torch.testing.assert_close(trace.log_prob_sum(), expected)
        observed = poutine.trace(model).get_trace(x + 1)
    expected = flow.log_prob(x + 1).sum() - (x + 1).square().sum()
    torch.testing.assert_close(observed.log_prob_sum(), expected)


def test_pyro_trains_a_flow_as_a_guide(flow):
    pyro = pytest.importorskip("pyro")
    infer = pytest.importorskip("pyro.infer")
    distribution = flow.as_distribution(dtype=torch.float64)
    normal = pyro.distributions.Normal(torch.zeros(3).double(), 1.0).to_event(1)

    def model():
        pyro.sample("x", normal)

    def guide():
        pyro.sample("x", distribution)

    with torch.random.fork_rng():
        loss = infer.Trace_ELBO(num_particles=2).differentiable_loss(model, guide)
    loss.backward()
    assert all(parameter.grad is not None for parameter in flow.parameters())


def test_no_sample_needs_a_generator(flow):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = flow.sample(3)
        other = flow.sample(3)
        torch.manual_seed(1)
        again = flow.sample(3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
