"""What every bijection promises. A new one adds a factory and inherits the checks."""

import copy
import pickle

import pytest
import torch

from skflow.flow import (
    AffineCoupling,
    BlockDiagonal,
    Composition,
    ElementwiseSpline,
    LatentTails,
    LeakyTanh,
    LinearStack,
    LogTails,
    NormalMixtureMap,
    RelativeLayer,
    SmoothLeakyReLU,
    SoftLogarithm,
    SplineCoupling,
    Standardize,
    fit_components,
)

N_FEATURES = 4


def standardize(generator):
    return Standardize(
        torch.randn(N_FEATURES, generator=generator),
        torch.rand(N_FEATURES, generator=generator) + 0.5,
    )


def linear_stack(n_layers, **kwargs):
    def make(generator):
        stack = LinearStack(n_layers, N_FEATURES, **kwargs)
        stack.initialize(torch.randn(50, N_FEATURES, generator=generator), generator)
        return stack

    return make


def learned(bijection, **kwargs):
    """Make one far from the identity that it starts as, as training does."""

    def make(generator):
        made = bijection(N_FEATURES, **kwargs)
        made.initialize(torch.randn(200, N_FEATURES, generator=generator), generator)
        for parameter in made.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.data.add_(0.15 * noise)
        return made

    return make


def mixture_map(generator):
    z = torch.randn(300, N_FEATURES, generator=generator, dtype=torch.float64)
    z[:100, 0] += 8 * z[:100, 1]
    z[100:, 2] -= 4
    return NormalMixtureMap.of(fit_components(z, 3, generator))


def scaled(factor):
    return Standardize(torch.zeros(N_FEATURES), torch.full((N_FEATURES,), 1 / factor))


def soft_logarithm(_):
    logarithm = SoftLogarithm(N_FEATURES)
    logarithm.units[1:] = torch.tensor([0.1, 1.0, 10.0])
    return logarithm


def log_tails(generator):
    # The rows of the tests lie on both sides of these ends.
    return LogTails.from_rows(0.2 * torch.randn(100, N_FEATURES, generator=generator).double())


FACTORIES = {
    "smooth_leaky_relu": lambda _: SmoothLeakyReLU(),
    "smooth_leaky_relu_steep": lambda _: SmoothLeakyReLU(alpha=0.01),
    "leaky_tanh": lambda _: LeakyTanh(),
    "leaky_tanh_steep": lambda _: LeakyTanh(alpha=3.0, beta=0.01),
    "standardize": standardize,
    "mixture_map": mixture_map,
    "log_tails": log_tails,
    "latent_tails": lambda _: Composition([scaled(3.0), LatentTails(N_FEATURES)]),
    "soft_logarithm": soft_logarithm,
    "composition": lambda g: Composition([standardize(g), mixture_map(g), SmoothLeakyReLU()]),
    "elementwise_spline": learned(ElementwiseSpline),
    "elementwise_spline_quantiles": learned(ElementwiseSpline, n_bins=4, init="quantiles"),
    "affine_coupling": learned(AffineCoupling, n_hidden=8),
    "spline_coupling": learned(SplineCoupling, n_hidden=8),
    "spline_coupling_double": learned(SplineCoupling, n_hidden=8, n_bins=4, dtype=torch.float64),
    "linear": linear_stack(1),
    "block_diagonal": learned(BlockDiagonal, n_groups=2),
    "linear_without_bias": linear_stack(2, bias=False, dtype=torch.float64),
    "linear_stack": linear_stack(3, activation=SmoothLeakyReLU()),
    "linear_stack_tanh": linear_stack(3, activation=LeakyTanh(), init="orthogonal"),
}
DTYPES = {torch.float32: 1e-4, torch.float64: 1e-10}


@pytest.fixture(params=FACTORIES)
def bijection(request, generator):
    return FACTORIES[request.param](generator)


@pytest.fixture(params=DTYPES, ids=str)
def x(request, generator):
    return 2 * torch.randn(20, N_FEATURES, generator=generator, dtype=request.param)


@torch.no_grad()
def test_inverse_undoes_forward(bijection, x):
    y = bijection(x)
    torch.testing.assert_close(bijection.inverse(y), x, atol=DTYPES[x.dtype], rtol=DTYPES[x.dtype])


@torch.no_grad()
def test_shapes_and_dtypes_follow_the_input(bijection, x):
    for mapped, log_det in (bijection.forward_and_log_det(x), bijection.inverse_and_log_det(x)):
        assert mapped.shape == x.shape
        assert log_det.shape == (len(x),)
        assert mapped.dtype == log_det.dtype == x.dtype


@torch.no_grad()
def test_single_output_is_the_first_of_two(bijection, x):
    assert torch.equal(bijection(x), bijection.forward_and_log_det(x)[0])
    assert torch.equal(bijection.inverse(x), bijection.inverse_and_log_det(x)[0])


