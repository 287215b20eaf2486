"""The extreme singular values of dense layers, beside those of a decomposition."""

import pytest
import torch

from skflow.flow import BlockDiagonal, LinearStack, conditioning
from skflow.flow.conditioning import extreme_singular_values


def exact(layer):
    return torch.linalg.svdvals(layer.weight.detach().double())[:, [0, -1]]


def graded(n_features, least, generator):
    """Return a matrix with singular values from `least` to 1, evenly on a logarithmic scale."""
    draws = torch.randn(2, n_features, n_features, generator=generator, dtype=torch.float64)
    left, right = torch.linalg.qr(draws).Q
    values = torch.logspace(torch.tensor(least).log10(), 0, n_features, dtype=torch.float64)
    return (left * values) @ right


@pytest.mark.parametrize("n_features", [1, 2, 30, 128, 129, 300])
def test_like_a_decomposition(make_stack, n_features):
    stack = make_stack(2, n_features)
    torch.testing.assert_close(extreme_singular_values(stack), exact(stack), rtol=1e-6, atol=0)


@pytest.mark.parametrize("least", [1e-2, 1e-6, 1e-10])
@pytest.mark.parametrize("n_features", [50, 200])
def test_of_ill_conditioned_layers(generator, n_features, least):
    stack = LinearStack(1, n_features, dtype=torch.float64)
    stack.weight.data[0] = graded(n_features, least, generator)
    values = extreme_singular_values(stack)[0]
    # What rounding leaves of the smallest one is relative to the largest.
    torch.testing.assert_close(values[0], torch.ones(()).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(values[1], torch.tensor(least).double(), rtol=1e-5, atol=1e-15)


@pytest.mark.parametrize("n_features", [20, 200])
def test_of_rotations_and_of_singular_layers(n_features, generator):
    stack = LinearStack(3, n_features)
    stack.initialize(torch.randn(500, n_features, generator=generator), generator)
    stack.weight.data[1] = torch.eye(n_features) * 3
    stack.weight.data[2] = torch.ones(n_features, n_features)
    values = extreme_singular_values(stack)
    torch.testing.assert_close(values[:2], exact(stack)[:2], rtol=1e-6, atol=0)
    assert values[2, 0] == pytest.approx(n_features)
    assert values[2, 1] < 1e-5


def test_a_gain_is_carried_out_first(make_stack):
    stack = make_stack(1, 3)
    before = extreme_singular_values(stack)
    stack.gain = 2.0
    torch.testing.assert_close(extreme_singular_values(stack), 2 * before)


def test_of_groups_of_columns(generator):
    layer = BlockDiagonal(6, n_groups=3)
    layer.weight.data.copy_(torch.randn(layer.weight.shape, generator=generator))
    torch.testing.assert_close(extreme_singular_values(layer), exact(layer), rtol=1e-6, atol=0)


def test_without_factorisations_the_smallest_one_is_a_bound(make_stack, monkeypatch):
    monkeypatch.setattr(conditioning, "MOST_FACTORISED", 128)
    monkeypatch.setattr(torch.linalg, "lu_factor_ex", None)
    stack = make_stack(1, 200)
    found, right = extreme_singular_values(stack)[0].tolist(), exact(stack)[0].tolist()
    assert found[0] == pytest.approx(right[0], rel=1e-6)
    assert right[1] * (1 - 1e-9) <= found[1] <= right[0]
