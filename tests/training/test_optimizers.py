import math

import numpy as np
import pytest
import torch

from skflow.flow import (
    AffineCoupling,
    Bijection,
    ElementwiseSpline,
    Flow,
    LeakyTanh,
    LinearStack,
    Normal,
    SmoothLeakyReLU,
)
from skflow.training.optimizers import Adam, NormalizedRelativeSGD, RelativeSGD


@pytest.mark.parametrize("n_rows", [3, 20])  # fewer than columns, and more
@pytest.mark.parametrize("bias", [True, False])
def test_sgd_in_place_is_a_step_along_the_relative_gradient(bias, n_rows, make_stack, generator):
    stack = make_stack(3, 5, activation=LeakyTanh(), bias=bias)
    flow = Flow([stack], Normal(), n_features=5)
    x = torch.randn(n_rows, 5, generator=generator, dtype=torch.float64)
    flow.relative_gradient(x)
    weight, before = stack.weight.detach().clone(), stack.weight.data_ptr()
    expected_weight = weight - 0.05 * stack.factors.weight_gradient(weight)
    if bias:
        old_bias = stack.bias.detach().clone()
        expected_bias = old_bias - 0.05 * stack.factors.bias_gradient(old_bias)
    RelativeSGD(flow).step(0.05)
    stack.settle()
    torch.testing.assert_close(stack.weight.detach(), expected_weight, rtol=1e-10, atol=1e-12)
    if bias:
        torch.testing.assert_close(stack.bias.detach(), expected_bias, rtol=1e-10, atol=1e-12)
    assert stack.weight.data_ptr() == before
    assert stack.weight.grad is None


