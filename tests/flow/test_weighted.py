"""Statistics with whole weights are those of repeated rows."""

import pytest
import torch

from skflow.flow import (
    ElementwiseSpline,
    Flow,
    HyperbolicSecant,
    LeakyTanh,
    LinearStack,
    NormalMixture,
    Standardize,
    StudentT,
)
from skflow.flow.initialization import shrunk_whitening
from skflow.flow.standardize import column_ranges
from skflow.flow.weighted import mean, quantiles, row_counts, var_mean
from skflow.training.optimizers import Adam, NormalizedRelativeSGD, RelativeSGD


@pytest.fixture
def sample(generator):
    """Rows, weights and the repeated rows."""
    x = torch.randn(40, 3, generator=generator, dtype=torch.float64).exp()
    weights = torch.randint(1, 5, (40,), generator=generator)
    return x, weights.double(), x.repeat_interleave(weights, 0)


def test_moments(sample):
    x, weights, repeated = sample
    torch.testing.assert_close(mean(x, weights), mean(repeated))
    torch.testing.assert_close(var_mean(x, weights), var_mean(repeated))


def test_a_constant_has_no_variance():
    x = torch.full((7, 1), 0.1)
    assert var_mean(x, torch.rand(7, dtype=torch.float64))[0] == 0


def test_quantiles(sample):
    x, weights, repeated = sample
    levels = torch.linspace(0, 1, 37, dtype=torch.float64)
    torch.testing.assert_close(quantiles(x, levels, weights), quantiles(repeated, levels))


def test_quantiles_of_small_weights_are_entries(sample):
    x, _, _ = sample
    levels = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    ends = quantiles(x, levels, torch.full((40,), 1e-3, dtype=torch.float64))
    assert ((ends >= x.amin(0)) & (ends <= x.amax(0))).all()


def test_counts_of_small_weights_are_those_of_as_certain_a_mean():
    weights = torch.tensor([0.1, 0.1, 0.2], dtype=torch.float64)
    counts = row_counts(weights)
    assert float(counts.sum()) == pytest.approx(0.4**2 / 0.06)
    torch.testing.assert_close(counts / counts.sum(), weights / weights.sum())
    torch.testing.assert_close(row_counts(1e-9 * weights), counts)


@pytest.mark.parametrize("n_columns", [3, 30, 300])  # fewer, and more than rows
def test_shrunk_whitening(n_columns, generator):
    x = torch.randn(40, n_columns, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(n_columns, n_columns, generator=generator, dtype=torch.float64)
    weights = torch.randint(1, 5, (40,), generator=generator)
    expected = shrunk_whitening(x.repeat_interleave(weights, 0))
    actual = shrunk_whitening(x, weights.double())
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-7)


def test_shrunk_whitening_of_weights_below_one(generator):
    x = torch.randn(30, 20, generator=generator, dtype=torch.float64)
    half = torch.full((30,), 0.5, dtype=torch.float64)
    # As many rows that count for half as much: a covariance of the same rows, known less well.
    whitening, log_det = shrunk_whitening(x, half)
    assert torch.isfinite(whitening).all()
    assert torch.isfinite(log_det)
    assert torch.linalg.eigvalsh(whitening).min() > 0


def test_standardisation(sample):
    x, weights, repeated = sample
    expected, actual = Standardize.from_rows(repeated), Standardize.from_rows(x, weights)
    torch.testing.assert_close(actual.shift, expected.shift)
    torch.testing.assert_close(actual.scale, expected.scale)


def test_standardisation_of_some_rows_is_that_of_them_alone(generator):
    # More rows than are looked at at a time, and fewer of them in all.
    x = torch.randn(70_000, 2, generator=generator, dtype=torch.float64)
    weights = torch.rand(len(x), generator=generator, dtype=torch.float64)
    which = torch.arange(1, len(x), 2)
    expected = Standardize.from_rows(x[which], weights[which])
    actual = Standardize.from_rows(x, weights, which)
    assert torch.equal(actual.shift, expected.shift)
    assert torch.equal(actual.scale, expected.scale)
    variance, mean = var_mean(x[which], weights[which])
    torch.testing.assert_close(actual.shift, mean)
    torch.testing.assert_close(actual.scale, variance.sqrt())
    low, high = column_ranges(x, which)
    assert torch.equal(low, x[which].amin(0))
    assert torch.equal(high, x[which].amax(0))


