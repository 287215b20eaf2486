import pytest
import torch

from skflow import RelativeGradientFlow
from skflow.flow import AffineCoupling, Flow, LeakyTanh, LinearStack, Normal
from skflow.training.averaging import Average
from skflow.training.batches import Batch, Batches
from skflow.training.defaults import training_settings
from skflow.training.fits import Training, run
from skflow.training.optimizers import Adam, NormalizedRelativeSGD, RelativeSGD
from skflow.training.passes import Increment, Pass
from skflow.training.rows import Rows
from skflow.training.schedule import warming
from skflow.training.scores import mean_log_prob
from skflow.training.steps import Steps


@pytest.fixture
def make_flow():
    def make():
        stacks = [LinearStack(2, 4, activation=LeakyTanh()), LinearStack(1, 4)]
        flow = Flow([stacks[0], AffineCoupling(4), stacks[1]], Normal(), n_features=4)
        draw = torch.Generator().manual_seed(1)
        flow.initialize(torch.randn(100, 4, generator=draw), draw)
        return flow

    return make


@pytest.mark.parametrize("optimizer_class", [RelativeSGD, NormalizedRelativeSGD, Adam])
def test_an_optimizer_goes_on_from_its_state(optimizer_class, make_flow, generator):
    flow, twin = make_flow(), make_flow()
    optimizer = optimizer_class(flow)
    batches = torch.randn(6, 30, 4, generator=generator)

    def steps(flow, optimizer, batches):
        for batch in batches:
            flow.relative_gradient(batch)
            assert optimizer.step(0.01)
        return [p.detach().clone() for p in flow.parameters()]

    steps(flow, optimizer, batches[:3])
    twin.load_state_dict(flow.state_dict())
    other = optimizer_class(twin, weight_decay=2.0)
    state = optimizer.state_dict()
    other.load_state_dict(state)
    # What it was given is copied: neither changes the other.
    expected = steps(flow, optimizer, batches[3:])
    other_again = optimizer_class(twin, weight_decay=1.0)
    other_again.load_state_dict(other.state_dict())
    assert all(map(torch.equal, steps(twin, other_again, batches[3:]), expected))


def test_an_optimizer_goes_on_with_its_own_weight_decay(make_flow, generator):
    flow = make_flow()
    optimizer = RelativeSGD(flow, weight_decay=1.0)
    batches = torch.randn(2, 30, 4, generator=generator)
    flow.relative_gradient(batches[0])
    optimizer.step(0.01)
    weights = []
    for weight_decay in (1.0, 3.0):
        twin = make_flow()
        twin.load_state_dict(flow.state_dict())
        other = RelativeSGD(twin, weight_decay=weight_decay)
        other.load_state_dict(optimizer.state_dict())
        twin.relative_gradient(batches[1])
        other.step(0.01, 0.1)
        weights.append(twin.bijections[1].conditioner.weights[0].detach())
    before = flow.bijections[1].conditioner.weights[0].detach()
    torch.testing.assert_close(weights[0] - weights[1], 0.1 * (3.0 - 1.0) * before)


def test_the_average_weighs_steps_as_their_formula_says(make_flow):
    flow, trained = make_flow(), make_flow()
    average = Average(flow, trained, 5.0)
    expected = [p.detach().double() for p in flow.parameters()]
    for step in range(5, 9):
        with torch.no_grad():
            for p in trained.parameters():
                p.mul_(0.9)
        average.update(1.0)
        weight = 10 / (10 + step)
        expected = [
            (1 - weight) * e + weight * p.detach()
            for e, p in zip(expected, trained.parameters(), strict=True)
        ]
    assert average.n_steps == 9
    for p, e in zip(flow.parameters(), expected, strict=True):
        torch.testing.assert_close(p.detach().double(), e, rtol=1e-5, atol=1e-6)


