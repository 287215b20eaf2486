import math
from copy import deepcopy

import numpy as np
import pytest
import torch

from skflow.flow import (
    AffineCoupling,
    Bijection,
    BlockDiagonal,
    ElementwiseSpline,
    Flow,
    LeakyTanh,
    LinearStack,
    Normal,
    RelativeLayer,
    SmoothLeakyReLU,
)
from skflow.flow.determinants import Determinants
from skflow.training.averaging import Average
from skflow.training.optimizers import Adam, NormalizedRelativeSGD, RelativeSGD
from skflow.training.steps import end_training


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
def test_tracked_log_determinant_stays_exact_in_float32(generator, block_entries):
    stack = LinearStack(2, 64, activation=LeakyTanh())
    stack.determinants = Determinants(block_entries=block_entries)
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
    NormalizedRelativeSGD(flow).step(0.05, 0.0, penalty=0.1)
    for stack, old, s in zip(stacks, before, relative, strict=True):
        expected = old - 0.05 / max(1.0, norm) * s @ old
        # The oracle inverts a random matrix, whose condition is any.
        torch.testing.assert_close(stack.weight.detach()[0], expected[0], rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_whitening_holds_singular_values_together(generator):
    """Where the next layer can undo what noise does to one, the likelihood does not."""

    def condition(penalty):
        generator.manual_seed(0)
        stacks = [LinearStack(1, 8), LinearStack(1, 8)]
        flow = Flow([stacks[0], ElementwiseSpline(8), stacks[1]], Normal(), n_features=8)
        flow.initialize(torch.randn(100, 8, generator=generator), generator)
        optimizer = NormalizedRelativeSGD(flow)
        for _ in range(1000):
            flow.relative_gradient(torch.randn(10, 8, generator=generator))
            optimizer.step(0.3, 0.0, penalty=penalty)
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
    for parameter in flow.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()
    optimizer.step(0.0, 0.01)
    for name, parameter in flow.named_parameters():
        factor = 1 - 0.01 * 2.0 if "conditioner.weight" in name else 1.0
        torch.testing.assert_close(parameter.detach(), factor * before[name], msg=name)


OPTIMIZERS = [RelativeSGD, NormalizedRelativeSGD, Adam]


class Chain(Bijection):
    """Bijections one after another, as one, in plain automatic differentiation."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = torch.nn.ModuleList(parts)

    def forward_and_log_det(self, x):
        log_det = x.new_zeros(len(x))
        for part in self.parts:
            x, term = part.forward_and_log_det(x)
            log_det = log_det + term
        return x, log_det

    def inverse_and_log_det(self, y):
        log_det = y.new_zeros(len(y))
        for part in reversed(self.parts):
            y, term = part.inverse_and_log_det(y)
            log_det = log_det + term
        return y, log_det


class InTwoParts(Chain):
    """The same, with values and determinants asked for one by one."""

    def forward_and_log_det(self, x):
        log_det = x.new_zeros(len(x))
        for part in self.parts:
            if isinstance(part, RelativeLayer) and part.depth == 1:
                x = part(x)
                log_det = log_det + part.log_abs_det().sum()
            else:
                x, term = part.forward_and_log_det(x)
                log_det = log_det + term
        return x, log_det


NESTINGS = {
    "all in one": lambda *b: [Chain(*b)],
    "first": lambda *b: [Chain(*b[:1]), *b[1:]],
    "last": lambda *b: [*b[:3], Chain(*b[3:])],
    "twice nested": lambda *b: [b[0], Chain(b[1], Chain(*b[2:-1])), b[-1]],
    "a chain of chains": lambda *b: [Chain(*(Chain(part) for part in b))],
    "in two parts": lambda *b: [InTwoParts(*b)],
}


def flow_of_parts(nest, d):
    """Make the same flow at each call, but for what is inside of what."""
    draw = torch.Generator().manual_seed(0)
    parts = [
        LinearStack(1, d, dtype=torch.float64),
        ElementwiseSpline(d, n_bins=4, dtype=torch.float64),
        LinearStack(2, d, activation=LeakyTanh(), dtype=torch.float64),
        AffineCoupling(d, n_hidden=4).double(),
        SmoothLeakyReLU(),
        BlockDiagonal(d, n_groups=2, dtype=torch.float64),
        LinearStack(1, d, dtype=torch.float64),
    ]
    for part in parts:
        for parameter in part.parameters():
            noise = torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
            parameter.data.add_(0.2 * noise)
    return Flow(nest(*parts), Normal(), n_features=d)


@pytest.mark.parametrize("n_rows", [4, 20])  # fewer than columns, and more
@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
@pytest.mark.parametrize("nest", NESTINGS.values(), ids=NESTINGS)
def test_dense_layers_train_the_same_inside_other_bijections(
    nest, optimizer_class, n_rows, generator
):
    d = 6
    flat, nested = flow_of_parts(lambda *parts: parts, d), flow_of_parts(nest, d)
    pair = (flat, nested)
    optimizers = [optimizer_class(flow) for flow in pair]
    assert optimizers[0].default_rate(n_rows) == optimizers[1].default_rate(n_rows)

    def assert_close(found, expected):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)

    for weighted in (False, True, False):
        x = torch.randn(n_rows, d, generator=generator, dtype=torch.float64)
        weights = None
        if weighted:
            weights = 2 * torch.rand(n_rows, generator=generator, dtype=torch.float64)
        losses = [flow.relative_gradient(x, weights) for flow in pair]
        assert_close(losses[1], losses[0])
        for inner, outer in zip(nested.relative_layers, flat.relative_layers, strict=True):
            assert inner.weight.grad is None or optimizer_class is Adam
            # What one of them has put off, the other may have carried out.
            inner.settle()
            outer.settle()
            assert inner.factors._fields == outer.factors._fields
            for found, expected in zip(inner.factors, outer.factors, strict=True):
                assert (found is None) == (expected is None)
                if expected is not None:
                    assert_close(found, expected)
        for optimizer in optimizers:
            assert optimizer.step(0.05, 0.01, penalty=0.1)
    with torch.no_grad():
        assert_close(nested.log_prob(x), flat.log_prob(x))
        assert_close(nested.log_abs_det(), flat.log_abs_det())
        losses = [flow.relative_gradient(x) - flow.log_abs_det() for flow in pair]
        assert_close(losses[1], -nested.log_prob(x).mean())
    for found, expected in zip(nested.parameters(), flat.parameters(), strict=True):
        assert_close(found, expected)


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_flows_without_dense_layers_train(optimizer_class, generator):
    bijections = [ElementwiseSpline(2, n_bins=4), AffineCoupling(2, n_hidden=4)]
    flow = Flow(bijections, Normal(), n_features=2)
    x = torch.randn(200, 2, generator=generator)
    flow.initialize(x, generator)
    x = 0.5 * x + 1
    optimizer = optimizer_class(flow)
    rate = optimizer.default_rate(200)
    assert 0 < rate < 1
    with torch.no_grad():
        before = flow.log_prob(x).mean()
    for _ in range(100):
        loss = flow.relative_gradient(x)
        assert optimizer.step(rate, 0.01)
    with torch.no_grad():
        assert flow.log_prob(x).mean() > before + 0.2
        torch.testing.assert_close(-loss, flow.log_prob(x).mean(), atol=0.05, rtol=0)
    twin = optimizer_class(flow)
    twin.load_state_dict(optimizer.state_dict())
    assert twin.step(rate)
    assert end_training(flow) is None


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_flows_with_nothing_to_train_take_empty_steps(optimizer_class, generator):
    for bijections in ([], [LeakyTanh()]):
        flow = Flow(bijections, Normal(), n_features=2)
        optimizer = optimizer_class(flow)
        flow.relative_gradient(torch.randn(5, 2, generator=generator))
        assert optimizer.step(optimizer.default_rate(5))


@pytest.mark.parametrize("n_rows", [2, 20])
@pytest.mark.parametrize("wrap", [lambda *b: b, lambda *b: [Chain(*b)]], ids=["top", "inside"])
def test_a_dense_layer_at_two_places_is_refused_in_training(wrap, n_rows, generator):
    stack = LinearStack(1, 3)
    flow = Flow(wrap(stack, LeakyTanh(), stack), Normal(), n_features=3)
    x = torch.randn(n_rows, 3, generator=generator)
    assert torch.isfinite(flow.log_prob(x)).all()
    with pytest.raises(RuntimeError, match="applied twice in one pass"):
        flow.relative_gradient(x)


class Undoes(Bijection):
    """The inverse of another bijection."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward_and_log_det(self, x):
        return self.inner.inverse_and_log_det(x)

    def inverse_and_log_det(self, y):
        return self.inner.forward_and_log_det(y)


class OfHalf(Undoes):
    """Another bijection, of half of the rows."""

    def forward_and_log_det(self, x):
        half = len(x) // 2
        y, log_det = self.inner.forward_and_log_det(x[:half])
        rest = x[half:]
        return torch.cat([y, rest]), torch.cat([log_det, rest.new_zeros(len(rest))])


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_a_dense_layer_that_a_pass_does_not_reach_is_refused(optimizer_class, generator):
    flow = Flow([LinearStack(1, 3), Undoes(LinearStack(1, 3))], Normal(), n_features=3)
    optimizer = optimizer_class(flow)
    flow.relative_gradient(torch.randn(5, 3, generator=generator))
    before = [p.detach().clone() for p in flow.parameters()]
    with pytest.raises(RuntimeError, match=r"LinearStack\(.*\) was not reached"):
        optimizer.step(0.1)
    assert all(map(torch.equal, flow.parameters(), before))


def test_factors_of_an_earlier_pass_are_not_used_again(generator):
    stack, other = LinearStack(1, 3), LinearStack(1, 3)
    chain = Chain(stack, other)
    flow = Flow([chain], Normal(), n_features=3)
    x = torch.randn(5, 3, generator=generator)
    flow.relative_gradient(x)
    chain.forward_and_log_det = stack.forward_and_log_det
    flow.relative_gradient(x)
    assert other.factors is None
    with pytest.raises(RuntimeError, match="was not reached"):
        RelativeSGD(flow).step(0.1)


def test_a_dense_layer_of_some_rows_is_refused_in_training(generator):
    flow = Flow([OfHalf(LinearStack(1, 3))], Normal(), n_features=3)
    with pytest.raises(RuntimeError, match="was applied to 5 rows of 10"):
        flow.relative_gradient(torch.randn(10, 3, generator=generator))


class Scaled(Bijection):
    """A dense layer between two scalings, with a pullback of its own."""

    def __init__(self, d):
        super().__init__()
        self.dense = LinearStack(1, d, dtype=torch.float64)

    def forward_and_log_det(self, x):
        return self.dense.forward_and_log_det(x)

    def inverse_and_log_det(self, y):
        return self.dense.inverse_and_log_det(y)

    def forward_and_pullback(self, x, *, input_gradient=True):
        self.n_passes = getattr(self, "n_passes", 0) + 1
        return super().forward_and_pullback(x, input_gradient=input_gradient)


def test_a_bijection_inside_another_takes_its_own_pullback(generator):
    own = Scaled(3)
    flow = Flow([Chain(LeakyTanh(), own)], Normal(), n_features=3)
    flat = Flow([LeakyTanh(), LinearStack(1, 3, dtype=torch.float64)], Normal(), n_features=3)
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(flow.relative_gradient(x), flat.relative_gradient(x))
    assert own.n_passes == 1
    torch.testing.assert_close(own.dense.factors, flat.relative_layers[0].factors)
    # Outside of training, it is differentiated as any other.
    flow.log_prob(x).sum().backward()
    assert own.n_passes == 1
    assert own.dense.weight.grad is not None


def test_the_end_of_training_and_averages_reach_all_dense_layers(generator):
    flow = Flow([Chain(LinearStack(1, 8)), LeakyTanh()], Normal(), n_features=8)
    mean = deepcopy(flow)
    with torch.no_grad():
        flow.log_abs_det()
    optimizer = RelativeSGD(flow)
    flow.relative_gradient(torch.randn(4, 8, generator=generator))
    optimizer.step(0.1)
    (stack,) = flow.relative_layers
    assert stack.gain > 1
    Average(mean, flow, 0).update(1.0)
    assert stack.gain == 1
    assert torch.equal(mean.relative_layers[0].weight, stack.weight)
    assert stack.factors is not None
    assert end_training(flow) == pytest.approx(0, abs=1e-5)
    assert stack.factors is None
