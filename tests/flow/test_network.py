import pytest
import torch

from skflow.flow import (
    AffineCoupling,
    Bijection,
    ElementwiseSpline,
    Flow,
    HyperbolicSecant,
    LeakyTanh,
    LinearStack,
    Normal,
    NormalMixture,
    Standardize,
)


def test_log_prob_is_change_of_variables(make_stack, generator):
    stack = make_stack(3, 3, activation=LeakyTanh())
    flow = Flow([stack], HyperbolicSecant(), n_features=3)
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    jacobians = [torch.autograd.functional.jacobian(flow, row[None])[0, :, 0] for row in x]
    log_dets = torch.linalg.slogdet(torch.stack(jacobians)).logabsdet
    expected = flow.base.log_prob(flow(x)) + log_dets
    torch.testing.assert_close(flow.log_prob(x), expected, atol=1e-10, rtol=1e-10)


def test_the_loss_of_a_step_lacks_the_log_determinants_of_the_weights(make_stack, generator):
    stack = make_stack(3, 3, activation=LeakyTanh())
    standardize = Standardize(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 2.0, 4.0]))
    flow = Flow([standardize, stack], Normal(), n_features=3)
    x = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        complete = -flow.log_prob(x).mean()
        loss = flow.relative_gradient(x)
        torch.testing.assert_close(loss - flow.log_abs_det(), complete)


def test_a_flow_without_dense_layers_has_no_weights_to_count():
    flow = Flow([Standardize(torch.zeros(2), torch.ones(2))], Normal(), n_features=2)
    assert float(flow.log_abs_det()) == 0.0


@pytest.mark.parametrize(
    ("spoil", "got"),
    [
        (lambda x: x[0], r"of shape \(3,\)"),
        (lambda x: x[None], r"of shape \(1, 5, 3\)"),
        (lambda x: x[:, :2], r"of shape \(5, 2\)"),
        (lambda x: x.T, r"of shape \(3, 5\)"),
        (lambda x: x.long(), "int64"),
        (lambda x: x.bool(), "bool"),
        (lambda x: x.half(), "float16"),
        (lambda x: x.bfloat16(), "bfloat16"),
        (lambda x: x.numpy(), "ndarray"),
    ],
)
@pytest.mark.parametrize("of", [lambda: [LeakyTanh()], lambda: [LinearStack(1, 3)], list])
def test_a_flow_refuses_what_is_no_rows(of, spoil, got, generator):
    flow, bad = Flow(of(), Normal(), n_features=3), spoil(torch.zeros(5, 3))
    for method in (flow.log_prob, flow.forward, flow, flow.inverse, flow.relative_gradient):
        with pytest.raises(ValueError, match=f"Flow takes rows.* .ot .*{got}"):
            method(bad)
    with pytest.raises(ValueError, match=f"Flow takes rows.* .ot .*{got}"):
        flow.initialize(bad, generator)


@pytest.mark.parametrize(
    "bijection",
    [
        LinearStack(1, 4),
        ElementwiseSpline(4),
        AffineCoupling(4),
        Standardize(torch.zeros(4), torch.ones(4)),
    ],
    ids=lambda b: type(b).__name__,
)
def test_a_flow_refuses_bijections_of_another_width(bijection):
    with pytest.raises(
        ValueError, match=r"bijections\[1\], \w+, takes 4 features, .* n_features=3"
    ):
        Flow([LeakyTanh(), bijection], Normal(), n_features=3)


class Chain(Bijection):
    """Bijections one after another, as one."""

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


def test_dense_layers_are_found_anywhere_but_in_the_base(make_stack, generator):
    first, second, third = (make_stack(1, 3) for _ in range(3))
    nested = Flow([Chain(first, Chain(LeakyTanh(), second)), third], Normal(), n_features=3)
    flat = Flow([first, LeakyTanh(), second, third], Normal(), n_features=3)
    assert nested.relative_layers == flat.relative_layers == (first, second, third)
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(nested.log_prob(x), flat.log_prob(x))
    assert torch.equal(nested.log_abs_det(), flat.log_abs_det())
    base = Normal()
    base.inner = make_stack(1, 3)
    assert Flow([], base, n_features=3).relative_layers == ()


def test_samples_of_a_linear_flow_have_its_moments(generator):
    stack = LinearStack(1, 2, dtype=torch.float64)
    stack.weight.data[0] = torch.tensor([[2.0, 1.0], [0.0, 0.5]])
    stack.bias.data[0] = torch.tensor([1.0, -1.0])
    flow = Flow([stack], Normal(), n_features=2)
    with torch.no_grad():
        x = flow.sample(200_000, generator=generator)
    inverse = torch.linalg.inv(stack.weight.detach()[0])
    torch.testing.assert_close(x.mean(0), -stack.bias.detach()[0] @ inverse.T, atol=0.03, rtol=0)
    torch.testing.assert_close(x.T.cov(), inverse @ inverse.T, atol=0.1, rtol=0)


def test_standardize_from_rows_has_the_moments_of_the_columns(rng):
    x = torch.from_numpy(rng.normal(size=(10_000, 3)) * [1e12, 1e-12, 1.0] + [1e13, 0, 5])
    y = Standardize.from_rows(x)(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(y.var(0, correction=0), torch.ones(3).double())


@torch.no_grad()
def test_the_base_starts_from_the_latents_of_the_data(generator):
    x = torch.randn(1000, 2, generator=generator) + torch.tensor([[8.0, 0.0], [0.0, 8.0]]).repeat(
        500, 1
    )
    flow = Flow([LinearStack(3, 2, activation=LeakyTanh())], NormalMixture(2), n_features=2)
    flow.initialize(x, generator)
    z = flow(x)
    parts = torch.stack([z[::2].mean(0), z[1::2].mean(0)])
    torch.testing.assert_close(
        torch.cdist(flow.base.means, parts).min(1).values, torch.zeros(2), atol=0.01, rtol=0
    )
    assert flow.sharpness(x) == flow.base.sharpness(z) > 2
    assert Flow(flow.bijections, Normal(), n_features=2).sharpness(x) == 1


@torch.no_grad()
def test_a_distribution_of_pytorch_is_a_base(generator):
    laplace = torch.distributions.Laplace(0.0, 1.0)
    flow = Flow([Standardize(torch.zeros(2), torch.ones(2))], laplace, n_features=2)
    x = torch.randn(5, 2, generator=generator)
    torch.testing.assert_close(flow.log_prob(x), laplace.log_prob(x).sum(1))
    assert flow.sample(3, generator=generator).shape == (3, 2)


def test_a_flow_is_its_first_bijection_and_what_stands_behind_it(make_stack, generator):
    flow = Flow([make_stack(1, 3), LeakyTanh(), make_stack(1, 3)], Normal(), n_features=3)
    first, core = flow.split()
    assert first is flow.bijections[0]
    again = core.behind(first)
    assert again.bijections == flow.bijections
    assert again.base is flow.base
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    y, log_det = first.forward_and_log_det(x)
    torch.testing.assert_close(core.log_prob(y) + log_det, flow.log_prob(x))