def test_the_first_step_is_the_average_and_old_ones_fade(make_flow):
    flow, trained = make_flow(), make_flow()
    with torch.no_grad():
        for p in trained.parameters():
            p.add_(1)
    Average(flow, trained, 0.0).update(1.0)
    assert all(map(torch.equal, flow.parameters(), trained.parameters()))
    # However many there were, a thousand steps count.
    flow = make_flow()
    average = Average(flow, trained, 1e9)
    for _ in range(1000):
        average.update(1.0)
    start, mean, last = (next(f.parameters()).detach() for f in (make_flow(), flow, trained))
    share = float(((mean - start) / (last - start)).mean())
    assert share == pytest.approx(1 - 0.999**1000, abs=1e-3)


def test_the_average_settles_what_a_step_put_off(make_flow, generator):
    flow, trained = make_flow(), make_flow()
    trained.relative_gradient(torch.randn(3, 4, generator=generator))
    RelativeSGD(trained).step(0.1)
    assert trained.bijections[0].gain != 1
    Average(flow, trained, 0.0).update(1.0)
    x = torch.randn(10, 4, generator=generator)
    torch.testing.assert_close(flow(x), trained(x))


def test_losses_of_an_epoch_are_weighted(make_flow, generator):
    flow = make_flow()
    steps = Steps(flow, RelativeSGD(flow), rate=1e-30, others_rate=0.0)
    x = torch.randn(30, 4, generator=generator)
    weights = torch.rand(30, generator=generator, dtype=torch.float64)
    steps.begin_epoch()
    for rows in (slice(20), slice(20, None)):  # of different sizes
        assert steps.take(Batch(x[rows], weights[rows]), 1.0)
    expected = -mean_log_prob(flow, Rows(x, weights=weights))
    assert steps.end_epoch() == pytest.approx(expected, rel=1e-5)
    assert steps.n_taken == 2


def test_an_epoch_without_steps_has_no_loss(make_flow):
    flow = make_flow()
    steps = Steps(flow, RelativeSGD(flow), rate=0.1, others_rate=0.0)
    steps.begin_epoch()
    assert not steps.take(Batch(torch.full((5, 4), float("inf"))), 1.0)
    assert (steps.rate, steps.n_skipped) == (0.05, 1)
    assert steps.end_epoch() != steps.end_epoch()


def test_rates_warm_up_and_stay():
    rates = [warming(step) for step in range(200)]
    assert rates == sorted(rates)
    assert 0 < rates[0] < 0.1
    assert rates[100:] == [1.0] * 100


def test_an_increment_moves_to_the_cpu(make_flow, generator):
    flow = make_flow()
    optimizer = NormalizedRelativeSGD(flow)
    flow.relative_gradient(torch.randn(30, 4, generator=generator))
    optimizer.step(0.1)
    increment = Increment(
        30,
        torch.arange(0),
        1.0,
        1.0,
        state=optimizer.state_dict(),
        parameters=tuple(flow.parameters()),
    )
    moved = increment.cpu()
    assert moved.state.keys() == increment.state.keys()
    NormalizedRelativeSGD(make_flow()).load_state_dict(moved.state)
    assert all(map(torch.equal, moved.parameters, increment.parameters))


@pytest.mark.parametrize("advanced", [False, True])
def test_a_pass_goes_on_from_its_state(make_flow, generator, advanced):
    x = torch.randn(200, 4, generator=generator)
    settings = training_settings(RelativeGradientFlow().get_params(), 200, 4)

    def begun():
        flow = make_flow()
        increment = Increment(200, torch.arange(0), 1.0, 1.0)
        trained = increment.resume(flow)
        batches = Batches(Rows(x), 30, torch.Generator().manual_seed(1), every_row=True)
        training = Training(trained, batches, NormalizedRelativeSGD(trained), rate=0.02)
        return Pass(training, flow, increment, settings)

    one, other = begun(), begun()
    if advanced:
        one.advance()
    other.load_state_dict(one.state_dict())
    assert run(one) == run(other)
    for found, expected in zip(one.flow.parameters(), other.flow.parameters(), strict=True):
        assert torch.equal(found, expected)
    assert one.increment.seed == other.increment.seed
    assert one.increment.n_steps == other.increment.n_steps > 0
