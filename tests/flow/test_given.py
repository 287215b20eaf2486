"""Flows of rows that consist of a context and of what depends on it."""

import numpy as np
import pytest
import torch

from skflow.flow import (
    AffineCoupling,
    Flow,
    Given,
    GivenBase,
    GivenLinear,
    LatentTails,
    Leading,
    LinearStack,
    Normal,
    SplineCoupling,
    Standardize,
)

N_CONTEXT, N_TARGETS = 3, 2


def conditional_flow(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    n = N_CONTEXT + N_TARGETS
    flow = Flow(
        [
            Given(Standardize(torch.ones(2), torch.tensor([2.0, 0.5])), N_CONTEXT),
            GivenLinear(
                torch.randn(2, 3, generator=generator),
                torch.zeros(2),
                torch.tensor([[1.0, 0.0], [0.5, 2.0]]),
            ),
            Given(LinearStack(1, N_TARGETS, init="orthogonal", dtype=dtype), N_CONTEXT),
            SplineCoupling(n, n_bins=4, dtype=dtype, n_given=N_CONTEXT + 1),
            AffineCoupling(n, dtype=dtype, n_given=N_CONTEXT),
            Leading(SplineCoupling(n - 1, n_bins=4, dtype=dtype, n_given=N_CONTEXT), n),
            Given(LatentTails(N_TARGETS), N_CONTEXT),
        ],
        GivenBase(Normal(), N_CONTEXT),
        n_features=n,
    )
    flow.initialize(torch.randn(200, n, generator=generator, dtype=dtype), generator)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=dtype)
    return flow


@pytest.fixture
def rows(rng):
    return torch.from_numpy(rng.normal(size=(20, N_CONTEXT + N_TARGETS)))


@torch.no_grad()
def test_the_context_stays_and_the_inverse_undoes(rows):
    flow = conditional_flow()
    z = flow(rows)
    assert torch.equal(z[:, :N_CONTEXT], rows[:, :N_CONTEXT])
    torch.testing.assert_close(flow.inverse(z), rows, atol=1e-10, rtol=1e-10)


def test_the_log_determinant_is_that_of_the_targets(rows):
    flow = conditional_flow()
    with torch.no_grad():
        log_det = flow.forward_and_log_det(rows)[1]
    for row, expected in zip(rows, log_det, strict=True):
        context = row[None, :N_CONTEXT]

        def latents(y, context=context):
            return flow.given(context).forward(y[None])[0]

        jacobian = torch.autograd.functional.jacobian(latents, row[N_CONTEXT:])
        found = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_a_density_integrates_to_one():
    bound = conditional_flow().given(torch.full((601**2, N_CONTEXT), 0.5, dtype=torch.float64))
    at = torch.linspace(-30, 30, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(at, at)
    mass = bound.log_prob(grid).exp().sum() * (at[1] - at[0]) ** 2
    assert float(mass) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_has_the_gradient_of_automatic_differentiation(rows, rng, weighted):
    flow = conditional_flow()
    weights = torch.from_numpy(rng.gamma(1.0, size=len(rows))) if weighted else None
    flow.relative_gradient(rows, weights)
    dense = flow.relative_layers[0]
    dense.set_gradients()
    found = {name: parameter.grad.clone() for name, parameter in flow.named_parameters()}
    flow.zero_grad()
    log_prob = flow.log_prob(rows)
    (-(log_prob if weights is None else weights * log_prob).mean()).backward()
    weight, bias = dense.weight[0], dense.bias[0]
    by_weight, by_bias = dense.weight.grad[0], dense.bias.grad[0]
    relative = by_weight @ weight.T + torch.outer(by_bias, bias)
    dense.weight.grad = (relative @ weight)[None]
    dense.bias.grad = (relative @ bias + by_bias)[None]
    for name, parameter in flow.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_samples_follow_the_density_of_their_context(rows):
    flow = conditional_flow()
    context = rows[:1, :N_CONTEXT].expand(4000, -1)
    bound = flow.given(context)
    y = bound.sample(generator=torch.Generator().manual_seed(0))
    z = bound.forward(y)
    assert z.mean(0).abs().max() < 5 / 4000**0.5
    torch.testing.assert_close(z.T.cov(), torch.eye(2, dtype=z.dtype), atol=0.15, rtol=0)


def test_what_has_no_context_is_refused(rows):
    flow = conditional_flow()
    with pytest.raises(TypeError, match=r"Bind the context first"):
        flow.sample(3)
    with pytest.raises(ValueError, match=r"context must have the 3 column\(s\)"):
        flow.given(rows[:, :2])
    with pytest.raises(ValueError, match="context must have the 0"):
        Flow([LatentTails(2)], Normal(), n_features=2).given(rows[:, :2])
    with pytest.raises(ValueError, match="one for each row"):
        flow.given(rows[:, :N_CONTEXT]).log_prob(rows[:4, N_CONTEXT:])


@pytest.mark.parametrize("n_given", [0, 5])
@pytest.mark.parametrize("coupling", [AffineCoupling, SplineCoupling])
def test_couplings_keep_some_columns_and_map_some(coupling, n_given):
    with pytest.raises(ValueError, match="n_given must be from 1 to 4 for n_features=5"):
        coupling(5, n_given=n_given)


@torch.no_grad()
@pytest.mark.parametrize("n_given", [1, 4])
def test_kernels_do_what_pytorch_does_whatever_the_split(rng, n_given):
    coupling = SplineCoupling(5, n_bins=4, dtype=torch.float64, n_given=n_given)
    coupling.initialize(torch.zeros(1, 5), torch.Generator().manual_seed(0))
    for parameter in coupling.parameters():
        parameter += 0.3 * torch.from_numpy(rng.normal(size=parameter.shape))
    x = torch.from_numpy(rng.normal(size=(70, 5)))
    y, log_det = coupling.forward_and_log_det(x)
    plain_y, plain_log_det = coupling.plain_forward_and_log_det(x)
    torch.testing.assert_close(y, plain_y, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(log_det, plain_log_det, atol=1e-10, rtol=1e-10)
    assert np.array_equal(y[:, :n_given], x[:, :n_given])
