r"""The fused accumulator against the literal one, and both against :math:`∇ · ĀᵀĀ`."""

import pytest
import torch

from skflow.flow import Flow, HyperbolicSecant, LeakyTanh, LinearStack, Normal, SmoothLeakyReLU
from skflow.flow.accumulator import Workspace, fused_accumulator, literal_accumulator
from skflow.training.optimizers import RelativeSGD

ACTIVATIONS = [SmoothLeakyReLU(), SmoothLeakyReLU(0.01), LeakyTanh(), None]
BASES = [Normal(), HyperbolicSecant()]


def relative_gradient_by_autograd(flow, stack, x):
    """Return ∇ · ĀᵀĀ of each layer, with the last row of Ā held fixed."""
    parameters = [stack.weight] if stack.bias is None else [stack.weight, stack.bias]
    gradients = torch.autograd.grad(-flow.log_prob(x).mean(), parameters)
    n_layers, d = stack.weight.shape[:2]
    augmented = torch.eye(d + 1, dtype=x.dtype).repeat(n_layers, 1, 1)
    gradient = torch.zeros_like(augmented)
    augmented[:, :d, :d] = stack.weight.detach()
    gradient[:, :d, :d] = gradients[0]
    if stack.bias is not None:
        augmented[:, :d, d] = stack.bias.detach()
        gradient[:, :d, d] = gradients[1]
    relative = gradient @ augmented.mT @ augmented
    return relative[:, :d, :d], relative[:, :d, d]


def deposit(accumulator, stack, base, x, **kwargs):
    """Return the factors of a step on x, and the gradient with respect to x."""
    weight = stack.weight.detach()
    bias = None if stack.bias is None else stack.bias.detach()
    y, log_det, pullback = accumulator(x, weight, bias, stack.activation, **kwargs)
    log_prob, base_pullback = base.log_prob_and_pullback(y)
    share = x.new_full((len(x),), -1 / len(x))
    grad_x, factors = pullback(base_pullback(share), share, True)
    return -(log_prob + log_det).mean(), grad_x, factors


@pytest.mark.parametrize("n_rows", [3, 12])  # fewer than columns, and more
@pytest.mark.parametrize("accumulator", [fused_accumulator, literal_accumulator])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("base", BASES, ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("n_layers", [1, 2, 5])
def test_equals_the_augmented_gradient(
    n_layers, activation, base, bias, accumulator, n_rows, make_stack, generator
):
    stack = make_stack(n_layers, 5, activation=activation, bias=bias)
    flow = Flow([stack], base, n_features=5)
    x = torch.randn(n_rows, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    expected_weight, expected_bias = relative_gradient_by_autograd(flow, stack, x)
    loss = -flow.log_prob(x).mean()
    (expected_x,) = torch.autograd.grad(loss, x)

    actual_loss, grad_x, factors = deposit(accumulator, stack, base, x.detach())

    def assert_close(actual, expected):
        assert (actual - expected).norm() <= 1e-10 * expected.norm()

    assert_close(factors.weight_gradient(stack.weight.detach()), expected_weight)
    if bias:
        assert_close(factors.bias_gradient(stack.bias.detach()), expected_bias)
    assert_close(grad_x, expected_x)
    assert_close(actual_loss - stack.log_abs_det().sum(), loss)


@pytest.mark.parametrize("n_rows", [3, 12])
@pytest.mark.parametrize("activation", [LeakyTanh(), None], ids=repr)
@pytest.mark.parametrize("bias", [True, False])
def test_gain_is_a_factor_of_the_weights(bias, activation, n_rows, make_stack, generator):
    stack = make_stack(3, 5, activation=activation, bias=bias)
    x = torch.randn(n_rows, 5, generator=generator, dtype=torch.float64)
    plain = deposit(fused_accumulator, stack, Normal(), x)
    stack.weight.data.div_(8)
    bias = None if stack.bias is None else stack.bias.detach()
    workspace = Workspace(stack.weight.detach(), bias, n_rows)
    for _ in range(2):  # the second time in room that has been used
        loss, grad_x, factors = deposit(
            fused_accumulator, stack, Normal(), x, gain=8.0, workspace=workspace
        )
        torch.testing.assert_close(loss, plain[0])
        torch.testing.assert_close(grad_x, plain[1])
        torch.testing.assert_close(factors.delta, plain[2].delta)
        torch.testing.assert_close(factors.y, plain[2].y)
        expected = plain[2].weight_gradient(8 * stack.weight.detach())
        torch.testing.assert_close(8 * factors.weight_gradient(stack.weight.detach()), expected)
        assert (factors.y_weight is None) == (n_rows >= 5)


def test_training_does_not_touch_automatic_differentiation(make_stack, generator):
    stack = make_stack(2, 4, activation=LeakyTanh())
    flow = Flow([stack], Normal(), n_features=4)
    flow.relative_gradient(torch.randn(10, 4, generator=generator, dtype=torch.float64))
    assert stack.factors is not None
    assert stack.weight.grad is None
    assert stack.bias.grad is None


def skewed_sources(generator):
    uniform = torch.rand(2000, 3, generator=generator, dtype=torch.float64)
    sources = -torch.log(uniform) + 2.0  # exponential: skewed, and far from centred
    mixing = torch.tensor([[1.0, 0.5, 0.2], [-0.3, 1.0, 0.4], [0.1, -0.6, 1.0]]).double()
    return sources @ mixing


def descend(x, published, n_steps=4000, rate=0.2):
    """Full-batch descent on a linear flow; `published` drops the −b of the bias rule."""
    stack = LinearStack(1, 3, dtype=torch.float64)
    flow = Flow([stack], HyperbolicSecant(), n_features=3)
    flow.initialize(x, torch.Generator().manual_seed(0))
    optimizer = RelativeSGD(flow)
    for _ in range(n_steps):
        flow.relative_gradient(x)
        bias = stack.bias.detach().clone()
        optimizer.step(rate)
        if published:
            with torch.no_grad():
                stack.bias.sub_(rate * bias)
    flow.relative_gradient(x)
    with torch.no_grad():
        return stack.factors.delta[0].sum(0).norm(), flow.log_prob(x).mean(), bias


def maximum_by_lbfgs(x):
    """The oracle: the ordinary gradient, to convergence."""
    stack = LinearStack(1, 3, dtype=torch.float64)
    flow = Flow([stack], HyperbolicSecant(), n_features=3)
    flow.initialize(x, torch.Generator().manual_seed(0))
    optimizer = torch.optim.LBFGS(
        flow.parameters(),
        max_iter=2000,
        tolerance_grad=1e-12,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return flow.log_prob(x).mean()


@pytest.mark.slow
def test_bias_rule_reaches_the_maximum_and_the_published_one_does_not(generator):
    x = skewed_sources(generator)
    maximum = maximum_by_lbfgs(x)

    mean_delta, log_likelihood, _ = descend(x, published=False)
    assert mean_delta < 1e-6
    torch.testing.assert_close(log_likelihood, maximum, atol=1e-8, rtol=0)

    # Without the −b the fixed point is E[δ] = −b, which is no maximum of anything.
    mean_delta, log_likelihood, bias = descend(x, published=True)
    torch.testing.assert_close(mean_delta, bias.norm(), atol=1e-4, rtol=1e-4)
    assert log_likelihood < maximum - 0.1
