"""Compiled kernels, against the same mathematics in PyTorch."""

import copy
import math

import pytest
import torch

from skflow.flow import (
    AffineCoupling,
    Bijection,
    ElementwiseSpline,
    Flow,
    LinearStack,
    Normal,
    SmoothLeakyReLU,
    SplineCoupling,
)
from skflow.flow.compilable import Compilable
from skflow.flow.compiled import are_compiled

pytest.importorskip("numba")

MAKERS = {
    "affine coupling": lambda d, k, h: AffineCoupling(d, n_hidden=h),
    "spline coupling": lambda d, k, h: SplineCoupling(d, n_hidden=h, n_bins=k),
    "elementwise spline": lambda d, k, h: ElementwiseSpline(d, n_bins=k),
}

# Rows, columns, bins and hidden units: fewer and more than a panel of 64, and than four at a time.
SHAPES = [
    (1, 2, 2, 1),
    (3, 5, 4, 7),
    (63, 3, 8, 16),
    (64, 4, 4, 64),
    (65, 2, 16, 5),
    (200, 9, 8, 33),
    (70, 66, 2, 70),
]


def trained(kind, shape, generator, *, spread=1.0):
    """Return a bijection in float64 that is as far from the identity as training takes it."""
    _, d, n_bins, n_hidden = shape
    bijection = MAKERS[kind](d, n_bins, n_hidden).double()
    bijection.initialize(torch.randn(100, d, generator=generator).double(), generator)
    with torch.no_grad():
        for parameter in bijection.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise, alpha=spread / math.sqrt(parameter.shape[-1]))
    return bijection


def rows(shape, generator, *, size=2.0):
    n, d, *_ = shape
    return size * torch.randn(n, d, generator=generator, dtype=torch.float64)


def pulled_back(bijection, method, x, generator):
    """Return values, log-determinants, and all gradients of a random function of them."""
    for parameter in bijection.parameters():
        parameter.grad = None
    y, log_det, pullback = method(x)
    generator.manual_seed(1)
    by_y = torch.randn(y.shape, generator=generator).to(y)
    by_log_det = torch.randn(len(y), generator=generator).to(y)
    by_x = pullback(by_y, by_log_det)
    return y, log_det, by_x, *(parameter.grad for parameter in bijection.parameters())


def differentiated(bijection, x, generator):
    """Do the same by automatic differentiation of the way forward in PyTorch."""

    def method(x):
        x = x.clone().requires_grad_()
        y, log_det = bijection.plain_forward_and_log_det(x)

        def pullback(by_y, by_log_det):
            torch.autograd.backward([y, log_det], [by_y, by_log_det])
            return x.grad

        return y.detach(), log_det.detach(), pullback

    return pulled_back(bijection, method, x, generator)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_derivatives_are_those_of_automatic_differentiation(kind, shape, generator):
    bijection = trained(kind, shape, generator)
    x = rows(shape, generator)
    with torch.no_grad():
        assert are_compiled(x, *bijection.parameters())
        found = pulled_back(bijection, bijection.forward_and_pullback, x, generator)
    expected = differentiated(bijection, x, generator)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_both_directions_are_those_of_pytorch(kind, shape, generator):
    bijection = trained(kind, shape, generator)
    x = rows(shape, generator)
    with torch.no_grad():
        y, log_det = bijection.forward_and_log_det(x)
        close = {"rtol": 1e-10, "atol": 1e-10}
        torch.testing.assert_close((y, log_det), bijection.plain_forward_and_log_det(x), **close)
        back = bijection.inverse_and_log_det(y)
    # As steep as splines may be, the way back loses digits in either.
    torch.testing.assert_close(back, (x, -log_det), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", MAKERS)
def test_float32_is_as_exact_as_pytorch_in_float32(kind, generator):
    shape = (500, 6, 8, 32)
    bijection = trained(kind, shape, generator)
    x = rows(shape, generator).float()
    exact = differentiated(bijection, x.double(), generator)
    single = bijection.float()
    with torch.no_grad():
        found = pulled_back(single, single.forward_and_pullback, x, generator)
        plain = pulled_back(single, single.plain_forward_and_pullback, x, generator)
    assert relative_error(found, exact) <= 4 * relative_error(plain, exact) + 1e-7


def relative_error(found, exact):
    found, exact = (
        torch.cat([part.double().reshape(-1) for part in parts]) for parts in (found, exact)
    )
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", MAKERS)
def test_rows_far_out_and_on_knots(kind, dtype, generator):
    shape = (6, 4, 4, 8)
    bijection = trained(kind, shape, generator, spread=0.3).to(dtype)
    ends = torch.tensor([-1e3, -5.0, -4.0, 0.0, 4.0, 5.0, 1e3], dtype=dtype)
    x = torch.cartesian_prod(ends, ends, ends, ends)
    with torch.no_grad():
        found = pulled_back(bijection, bijection.forward_and_pullback, x, generator)
        plain = pulled_back(bijection, bijection.plain_forward_and_pullback, x, generator)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in found)
    close = {torch.float64: 1e-10, torch.float32: 1e-3}[dtype]
    torch.testing.assert_close(found[:2], plain[:2], rtol=close, atol=close)
    # At the ends of the box, gradients have two values, of which either will do.
    inside = ((x.abs() - 4.5).abs() > 1).all(1)
    torch.testing.assert_close(found[2][inside], plain[2][inside], rtol=close, atol=close)