def test_log_det_is_that_of_the_jacobian_in_both_directions(bijection, generator):
    x = torch.randn(5, N_FEATURES, generator=generator, dtype=torch.float64)
    y, log_det = bijection.forward_and_log_det(x)
    jacobians = torch.stack(
        [torch.autograd.functional.jacobian(bijection, row[None])[0, :, 0] for row in x]
    )
    expected = torch.linalg.slogdet(jacobians).logabsdet
    torch.testing.assert_close(log_det, expected, atol=1e-10, rtol=1e-10)
    _, inverse_log_det = bijection.inverse_and_log_det(y.detach())
    torch.testing.assert_close(inverse_log_det, -expected, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_rows_are_mapped_one_by_one(bijection, x):
    y, log_det = bijection.forward_and_log_det(x)
    one_y, one_log_det = bijection.forward_and_log_det(x[3:4])
    torch.testing.assert_close(one_y, y[3:4])
    torch.testing.assert_close(one_log_det, log_det[3:4])


@pytest.mark.parametrize("size", [1e3, -1e3])
@torch.no_grad()
def test_stable_far_out_in_float32(bijection, size):
    x = torch.full((1, N_FEATURES), size)
    y, log_det = bijection.forward_and_log_det(x)
    y64, log_det64 = bijection.forward_and_log_det(x.double())
    torch.testing.assert_close(y.double(), y64, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(log_det.double(), log_det64, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bijection.inverse(y64), x.double(), rtol=1e-8, atol=0)


def test_gradient_with_respect_to_the_input_is_finite_far_out(bijection):
    x = torch.tensor([[-1e3, -30.0, 30.0, 1e3]], requires_grad=True)
    y, log_det = bijection.forward_and_log_det(x)
    (y.sum() + log_det.sum()).backward()
    assert torch.isfinite(x.grad).all()


def test_every_parameter_gets_a_gradient(bijection, generator):
    x = torch.randn(7, N_FEATURES, generator=generator, dtype=torch.float64, requires_grad=True)
    y, log_det = bijection.forward_and_log_det(x)
    (y.square().sum() + log_det.sum()).backward()
    for name, parameter in [("x", x), *bijection.named_parameters()]:
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name


@torch.no_grad()
def test_copies_and_pickles_compute_the_same(bijection, x):
    y = bijection(x)
    bijection.inverse(y)  # fills what is kept between calls
    for twin in (copy.deepcopy(bijection), pickle.loads(pickle.dumps(bijection))):
        assert torch.equal(twin(x), y)
        assert torch.equal(twin.inverse(y), bijection.inverse(y))


METHODS = [
    "__call__",
    "forward",
    "forward_and_log_det",
    "inverse",
    "inverse_and_log_det",
    "forward_and_pullback",
]
NO_ROWS = {
    "a vector": lambda x: x[0],
    "a number": lambda x: x[0, 0],
    "batches of rows": lambda x: x[None],
    "whole numbers": lambda x: x.int(),
    "an array": lambda x: x.numpy(),
    "complex numbers": lambda x: x + 0j,
}


@pytest.mark.parametrize("spoil", NO_ROWS.values(), ids=NO_ROWS)
def test_what_is_no_rows_is_refused_at_the_door(bijection, spoil, generator):
    bad = spoil(torch.randn(3, N_FEATURES, generator=generator))
    for method in METHODS:
        with pytest.raises(ValueError, match=f"{type(bijection).__name__} takes rows: .* Got "):
            getattr(bijection, method)(bad)
        with pytest.raises(ValueError, match="takes rows"):
            getattr(bijection, method)(**{"y" if "inverse" in method else "x": bad})
    with pytest.raises(ValueError, match="takes rows"):
        bijection.initialize(bad, generator)


def test_rows_of_another_width_are_refused_at_the_door(bijection, generator):
    wide = torch.zeros(3, N_FEATURES + 1)
    assert bijection.n_features in {None, N_FEATURES}
    for method in METHODS:
        if bijection.n_features is None:
            getattr(bijection, method)(wide)
            continue
        with pytest.raises(ValueError, match=r"\(n_rows, 4\)\. Got torch.float32 of shape \(3, 5"):
            getattr(bijection, method)(wide)
        with pytest.raises(ValueError, match="takes rows"):
            bijection.initialize(wide, generator)


@torch.no_grad()
def test_rows_may_be_batched_by_vmap(bijection, generator):
    x = torch.randn(2, 3, N_FEATURES, generator=generator)
    if isinstance(bijection, RelativeLayer):
        batched = torch.func.vmap(bijection)(x)
        torch.testing.assert_close(batched, torch.stack([bijection(rows) for rows in x]))
    with pytest.raises(ValueError, match=r"of shape \(4,\)"):
        torch.func.vmap(bijection)(x[0])


def test_repr_names_the_class(bijection):
    assert repr(bijection).startswith(type(bijection).__name__ + "(")


def test_written_out_derivatives_are_those_of_automatic_differentiation(bijection, generator):
    if isinstance(bijection, RelativeLayer):
        pytest.skip("the relative gradient is another one; see test_relative_gradient.py")
    bijection = bijection.double()
    x = 3 * torch.randn(200, N_FEATURES, generator=generator, dtype=torch.float64)
    x[0] *= 10
    grad_y = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    grad_log_det = torch.randn(len(x), generator=generator, dtype=torch.float64)

    inputs = [x.clone().requires_grad_(), *bijection.parameters()]
    outputs = bijection.forward_and_log_det(inputs[0])
    differentiable = [o.requires_grad for o in outputs]
    expected = torch.autograd.grad(
        [o for o, yes in zip(outputs, differentiable, strict=True) if yes],
        inputs,
        [g for g, yes in zip((grad_y, grad_log_det), differentiable, strict=True) if yes],
    )

    with torch.no_grad():
        y, log_det, pullback = bijection.forward_and_pullback(x)
        grad_x = pullback(grad_y, grad_log_det)
    torch.testing.assert_close((y, log_det), tuple(o.detach() for o in outputs))
    found = [grad_x, *(parameter.grad for parameter in bijection.parameters())]
    # Where a spline is steep, its derivatives lose digits.
    for gradient, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-8, atol=1e-8)
