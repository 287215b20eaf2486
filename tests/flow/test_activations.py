import pytest
import torch

from skflow.exceptions import InversionError
from skflow.flow import LeakyTanh, SmoothLeakyReLU

ACTIVATIONS = [SmoothLeakyReLU(), SmoothLeakyReLU(0.01), LeakyTanh(), LeakyTanh(4.0, 1e-3)]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_closed_forms_are_the_derivatives(activation):
    x = torch.linspace(-50, 50, 1001, dtype=torch.float64)[:, None].requires_grad_()
    squashed = activation.squash(x)
    slope = activation.slope(squashed)
    log_slope = slope.log()
    log_slope_derivative = activation.log_slope_derivative(squashed, slope)
    (expected,) = torch.autograd.grad(activation(x).sum(), x, retain_graph=True)
    torch.testing.assert_close(slope, expected, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(log_slope, expected.log(), atol=1e-12, rtol=1e-12)
    (expected,) = torch.autograd.grad(log_slope.sum(), x)
    torch.testing.assert_close(log_slope_derivative, expected, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_bracket_holds_the_inverse(activation):
    x = torch.linspace(-60, 60, 2001, dtype=torch.float64)[:, None]
    lower, upper = activation.bracket(activation(x))
    slack = 1e-10 * (1 + x.abs())
    assert (lower <= x + slack).all()
    assert (upper >= x - slack).all()


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse_over_twenty_orders_of_magnitude(activation, dtype):
    size = torch.logspace(-10, 10, 401, dtype=dtype)
    y = torch.cat([-size, torch.zeros(1, dtype=dtype), size])[:, None]
    x = activation.inverse(y)
    value = activation(x.double())
    slack = 1e-12 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(value, y.double(), rtol=slack, atol=slack)


@pytest.mark.parametrize("kind", [SmoothLeakyReLU, LeakyTanh])
@pytest.mark.parametrize(("dtype", "n_steps"), [(torch.float32, 2), (torch.float64, 3)])
def test_inverse_takes_few_steps(kind, dtype, n_steps):
    evaluations = []

    class Counting(kind):
        def squash(self, x, *, out=None):
            evaluations.append(x)
            return super().squash(x, out=out)

        def bracket(self, y):
            raise AssertionError("plain steps are enough")

    activation = Counting()
    x = torch.linspace(-60, 60, 20001, dtype=dtype)[:, None]
    y = activation(x)
    evaluations.clear()
    torch.testing.assert_close(activation.inverse(y), x)
    assert len(evaluations) <= n_steps


def test_an_inverse_of_nan_raises():
    with pytest.raises(InversionError, match="not found to working precision"):
        SmoothLeakyReLU().inverse(torch.tensor([[torch.nan]]))


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, float("nan")])
def test_smooth_leaky_relu_says_what_alpha_takes(alpha):
    with pytest.raises(ValueError, match=r"alpha must be in \(0, 1\), got"):
        SmoothLeakyReLU(alpha)


def test_leaky_tanh_says_what_its_parameters_take():
    with pytest.raises(ValueError, match=r"alpha must be positive, got -1"):
        LeakyTanh(alpha=-1)
    with pytest.raises(ValueError, match=r"beta must be positive, got 0"):
        LeakyTanh(beta=0)