def make_flow(base=None):
    bijections = [
        ElementwiseSpline(3, init="quantiles", dtype=torch.float64),
        LinearStack(2, 3, activation=LeakyTanh(), dtype=torch.float64),
    ]
    flow = Flow(bijections, HyperbolicSecant() if base is None else base, n_features=3)
    flow.base.double()
    return flow


@pytest.mark.parametrize("base", [HyperbolicSecant, StudentT])
def test_start(base, sample):
    x, weights, repeated = sample
    one, two = make_flow(base()), make_flow(base())
    one.initialize(x, torch.Generator().manual_seed(1), weights)
    two.initialize(repeated, torch.Generator().manual_seed(1))
    torch.testing.assert_close(one.state_dict(), two.state_dict())
    assert one.sharpness(x, weights) == pytest.approx(two.sharpness(repeated))


def test_a_mixture_starts_from_weighted_parts(generator):
    z = torch.randn(300, 2, generator=generator, dtype=torch.float64)
    z[:150] += 20
    weights = torch.ones(300, dtype=torch.float64)
    weights[:150] = 4
    base = NormalMixture(2)
    base.allocate(2)
    base.double().initialize(z, generator, weights)
    assert float(base.weights.max()) == pytest.approx(0.8, abs=1e-5)
    heavy = base.weights.argmax()
    torch.testing.assert_close(base.means[heavy], z[:150].mean(0), atol=1e-2, rtol=0)


def gradients(flow):
    stack = flow.bijections[1]
    yield stack.factors.weight_gradient(stack.weight.detach())
    yield stack.factors.bias_gradient(stack.bias.detach())
    yield from (p.grad for p in flow.bijections[0].parameters())


def test_the_gradient_is_that_of_repeated_rows(sample, generator):
    x, weights, repeated = sample
    flow = make_flow()
    flow.initialize(x, generator)
    expected_loss = flow.relative_gradient(repeated)
    expected = [gradient.clone() for gradient in gradients(flow)]
    for parameter in flow.parameters():
        parameter.grad = None
    loss = flow.relative_gradient(x, weights)
    # A mean over fewer rows, with as much more weight.
    factor = len(repeated) / len(x)
    torch.testing.assert_close(loss, factor * expected_loss)
    torch.testing.assert_close(list(gradients(flow)), [factor * g for g in expected])


def test_batches_of_weighted_rows_add_up_to_the_gradient_of_all(sample, generator):
    x, weights, _ = sample
    weights = weights / weights.mean()
    flow = make_flow()
    flow.initialize(x, generator)
    flow.relative_gradient(x, weights)
    expected = [gradient.clone() for gradient in gradients(flow)]
    total = [torch.zeros_like(gradient) for gradient in expected]
    for batch, some in zip(x.split(10), weights.split(10), strict=True):
        for parameter in flow.parameters():
            parameter.grad = None
        flow.relative_gradient(batch, some)
        for part, gradient in zip(total, gradients(flow), strict=True):
            part += gradient / 4
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("optimizer_class", [RelativeSGD, NormalizedRelativeSGD, Adam])
@pytest.mark.parametrize("n_rows", [2, 40])  # fewer, and more than columns
def test_a_step_is_along_the_weighted_gradient(optimizer_class, n_rows, sample, generator):
    x, weights = (values[:n_rows] for values in sample[:2])
    flow = make_flow()
    flow.initialize(sample[0], generator)
    with torch.no_grad():
        flow.log_abs_det()  # known, and tracked from now on where that is possible
    flow.relative_gradient(x, weights)
    stack = flow.bijections[1]
    before = {name: p.detach().clone() for name, p in stack.named_parameters()}
    expected = list(gradients(flow))[:2]
    optimizer_class(flow).step(1e-3)
    stack.settle()
    for parameter, old, gradient in zip(
        stack.parameters(), before.values(), expected, strict=True
    ):
        change = (parameter.detach() - old).flatten()
        cosine = torch.cosine_similarity(change, -gradient.flatten(), dim=0)
        assert cosine > (0.5 if optimizer_class is Adam else 1 - 1e-9)
    exact = torch.linalg.slogdet(stack.weight.detach()).logabsdet
    torch.testing.assert_close(stack.log_abs_det().detach(), exact)