def test_sgd_calls_nothing_cubic_in_the_columns(make_stack, generator, monkeypatch):
    stack = make_stack(2, 30, activation=SmoothLeakyReLU())
    flow = Flow([stack], Normal(), n_features=30)
    with torch.no_grad():
        stack.log_abs_det()
    for name in ("inv", "lu_factor", "solve", "qr", "eigh", "svd", "det", "cholesky"):
        monkeypatch.setattr(torch.linalg, name, None)
    slogdet = torch.linalg.slogdet

    def small_slogdet(a):
        assert a.shape[-1] == 7  # the batch, not the columns
        return slogdet(a)

    monkeypatch.setattr(torch.linalg, "slogdet", small_slogdet)
    optimizer = RelativeSGD(flow)
    for _ in range(5):
        flow.relative_gradient(torch.randn(7, 30, generator=generator, dtype=torch.float64))
        optimizer.step(0.01)
    with torch.no_grad():
        tracked = stack.log_abs_det()
    expected = slogdet(stack.weight.detach()).logabsdet
    torch.testing.assert_close(tracked, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("block_entries", [2**18, 5 * 64])  # all at once, or a few rows
def test_tracked_log_determinant_stays_exact_in_float32(generator, monkeypatch, block_entries):
    monkeypatch.setattr("skflow.flow.linear._BLOCK_ENTRIES", block_entries)
    stack = LinearStack(2, 64, activation=LeakyTanh())
    flow = Flow([stack], Normal(), n_features=64)
    mixing = torch.eye(64) + 0.05 * torch.randn(64, 64, generator=generator)
    x = 3 * torch.randn(2000, 64, generator=generator).pow(3) @ mixing
    flow.initialize(x, generator)
    optimizer = RelativeSGD(flow)
    with torch.no_grad():
        start = stack.log_abs_det().sum()
    for step in range(1000):
        flow.relative_gradient(x[(20 * step) % 2000 :][:20])
        optimizer.step(0.02)
    with torch.no_grad():
        tracked = stack.log_abs_det()
    exact = torch.linalg.slogdet(stack.weight.detach().double()).logabsdet
    assert abs(exact.sum() - start) > 1.0  # there was something to track
    torch.testing.assert_close(tracked, exact, atol=1e-4, rtol=0)


def test_adam_is_that_of_torch_on_the_relative_gradient(make_stack, generator):
    stack = make_stack(2, 4, activation=LeakyTanh())
    flow = Flow([stack], Normal(), n_features=4)
    weight = torch.nn.Parameter(stack.weight.detach().clone())
    reference = torch.optim.Adam([weight], lr=0.01)
    optimizer = Adam(flow)
    for _ in range(5):
        flow.relative_gradient(torch.randn(10, 4, generator=generator, dtype=torch.float64))
        weight.grad = stack.factors.weight_gradient(stack.weight.detach())
        reference.step()
        optimizer.step(0.01)
        torch.testing.assert_close(stack.weight.detach(), weight.detach())


def whitened_path(optimizer_class, rate, mixing, n_steps):
    """Train on X Mᵀ with a first layer W₀ M⁻¹, and return the losses."""
    draw = torch.Generator().manual_seed(5)
    x = torch.randn(200, 4, generator=draw, dtype=torch.float64)
    x = (x + 0.3 * x.square()) @ mixing.T
    stack = LinearStack(2, 4, activation=LeakyTanh(), dtype=torch.float64)
    stack.weight.data[0] = torch.linalg.inv(mixing)
    flow = Flow([stack], Normal(), n_features=4)
    optimizer = optimizer_class(flow)
    losses = []
    for step in range(n_steps):
        batch = x[(50 * step) % 200 :][:50]
        flow.relative_gradient(batch)
        with torch.no_grad():
            losses.append(float(flow.log_prob(batch).mean()) + math.log(abs(mixing.det())))
        optimizer.step(rate)
    return np.array(losses)


@pytest.mark.parametrize("n_features", [4, 40])  # fewer and more than rows in the batch
def test_normalised_step_has_its_relative_size(n_features, make_stack, generator):
    stack = make_stack(3, n_features, activation=LeakyTanh())
    flow = Flow([stack], Normal(), n_features=n_features)
    x = 5 * torch.randn(20, n_features, generator=generator, dtype=torch.float64)
    flow.relative_gradient(x)
    before = stack.weight.detach().clone()
    delta, y, *_ = stack.factors
    relative = delta.mT @ y - torch.eye(n_features, dtype=torch.float64)
    NormalizedRelativeSGD(flow).step(0.1)
    stack.settle()
    change = torch.eye(n_features) - stack.weight.detach() @ torch.linalg.inv(before)
    # One rate for all layers, along S, and the largest change is bounded by the rate.
    rates = change.flatten(1).norm(dim=1) / relative.flatten(1).norm(dim=1)
    torch.testing.assert_close(rates, rates[:1].expand(3))
    torch.testing.assert_close(change, rates[0] * relative, rtol=1e-8, atol=1e-8)
    largest = torch.linalg.matrix_norm(change, 2).max()
    assert 0.1 / 3 < largest <= 0.1
    schatten = torch.linalg.svdvals(relative).pow(4).sum(1).pow(0.25).max()
    slack = 0.0 if n_features <= 20 else 1.0
    assert schatten * (1 - 1e-9) <= 0.1 / rates[0] <= schatten + 2 * slack + 1e-9


def test_a_short_relative_gradient_is_not_lengthened(generator):
    x = torch.randn(5000, 3, generator=generator, dtype=torch.float64)
    stack = LinearStack(1, 3, dtype=torch.float64)
    flow = Flow([stack], Normal(), n_features=3)
    flow.initialize(x, generator)
    paths = []
    for optimizer_class in (NormalizedRelativeSGD, RelativeSGD):
        stack.weight.data.mul_(1.01)
        flow.relative_gradient(x)
        optimizer_class(flow).step(0.1)
        stack.settle()
        paths.append(stack.weight.detach().clone())
        flow.initialize(x, generator)
    torch.testing.assert_close(paths[0], paths[1])


@pytest.mark.parametrize("n_layers", [1, 5, 60])
def test_no_data_makes_a_normalised_step_singular(n_layers, generator):
    x = 10 ** (6 * torch.rand(500, 6, generator=generator) - 3)
    stack = LinearStack(n_layers, 6, activation=SmoothLeakyReLU())
    flow = Flow([stack], Normal(), n_features=6)
    flow.initialize(x, generator)
    optimizer = NormalizedRelativeSGD(flow)
    for step in range(200):
        flow.relative_gradient(x[(10 * step) % 500 :][:10])
        assert optimizer.step(optimizer.default_rate(10))
    with torch.no_grad():
        assert torch.isfinite(stack.log_abs_det()).all()


def test_relative_steps_are_equivariant_and_adam_is_not(generator):
    mixing = torch.randn(4, 4, generator=generator, dtype=torch.float64) + 2 * torch.eye(4)
    eye = torch.eye(4, dtype=torch.float64)
    for optimizer_class, rate, equal in (
        (RelativeSGD, 0.05, True),
        (NormalizedRelativeSGD, 0.05, True),
        (Adam, 0.01, False),
    ):
        plain = whitened_path(optimizer_class, rate, eye, 50)
        mixed = whitened_path(optimizer_class, rate, mixing, 50)
        assert np.allclose(plain, mixed, rtol=1e-9, atol=1e-9) == equal


@pytest.mark.parametrize("optimizer_class", [RelativeSGD, NormalizedRelativeSGD, Adam])
def test_determinants_are_those_of_the_weights_after_a_step(
    optimizer_class, make_stack, generator
):
    stack = make_stack(2, 4, activation=LeakyTanh())
    flow = Flow([stack], Normal(), n_features=4)
    optimizer = optimizer_class(flow)
    x = torch.randn(10, 4, generator=generator, dtype=torch.float64)
    for _ in range(3):
        flow.relative_gradient(x)
        optimizer.step(0.05)
        with torch.no_grad():
            stack.settle()
            expected = torch.linalg.slogdet(stack.weight).logabsdet
            torch.testing.assert_close(stack.log_abs_det(), expected)
            torch.testing.assert_close(stack.inverse(stack(x)), x)


@pytest.mark.parametrize("optimizer_class", [RelativeSGD, NormalizedRelativeSGD, Adam])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_step_that_is_not_finite_is_not_taken(optimizer_class, value, generator):
    stack = LinearStack(2, 3, activation=LeakyTanh())
    flow = Flow([stack], Normal(), n_features=3)
    x = torch.randn(10, 3, generator=generator)
    optimizer = optimizer_class(flow)
    flow.relative_gradient(x)
    assert optimizer.step(0.01)
    stack.settle()
    before = stack.weight.detach().clone()
    x[4, 1] = value
    flow.relative_gradient(x)
    assert not optimizer.step(0.01)
    assert torch.equal(stack.weight, before)


def test_a_step_without_a_gradient_says_so():
    flow = Flow([LinearStack(1, 2)], Normal(), n_features=2)
    with pytest.raises(RuntimeError, match="needs the flow's relative_gradient"):
        RelativeSGD(flow).step(0.1)


def test_the_rate_of_sgd_falls_where_columns_outnumber_rows():
    few, many = (
        RelativeSGD(Flow([LinearStack(1, d)], Normal(), n_features=d)) for d in (100, 10_000)
    )
    assert few.default_rate(100) == 0.02
    assert many.default_rate(100) == pytest.approx(0.002)


class Translate(Bijection):
    """A bijection whose parameter trains by ordinary differentiation."""

    def __init__(self):
        super().__init__()
        self.by = torch.nn.Parameter(torch.zeros(2))

    def forward_and_log_det(self, x):
        return x + self.by, x.new_zeros(len(x))

    def inverse_and_log_det(self, y):
        return y - self.by, y.new_zeros(len(y))


@pytest.mark.parametrize("optimizer_class", [RelativeSGD, Adam])
def test_other_parameters_train_too(optimizer_class, generator):
    translate = Translate()
    flow = Flow([translate, LinearStack(1, 2, bias=False)], Normal(), n_features=2)
    optimizer = optimizer_class(flow)
    x = torch.randn(500, 2, generator=generator) + 1
    for _ in range(1500):
        flow.relative_gradient(x)
        optimizer.step(0.01)
    torch.testing.assert_close(translate.by.detach(), -x.mean(0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("bias", [True, False])
def test_averaged_steps_are_those_of_the_augmented_matrices(bias, make_stack, generator):
    stack = make_stack(2, 4, activation=LeakyTanh(), bias=bias)
    flow = Flow([stack], Normal(), n_features=4)
    optimizer = NormalizedRelativeSGD(flow)
    mean = torch.zeros(2, 5, 5, dtype=torch.float64)
    for step in range(1, 6):
        flow.relative_gradient(torch.randn(30, 4, generator=generator, dtype=torch.float64))
        delta, y = (factor.clone() for factor in stack.factors[:2])
        augmented = torch.zeros(2, 5, 5, dtype=torch.float64)
        augmented[:, :4, :4] = delta.mT @ y - torch.eye(4)
        augmented[:, :4, 4] = delta.sum(1)
        mean = 0.9 * mean + 0.1 * augmented
        unbiased = mean / (1 - 0.9**step)
        norm = max(
            float(torch.linalg.svdvals(s).pow(4).sum() ** 0.25) for s in unbiased[:, :4, :4]
        )
        weight = torch.zeros(2, 5, 5, dtype=torch.float64)
        weight[:, :4, :4], weight[:, 4, 4] = stack.weight.detach(), 1
        if bias:
            weight[:, :4, 4] = stack.bias.detach()
        expected = weight - 0.1 / max(1.0, norm) * unbiased @ weight
        optimizer.step(0.1)
        torch.testing.assert_close(
            stack.weight.detach(), expected[:, :4, :4], rtol=1e-10, atol=1e-12
        )
        if bias:
            torch.testing.assert_close(
                stack.bias.detach(), expected[:, :4, 4], rtol=1e-10, atol=1e-12
            )


@pytest.mark.parametrize("weights", [None, [2.0, 1.0, 0.5] * 10])
def test_whitening_descends_a_gaussian_likelihood_between_layers(weights, generator):
    d, x = 4, 3 * torch.randn(30, 4, generator=generator, dtype=torch.float64)
    if weights is not None:
        weights = torch.tensor(weights, dtype=torch.float64)
    stacks = [LinearStack(1, d, dtype=torch.float64) for _ in range(2)]
    flow = Flow(
        [stacks[0], ElementwiseSpline(d, dtype=torch.float64), stacks[1]], Normal(), n_features=d
    )
    with torch.no_grad():
        for stack in stacks:
            stack.weight.normal_(generator=generator)
    flow.relative_gradient(x, weights)
    before = [stack.weight.detach().clone() for stack in stacks]

    # The relative gradient of the penalty, by automatic differentiation.
    weight = before[0][0].clone().requires_grad_()
    y = x @ weight.T + stacks[0].bias.detach()
    shares = torch.full((30,), 1 / 30, dtype=torch.float64) if weights is None else weights / 30
    nats = shares @ (0.5 * y.square().sum(1) - torch.linalg.slogdet(weight).logabsdet)
    pull = torch.autograd.grad(nats, weight)[0] @ weight.detach().T

    relative = [
        stack.factors.delta[0].mT @ stack.factors.y[0] - stack.factors.mass * torch.eye(d)
        for stack in stacks
    ]
    relative[0] = relative[0] + 0.1 * pull
    norm = max(float(torch.linalg.svdvals(s).pow(4).sum() ** 0.25) for s in relative)
    NormalizedRelativeSGD(flow).step(0.05, 0.0, whitening=0.1)
    for stack, old, s in zip(stacks, before, relative, strict=True):
        expected = old - 0.05 / max(1.0, norm) * s @ old
        torch.testing.assert_close(stack.weight.detach()[0], expected[0], rtol=1e-10, atol=1e-12)


def test_whitening_holds_singular_values_together(generator):
    """Where the next layer can undo what noise does to one, the likelihood does not."""

    def condition(whitening):
        generator.manual_seed(0)
        stacks = [LinearStack(1, 8), LinearStack(1, 8)]
        flow = Flow([stacks[0], ElementwiseSpline(8), stacks[1]], Normal(), n_features=8)
        flow.initialize(torch.randn(100, 8, generator=generator), generator)
        optimizer = NormalizedRelativeSGD(flow)
        for _ in range(1000):
            flow.relative_gradient(torch.randn(10, 8, generator=generator))
            optimizer.step(0.3, 0.0, whitening=whitening)
        return float(torch.linalg.cond(stacks[0].weight.detach().double()).max())

    assert condition(0.05) < 10
    assert condition(0.0) > 100


@pytest.mark.parametrize("optimizer_class", [RelativeSGD, NormalizedRelativeSGD, Adam])
def test_a_refused_step_leaves_no_gradient_behind(optimizer_class, generator):
    coupling = AffineCoupling(2)
    flow = Flow([LinearStack(1, 2), coupling, LinearStack(1, 2)], Normal(), n_features=2)
    flow.initialize(torch.randn(50, 2, generator=generator), generator)
    optimizer = optimizer_class(flow)
    flow.relative_gradient(torch.full((5, 2), math.inf))
    assert not optimizer.step(0.1)
    before = coupling.conditioner.biases[-1].detach().clone()
    flow.relative_gradient(torch.randn(5, 2, generator=generator))
    assert optimizer.step(0.1)
    assert torch.isfinite(coupling.conditioner.biases[-1]).all()
    assert not torch.equal(coupling.conditioner.biases[-1], before)


def test_only_the_weights_of_conditioners_decay(generator):
    spline, coupling = ElementwiseSpline(2), AffineCoupling(2)
    flow = Flow([spline, LinearStack(1, 2), coupling], Normal(), n_features=2)
    for parameter in flow.parameters():
        parameter.data.normal_(generator=generator)
    before = {name: p.detach().clone() for name, p in flow.named_parameters()}
    optimizer = RelativeSGD(flow, weight_decay=2.0)
    flow.relative_gradient(torch.randn(20, 2, generator=generator))
    for parameter in optimizer.others:
        parameter.grad.zero_()
    optimizer.step(0.0, 0.01)
    for name, parameter in flow.named_parameters():
        factor = 1 - 0.01 * 2.0 if "conditioner.weight" in name else 1.0
        torch.testing.assert_close(parameter.detach(), factor * before[name], msg=name)
