"""Bijections and flows of random shapes, types and configurations."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skflow.flow import (
    AffineCoupling,
    ElementwiseSpline,
    Flow,
    LeakyTanh,
    LinearStack,
    Normal,
    SmoothLeakyReLU,
    SplineCoupling,
    Standardize,
)

seeds = st.integers(0, 2**31)
activations = st.one_of(
    st.builds(LeakyTanh, alpha=st.floats(0.1, 4), beta=st.floats(0.01, 1)),
    st.builds(SmoothLeakyReLU, alpha=st.floats(0.01, 0.9)),
)


@st.composite
def bijections(draw, n_features):
    """Draw a bijection with parameters that are not special."""
    kinds = ["standardize", "activation", "stack", "spline", "affine coupling", "spline coupling"]
    kind = draw(st.sampled_from(kinds[: None if n_features > 1 else 4]))
    generator = torch.Generator().manual_seed(draw(seeds))
    if kind == "standardize":
        return Standardize(
            torch.randn(n_features, generator=generator),
            torch.rand(n_features, generator=generator) + 0.1,
        )
    if kind == "activation":
        return draw(activations)
    if kind == "stack":
        bijection = LinearStack(
            draw(st.integers(1, 3)),
            n_features,
            activation=draw(activations),
            bias=draw(st.booleans()),
            dtype=torch.float64,
        )
    elif kind == "spline":
        bijection = ElementwiseSpline(n_features, dtype=torch.float64)
    else:
        coupling = AffineCoupling if kind == "affine coupling" else SplineCoupling
        bijection = coupling(n_features, n_hidden=draw(st.integers(1, 8)), dtype=torch.float64)
    x = torch.randn(50, n_features, generator=generator, dtype=torch.float64)
    bijection.initialize(x, generator)
    for parameter in bijection.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.add_(0.1 * noise)
    return bijection


@st.composite
def flows(draw):
    n_features = draw(st.integers(1, 5))
    some = draw(st.lists(bijections(n_features), min_size=1, max_size=4))
    return Flow(some, Normal(), n_features=n_features)


def rows(flow, n_rows, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_rows, flow.n_features, generator=generator, dtype=dtype)


@given(flows(), st.integers(0, 6), seeds)
def test_flows_go_there_and_back(flow, n_rows, seed):
    x = rows(flow, n_rows, seed)
    with torch.no_grad():
        torch.testing.assert_close(flow.inverse(flow(x)), x, rtol=1e-6, atol=1e-6)


@given(flows(), seeds)
def test_log_densities_have_the_determinant_of_the_jacobian(flow, seed):
    x = rows(flow, 3, seed)
    jacobians = [torch.autograd.functional.jacobian(flow, row[None])[0, :, 0] for row in x]
    log_dets = torch.linalg.slogdet(torch.stack(jacobians)).logabsdet
    with torch.no_grad():
        expected = flow.base.log_prob(flow(x)) + log_dets
        torch.testing.assert_close(flow.log_prob(x), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(flows(), st.integers(0, 4), seeds)
def test_results_have_the_precision_and_the_shape_of_rows(dtype, flow, n_rows, seed):
    x = rows(flow, n_rows, seed, dtype)
    with torch.no_grad():
        z, scores, back = flow(x), flow.log_prob(x), flow.inverse(x)
    assert z.dtype == scores.dtype == back.dtype == dtype
    assert z.shape == back.shape == x.shape
    assert scores.shape == (n_rows,)