def test_equal_values_and_slopes_on_both_sides_of_a_knot(generator):
    spline = trained("elementwise spline", (1, 1, 8, 1), generator)
    with torch.no_grad():
        shares = torch.softmax(spline.spacings[0, 0], -1)
        knots = -4 + 8 * ((1 - 8e-4) * shares + 1e-4).cumsum(-1)[:-1]
        step = 1e-9
        (low, below), (high, above) = (
            spline.forward_and_log_det(side.unsqueeze(1)) for side in (knots - step, knots + step)
        )
    torch.testing.assert_close(low, high, rtol=0, atol=1e-6)
    torch.testing.assert_close(below, above, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_what_is_not_a_number_stays_in_its_row(dtype, generator):
    for kind in MAKERS:
        bijection = trained(kind, (70, 4, 4, 8), generator).to(dtype)
        x = torch.randn(70, 4, generator=generator).to(dtype)
        with torch.no_grad():
            y, _ = bijection.forward_and_log_det(x)
            x[40, 3] = torch.nan
            spoiled, _ = bijection.forward_and_log_det(x)
        assert spoiled[40, 3].isnan()
        others = torch.arange(70) != 40
        assert torch.equal(spoiled[others], y[others])


# ---------------------------------------------------------------------------------------------
# Runs of a flow
# ---------------------------------------------------------------------------------------------


def layers(d, *, dtype=torch.float64, coupling=SplineCoupling):
    dense = [LinearStack(1, d, dtype=dtype) for _ in range(3)]
    return [
        ElementwiseSpline(d, n_bins=8, dtype=dtype),
        dense[0],
        coupling(d, n_hidden=12, dtype=dtype),
        ElementwiseSpline(d, n_bins=4, dtype=dtype),
        dense[1],
        coupling(d, n_hidden=12, dtype=dtype),
        dense[2],
    ]


def flow_of(bijections, d, generator, *, dtype=torch.float64):
    flow = Flow(bijections, Normal(), n_features=d)
    flow.initialize(torch.randn(200, d, generator=generator).to(dtype), generator)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return flow


class InPyTorch(Bijection):
    """A bijection as PyTorch does it."""

    def __init__(self, bijection):
        super().__init__()
        self.bijection = bijection

    def forward_and_log_det(self, x):
        return self.bijection.plain_forward_and_log_det(x)

    def inverse_and_log_det(self, y):
        return self.bijection.plain_inverse_and_log_det(y)

    def forward_and_pullback(self, x, *, input_gradient=True):
        return self.bijection.plain_forward_and_pullback(x, input_gradient=input_gradient)


def in_pytorch(flow):
    """Return a flow of the same parameters that no kernel maps."""
    parts = [InPyTorch(b) if isinstance(b, Compilable) else b for b in flow.bijections]
    spaced = [part for b in parts for part in (b, Unchanged())]
    return Flow(spaced, flow.base, n_features=flow.n_features)


class Unchanged(Bijection):
    """The identity, which keeps neighbours apart."""

    def forward_and_log_det(self, x):
        return x, x.new_zeros(len(x))

    def inverse_and_log_det(self, y):
        return y, y.new_zeros(len(y))


def gradients_of(flow, x, weights=None):
    for parameter in flow.parameters():
        parameter.grad = None
    loss = flow.relative_gradient(x, weights)
    factors = [tuple(layer.factors[:2]) for layer in flow.relative_layers]
    return loss, [p.grad for p in flow.parameters() if p.grad is not None], factors


@pytest.mark.parametrize("d", [2, 5, 70])
@pytest.mark.parametrize("coupling", [AffineCoupling, SplineCoupling])
def test_a_run_steps_as_its_parts_do(d, coupling, generator):
    flow = flow_of(layers(d, coupling=coupling), d, generator)
    x = torch.randn(130, d, generator=generator, dtype=torch.float64)
    weights = torch.rand(130, generator=generator, dtype=torch.float64)
    close = {"rtol": 1e-10, "atol": 1e-10}
    for given in (None, weights):
        expected = gradients_of(in_pytorch(flow), x, given)
        torch.testing.assert_close(gradients_of(flow, x, given), expected, **close)
    with torch.no_grad():
        torch.testing.assert_close(flow.log_prob(x), in_pytorch(flow).log_prob(x), **close)
        torch.testing.assert_close(flow(x), in_pytorch(flow)(x), **close)


def test_rows_may_lie_in_memory_in_any_way(generator):
    flow = flow_of(layers(4), 4, generator)
    wide = torch.randn(200, 9, generator=generator, dtype=torch.float64)
    x = wide[::2, 1:8:2]
    columns = x.T.contiguous().T
    with torch.no_grad():
        expected = flow.log_prob(x.contiguous())
        assert torch.equal(flow.log_prob(x), expected)
        assert torch.equal(flow.log_prob(columns), expected)
    expected = gradients_of(flow, x.contiguous())
    for given in (x, columns):
        torch.testing.assert_close(gradients_of(flow, given), expected, rtol=0, atol=0)


def test_many_rows_in_several_threads_are_those_of_one(generator):
    flow = flow_of(layers(3), 3, generator)
    x = torch.randn(5000, 3, generator=generator, dtype=torch.float64)
    n_threads = torch.get_num_threads()
    try:
        with torch.no_grad():
            torch.set_num_threads(1)
            expected = flow.log_prob(x)
            torch.set_num_threads(3)
            assert torch.equal(flow.log_prob(x), expected)
    finally:
        torch.set_num_threads(n_threads)


def test_what_breaks_a_run_is_applied_in_between(generator):
    parts = layers(3)
    flow = flow_of([*parts[:3], SmoothLeakyReLU(), *parts[3:]], 3, generator)
    x = torch.randn(100, 3, generator=generator, dtype=torch.float64)
    expected = gradients_of(in_pytorch(flow), x)
    torch.testing.assert_close(gradients_of(flow, x), expected, rtol=1e-10, atol=1e-10)


def test_fewer_rows_than_columns_step_as_before(generator):
    flow = flow_of(layers(6), 6, generator)
    x = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    expected = gradients_of(in_pytorch(flow), x)
    of_layers = [layer.factors.y_weight.clone() for layer in flow.relative_layers]
    torch.testing.assert_close(gradients_of(flow, x), expected, rtol=1e-10, atol=1e-10)
    found = [layer.factors.y_weight for layer in flow.relative_layers]
    torch.testing.assert_close(found, of_layers, rtol=1e-10, atol=1e-10)


def test_gradients_add_up_until_they_are_taken(generator):
    flow = flow_of(layers(3), 3, generator)
    x = torch.randn(80, 3, generator=generator, dtype=torch.float64)
    _, once, _ = gradients_of(flow, x)
    once = [gradient.clone() for gradient in once]
    flow.relative_gradient(x)
    twice = [p.grad for p in flow.parameters() if p.grad is not None]
    torch.testing.assert_close(twice, [2 * gradient for gradient in once])


def test_parameters_are_read_where_they_are(generator):
    flow = flow_of(layers(3), 3, generator)
    x = torch.randn(80, 3, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        flow.log_prob(x)  # a program is made
        for parameter in flow.parameters():
            parameter.data = parameter.data + 0.01
        torch.testing.assert_close(flow.log_prob(x), in_pytorch(flow).log_prob(x))
        for parameter in flow.parameters():
            parameter.mul_(0.99)
        torch.testing.assert_close(flow.log_prob(x), in_pytorch(flow).log_prob(x))
    flow = flow.float()
    with torch.no_grad():
        expected = in_pytorch(flow).log_prob(x.float())
        torch.testing.assert_close(flow.log_prob(x.float()), expected, rtol=1e-4, atol=1e-4)


def test_parameters_may_be_replaced(generator):
    flow = flow_of(layers(3), 3, generator)
    x = torch.randn(80, 3, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        flow.log_prob(x)  # a program is made
        other = torch.func.functional_call(
            flow, {name: 1.1 * p for name, p in flow.named_parameters()}, (x,)
        )
        before = flow(x)
        spline, coupling = flow.bijections[0], flow.bijections[2]
        spline.slopes = torch.nn.Parameter(spline.slopes + 1)
        torch.testing.assert_close(flow(x), in_pytorch(flow)(x))
        coupling.conditioner = copy.deepcopy(coupling.conditioner)
        coupling.conditioner.bias_2.add_(0.5)
        torch.testing.assert_close(flow(x), in_pytorch(flow)(x))
        spline.slopes.sub_(1)
        coupling.conditioner.bias_2.sub_(0.5)
        torch.testing.assert_close(flow(x), before)
        for parameter in flow.parameters():
            parameter.mul_(1.1)
        torch.testing.assert_close(other, in_pytorch(flow)(x))


def test_what_follows_may_compute_in_another_precision(generator):
    first = flow_of(layers(3, dtype=torch.float32), 3, generator, dtype=torch.float32)
    last = InPyTorch(trained("spline coupling", (1, 3, 4, 8), generator))
    flow = Flow([*first.bijections, Unchanged(), last], Normal(), n_features=3)
    x = torch.randn(100, 3, generator=generator)
    found = gradients_of(flow, x)
    expected = gradients_of(in_pytorch(copy.deepcopy(flow).double()), x.double())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3, check_dtype=False)


def test_rows_are_mapped_in_their_own_precision(generator):
    flow = flow_of(layers(3, dtype=torch.float32), 3, generator, dtype=torch.float32)
    x = torch.randn(80, 3, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        found = flow.log_prob(x)
        torch.testing.assert_close(found, in_pytorch(flow).log_prob(x), rtol=1e-10, atol=1e-10)
        assert found.dtype == torch.float64
        assert flow.log_prob(x.float()).dtype == torch.float32


def test_what_is_differentiated_is_left_to_pytorch(generator):
    flow = flow_of(layers(3), 3, generator)
    x = torch.randn(10, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(flow.log_prob(x).sum(), x)
    (expected,) = torch.autograd.grad(in_pytorch(flow).log_prob(x).sum(), x)
    torch.testing.assert_close(found, expected)
    flow.requires_grad_(False)
    (found,) = torch.autograd.grad(flow.log_prob(x).sum(), x)
    torch.testing.assert_close(found, expected)


class Doubled(ElementwiseSpline):
    """A spline that a user has changed."""

    def plain_forward_and_log_det(self, x):
        y, log_det = super().plain_forward_and_log_det(x)
        return 2 * y, log_det + x.shape[1] * math.log(2)


def test_a_subclass_is_not_taken_for_its_base(generator):
    spline, doubled = ElementwiseSpline(3), Doubled(3)
    x = torch.randn(70, 3, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(doubled(x), 2 * spline(x))
        flow = Flow([LinearStack(1, 3), doubled], Normal(), n_features=3)
        torch.testing.assert_close(flow(x), 2 * x)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("size", [1e3, 1e9, 1e13, 1e17, 1e30])
def test_the_inverse_far_out_finds_the_line_behind_a_steep_knot(size, plain, generator):
    bijection = trained("spline coupling", (6, 4, 4, 8), generator)
    signs = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    x = size * torch.cartesian_prod(signs, signs, signs, signs)
    with torch.no_grad():
        y, log_det = bijection.forward_and_log_det(x)
        inverse = bijection.plain_inverse_and_log_det if plain else bijection.inverse_and_log_det
        back, back_log_det = inverse(y)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=0)
    torch.testing.assert_close(back_log_det, -log_det, rtol=1e-9, atol=1e-9)
