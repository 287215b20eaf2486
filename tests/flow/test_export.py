"""Flows under PyTorch's exporters and transforms: they give what the flow itself gives."""

import pytest
import torch

from skflow.flow import (
    AdaptedDistribution,
    AffineCoupling,
    ElementwiseSpline,
    Flow,
    HyperbolicSecant,
    LeakyTanh,
    LinearStack,
    LogDensity,
    Logistic,
    Normal,
    NormalMixture,
    SmoothLeakyReLU,
    SplineCoupling,
    Standardize,
    StudentT,
)

N_FEATURES = 3

# PyTorch's own, on what it calls: its forward mode compiles decompositions by TorchScript, and
# its ONNX exporter copies tree specifications.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning"),
]


def spline():
    return ElementwiseSpline(N_FEATURES, n_bins=4)


BETWEEN = {
    "spline_couplings": lambda: [SplineCoupling(N_FEATURES, n_hidden=4, n_bins=4), spline()],
    "affine_couplings": lambda: [AffineCoupling(N_FEATURES, n_hidden=4), spline()],
    "splines": lambda: [spline()],
    "leaky_tanh": lambda: [LeakyTanh()],
    "smooth_leaky_relu": lambda: [SmoothLeakyReLU()],
}
BASES = {
    "hyperbolic_secant": HyperbolicSecant,
    "logistic": Logistic,
    "student_t": StudentT,
    "mixture": lambda: NormalMixture(2),
    "laplace": lambda: AdaptedDistribution(
        torch.distributions.Laplace(0.0, 1.0, validate_args=False)
    ),
}
BIJECTIONS_AND_BASES = [(between, "normal") for between in BETWEEN] + [
    ("leaky_tanh", base) for base in BASES
]


@pytest.fixture
def x(generator):
    return torch.randn(40, N_FEATURES, generator=generator)


@pytest.fixture
def flow(request, generator, x):
    between, base = getattr(request, "param", ("spline_couplings", "normal"))
    bijections = [Standardize(torch.arange(3.0), torch.full((3,), 2.0))]
    if "couplings" in between:
        bijections.append(ElementwiseSpline(N_FEATURES, n_bins=8, init="quantiles"))
    bijections.append(LinearStack(1, N_FEATURES))
    for _ in range(2):
        bijections += [*BETWEEN[between](), LinearStack(1, N_FEATURES, init="orthogonal")]
    flow = Flow(bijections, BASES.get(base, Normal)(), n_features=N_FEATURES)
    flow.initialize(x, generator)
    for parameter in flow.parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return flow.eval()


def flows(slow=""):
    """Run a test for all flows; those with `slow` in their names are marked as slow."""
    parameters = [
        pytest.param(
            pair, id="-".join(pair), marks=[pytest.mark.slow] if slow and slow in pair[0] else []
        )
        for pair in BIJECTIONS_AND_BASES
    ]
    return pytest.mark.parametrize("flow", parameters, indirect=True)


def export(module, x):
    rows = torch.export.Dim("rows")
    return torch.export.export(module, (x[:7],), dynamic_shapes=({0: rows},))


@flows(slow="couplings")
def test_exported_programs_take_any_number_of_rows_and_factorise_nothing(flow, x):
    with torch.no_grad():
        expected = flow(x), flow.log_prob(x)
    for module, values in zip((flow, LogDensity(flow)), expected, strict=True):
        program = export(module, x)
        called = {str(node.target) for node in program.graph.nodes}
        assert not {name for name in called if "linalg_lu" in name or "lgamma" in name}
        for n_rows in (1, len(x)):
            found = program.module()(x[:n_rows])
            torch.testing.assert_close(found, values[:n_rows], rtol=1e-5, atol=1e-5)


def test_a_density_to_export_is_a_copy(flow, x):
    density = LogDensity(flow)
    before = density(x)
    assert not before.requires_grad
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(1.5)
    assert torch.equal(density(x), before)
    assert not torch.allclose(flow.log_prob(x), before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flow",
    [
        ("leaky_tanh", "student_t"),
        ("spline_couplings", "normal"),
        ("affine_couplings", "normal"),
        ("smooth_leaky_relu", "mixture"),
    ],
    indirect=True,
)
def test_onnxruntime_computes_latents_and_densities(flow, x):
    # They are in the extra "onnx", for not every platform has their wheels.
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    onnxruntime = pytest.importorskip("onnxruntime")
    rows = torch.export.Dim("rows")
    for module in (flow, LogDensity(flow)):
        program = torch.onnx.export(
            module, (x[:7],), dynamic_shapes=({0: rows},), dynamo=True, verbose=False
        )
        session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), module(x), rtol=1e-5, atol=1e-5)


@flows()
def test_vmap_over_rows_and_over_batches(flow, x):
    expected = flow.log_prob(x)
    by_row = torch.func.vmap(lambda row: flow.log_prob(row.unsqueeze(0)).squeeze(0))(x)
    by_batch = torch.func.vmap(flow.log_prob)(x.reshape(4, 10, N_FEATURES))
    torch.testing.assert_close(by_row, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(by_batch.flatten(), expected, rtol=1e-5, atol=1e-5)


def test_vmap_over_the_weights_of_two_flows(flow, x):
    class Density(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.flow = flow

        def forward(self, x):
            return self.flow.log_prob(x)

    density = Density()
    with torch.no_grad():
        both = {name: torch.stack([p, 1.1 * p]) for name, p in density.named_parameters()}
        found = torch.func.vmap(lambda p: torch.func.functional_call(density, p, (x,)))(both)
        first = flow.log_prob(x)
        for parameter in flow.parameters():
            parameter.mul_(1.1)
        # Kernels and PyTorch round in different places.
        expected = torch.stack([first, flow.log_prob(x)])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@flows()
@pytest.mark.parametrize(
    "second",
    [
        torch.func.hessian,
        lambda function: torch.func.jacrev(torch.func.jacrev(function)),
        lambda function: torch.func.jacfwd(torch.func.jacfwd(function)),
    ],
    ids=["hessian", "jacrev", "jacfwd"],
)
def test_second_derivatives_by_torch_func(flow, x, second):
    def log_prob(row):
        return flow.log_prob(row.unsqueeze(0)).squeeze(0)

    rows = x[:2].double()
    expected = [torch.autograd.functional.hessian(log_prob, row) for row in rows]
    found = torch.func.vmap(second(log_prob))(rows)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-8, atol=1e-8)


def test_large_products_under_transforms(generator):
    # From so many columns on, a row is enough to have products done by another library.
    d = 1300
    stack = LinearStack(1, d).requires_grad_(False)
    stack.weight += 0.01 * torch.randn(1, d, d, generator=generator)
    x, tangent = torch.randn(2, 2, d, generator=generator)
    expected = x @ stack.weight[0].T
    found = torch.func.vmap(lambda row: stack(row.unsqueeze(0)).squeeze(0))(x)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    along = tangent @ stack.weight[0].T
    torch.testing.assert_close(
        torch.func.jvp(stack, (x,), (tangent,))[1], along, rtol=1e-3, atol=1e-3
    )
    with torch.autograd.forward_ad.dual_level():
        dual = stack(torch.autograd.forward_ad.make_dual(x, tangent))
        found = torch.autograd.forward_ad.unpack_dual(dual).tangent
        torch.testing.assert_close(found, along, rtol=1e-3, atol=1e-3)
